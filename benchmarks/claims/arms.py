"""What a claim measures: a run of train.py, a function, or what benchmarks/results/ holds already."""

import json
import re
import shlex
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gan_ref.checkpoint import LoadedGenerator, load, load_generator
from gan_ref.commands.compare import Trial
from gan_ref.data import open_dataset
from gan_ref.data.mixtures import MIXTURES
from gan_ref.data.stacked import STACKED
from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.latents.samples import draw_samples

Numbers = dict[str, Any]  # quantity → number; "failure" → the reason of a run that diverged
RESULTS = Path(__file__).parent.parent / "results"


class Arm(Protocol):
    @property
    def key(self) -> str: ...  # its name in the JSON; arms of two claims with one key are measured once

    @property
    def minutes(self) -> float: ...  # of one core, for one seed

    @property
    def command(self) -> str: ...  # what re-runs it


@dataclass(frozen=True)
class Train:
    """``python train.py --recipe RECIPE FLAGS``, then the metrics of its samples.

    Its numbers: of every quantity in metrics.jsonl the mean over the last fifth of the rounds, and as
    ``…_swing`` the standard deviation of both losses over the second half; of images those of ``evaluate``.
    """

    recipe: str
    flags: str
    minutes: float
    samples: int = 2000  # 0: of images no metrics
    own: bool = False  # judge G itself, not its average
    also: Callable[[LoadedGenerator], Numbers] | None = None  # what else to measure of G

    @property
    def flagged(self) -> str:
        return f"--recipe {self.recipe} {self.flags}"

    @property
    def key(self) -> str:
        return self.flagged + (" (G itself)" if self.own else "")

    @property
    def command(self) -> str:
        return f"python train.py {self.flagged} --seed SEED"

    def trial(self, seed: int, out: Path) -> Trial:
        name = re.sub(r"[^\w.]+", "-", self.key).strip("-")[:80]
        folder = out / f"{name}-{zlib.crc32(self.key.encode()):08x}-{seed}"
        return Trial(self.recipe, seed, folder, tuple(shlex.split(self.flags)))

    def lacks(self) -> str | None:
        """The data that the run needs and that is not here."""
        words = shlex.split(self.flags)
        source = words[words.index("--data") + 1].removeprefix(STACKED) if "--data" in words else "faces"
        return None if source in (*MIXTURES, "faces") or Path(source).exists() else source

    def numbers(self, trial: Trial) -> Numbers:
        if trial.failure.exists():
            return {"failure": trial.failure.read_text(encoding="utf-8").strip()}
        values = summarise(trial.rows)
        config = trial.config
        if self.samples and config["data"] not in MIXTURES:
            judge = open_judge(config["data"], str(config["image_size"]), self.samples)
            drawn = (own_generator if self.own else load_generator)(trial.folder)
            seen = judge(draw_samples(drawn, judge.count, seed=0))
            values |= {name: value for name, value in seen.items() if not name.endswith(("_std", "_error"))}
            values |= self.also(drawn) if self.also else {}
        return {name: float(f"{value:.5g}") for name, value in values.items()}


def summarise(rows: list[dict[str, float]]) -> Numbers:
    """The numbers of metrics.jsonl: see Train."""
    last = rows[-1]["step"]
    tail = [row for row in rows if row["step"] > 0.8 * last]
    half = [row for row in rows if row["step"] > 0.5 * last]
    names = dict.fromkeys(name for row in tail for name in row)
    values = {name: float(np.mean([row[name] for row in tail if name in row])) for name in names}
    for name in ("d_loss", "g_loss"):
        values[f"{name}_swing"] = float(np.std([row[name] for row in half]))
    if "test_error" in values:
        values["test_error"] = next(row["test_error"] for row in reversed(rows) if "test_error" in row)
    del values["images_per_second"]
    return values | {"step": last}


def own_generator(folder: Path) -> LoadedGenerator:
    """G as it trains, without its average: its weights, and its batch norms' running statistics."""
    loaded = load_generator(folder)
    loaded.module.load_state_dict(load(folder)["generator"])
    return loaded


@cache
def open_judge(data: str, image_size: str, samples: int) -> SampleMetrics:
    train, test = (open_dataset(data, image_size, split=split) for split in ("train", "test"))
    assert train is not None
    return SampleMetrics(train, test, samples)


@dataclass(frozen=True)
class Function:
    """Numbers that a function of the seed computes within seconds."""

    key: str
    measure: Callable[[int], Numbers]
    minutes: float = 0.1

    @property
    def command(self) -> str:
        return ""  # the ledger's own


@dataclass(frozen=True)
class Recorded:
    """Numbers that another benchmark left in benchmarks/results/: ``read`` picks those of each seed."""

    file: str
    read: Callable[[Any], list[Numbers]]
    command: str
    minutes: float = 0.0

    @property
    def key(self) -> str:
        return self.file

    def numbers(self) -> list[Numbers]:
        path = RESULTS / self.file
        return self.read(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def short(flags: str = "", recipe: str = "dcgan", minutes: float = 0.4) -> Train:
    """600 rounds of 32 faces at 32×32 between networks of width 16: the run that most claims vary."""
    base = "--device cpu --threads 1 --width 16 --steps 600 --log-every 10 --sample-every 600"
    return Train(recipe, f"{base} {flags}".strip(), minutes)
