"""The numbers of all claims: kept in a file for each group, measured where they are missing."""

import datetime
import importlib
import json
from pathlib import Path
from typing import Any

import gan_ref
from benchmarks.claims import GROUPS
from benchmarks.claims.arms import RESULTS, Arm, Function, Numbers, Recorded, Train
from benchmarks.claims.claim import Claim, Results
from gan_ref.commands.compare import play
from gan_ref.files import write_atomically

FOLDER = RESULTS / "claims"


def groups() -> dict[str, Any]:
    """The modules of the groups, by name."""
    return {name: importlib.import_module(f"benchmarks.claims.{name}") for name in GROUPS}


class Ledger:
    """What has been measured, in memory and in FOLDER/GROUP.json."""

    def __init__(self, folder: Path = FOLDER):
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}
        for group in GROUPS:
            path = folder / f"{group}.json"
            self.files[group] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def seeds(self, arm: Arm) -> dict[str, Numbers]:
        """Seed → numbers; an arm that two groups share is found in either file."""
        if isinstance(arm, Recorded):
            return {str(seed): numbers for seed, numbers in enumerate(arm.numbers())}
        return next((file[arm.key]["seeds"] for file in self.files.values() if arm.key in file), {})

    def results(self, claim: Claim) -> Results:
        found = {name: self.seeds(arm) for name, arm in claim.arms.items()}
        return Results({name: [by[seed] for seed in sorted(by, key=int)] for name, by in found.items()})

    def missing(self, claim: Claim, seed: int) -> list[Train | Function]:
        arms = dict.fromkeys(arm for arm in claim.arms.values() if not isinstance(arm, Recorded))
        return [arm for arm in arms if str(seed) not in self.seeds(arm)]  # type: ignore[misc]

    def keep(self, group: str, arm: Arm, seed: int, numbers: Numbers) -> None:
        about = {"date": datetime.date.today().isoformat(), "version": gan_ref.__version__, "seeds": {}}
        home = next((name for name, file in self.files.items() if arm.key in file), group)
        self.files[home].setdefault(arm.key, about)["seeds"][str(seed)] = numbers
        self.folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(self.folder / f"{home}.json") as part:
            text = json.dumps(self.files[home], indent=1, ensure_ascii=False, allow_nan=False)
            part.write_text(text + "\n", encoding="utf-8")

    def measure(self, group: str, claims: list[Claim], seed: int, out: Path, jobs: int) -> None:
        """Measure what these claims lack with this seed, ``jobs`` runs at a time."""
        arms = list(dict.fromkeys(arm for claim in claims for arm in self.missing(claim, seed)))
        for arm in arms:
            if isinstance(arm, Function):
                self.keep(group, arm, seed, arm.measure(seed))
        runs = [arm for arm in arms if isinstance(arm, Train)]
        for start in range(0, len(runs), jobs):
            trials = {arm: arm.trial(seed, out) for arm in runs[start : start + jobs]}
            play(list(trials.values()), None, jobs)
            for arm, trial in trials.items():
                if trial.failure.exists() and "NaN" not in trial.failure.read_text(encoding="utf-8"):
                    trial.failure.unlink()  # refused and not diverged: no result, and to be tried again
                elif trial.failure.exists() or trial.succeeded(None):
                    self.keep(group, arm, seed, arm.numbers(trial))
