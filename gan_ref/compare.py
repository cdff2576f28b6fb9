"""The command ``python -m gan_ref.compare``: one data set, many recipes, several seeds; a table, a picture.

Every run is ``python train.py`` in a process and a folder of its own, DIR/runs/RECIPE-SEED, on one thread, as
many at a time as there are cores. Stopped at any moment, the same command goes on: finished runs are kept,
others resume from their checkpoints. A run that cannot be, or that diverges, is told in its row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_ref import imaging, recipes
from gan_ref.config import add_arguments
from gan_ref.data.cache import available_cores
from gan_ref.data.mixtures import MIXTURES
from gan_ref.errors import Parser, UserError, command
from gan_ref.monitor import smooth

Row = dict[str, Any]

POINTS = {  # column: heading and format
    "modes": ("modes", "{:.1f}"),
    "high_quality": ("high quality", "{:.1%}"),
    "reverse_kl": ("reverse KL", "{:.3f}"),
    "average_modes": ("modes, averaged G", "{:.1f}"),
    "average_high_quality": ("high quality, averaged G", "{:.1%}"),
}
IMAGES = {
    "frechet": ("Fréchet", "{:.2f}"),
    "inception": ("inception score", "{:.2f}"),
    "merit": ("merit", "{:.3f}"),
    "d_loss": ("D's loss", "{:.2f}"),
    "g_loss": ("G's loss", "{:.2f}"),
    "fools": ("G fools D", "{:.0%}"),
    "sees_fakes": ("D sees fakes", "{:.0%}"),
    "sees_reals": ("D sees reals", "{:.0%}"),
}
SPEED = {"steps_per_second": ("steps/s", "{:.0f}")}

# ---------------------------------------------------------------- one run


@dataclass
class Trial:
    """One recipe with one seed, in its folder."""

    recipe: str
    seed: int
    folder: Path
    settings: tuple[str, ...]  # flags of train.py, for every run the same

    def command(self) -> list[str]:
        """What starts it, or goes on with it."""
        if (self.folder / "checkpoint.pt").exists():
            flags = ["--resume", str(self.folder)]
        else:
            flags = ["--recipe", self.recipe, "--seed", str(self.seed), "--out", str(self.folder)]
        return [sys.executable, "-m", "gan_ref.train", *flags, "--no-walk", *self.settings]

    def start(self) -> subprocess.Popen:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A session of its own: Ctrl-C reaches this process alone, which then stops the others in good order.
        with open(self.folder / "train.log", "a") as log, open(self.folder / "error.log", "w") as errors:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            return subprocess.Popen(
                self.command(), stdout=log, stderr=errors, env=environment, start_new_session=True
            )

    def end(self, status: int) -> None:
        """Keep why a run failed; one that was killed has not failed, and is resumed another time."""
        if status in (1, 2):
            lines = (self.folder / "error.log").read_text(errors="replace").strip().splitlines()
            reason = lines[-1].removeprefix("error: ") if lines else f"exit status {status}"
            self.failure.write_text(reason + "\n")

    @property
    def failure(self) -> Path:
        return self.folder / "failure.txt"

    @property
    def rows(self) -> list[Row]:
        """metrics.jsonl so far; a line cut off by a kill is left out."""
        path = self.folder / "metrics.jsonl"
        return list(_parsed(path.read_text(encoding="utf-8"))) if path.exists() else []

    def finished(self, steps: int | None) -> bool:
        """Whether it has played ``steps`` rounds, or those it was to play; or has failed."""
        if self.failure.exists():
            return True
        if not (self.folder / "checkpoint.pt").exists():
            return False
        from gan_ref import checkpoint

        try:
            state = checkpoint.load(self.folder)
        except UserError as error:
            raise UserError(f"{error}; remove {self.folder} to begin that run anew") from None
        return state["step"] >= (steps or state["config"].steps)

    def result(self) -> Row:
        """Its last logged numbers, its speed, and why it failed if it did."""
        row: Row = {"recipe": self.recipe, "seed": self.seed}
        if rows := self.rows:
            batch = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))["batch_size"]
            rate = float(np.median([line["images_per_second"] for line in rows])) / batch
            row |= {**rows[-1], "steps_per_second": rate}
            row.pop("images_per_second")
        if self.failure.exists():
            row["failure"] = self.failure.read_text(encoding="utf-8").strip()
        return row


def _parsed(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


# ---------------------------------------------------------------- all of them


def play(trials: list[Trial], steps: int | None, jobs: int) -> None:
    """Run what is not finished, ``jobs`` at a time. Ctrl-C stops each at a checkpoint, and raises."""
    waiting = [trial for trial in trials if not trial.finished(steps)]
    running: dict[subprocess.Popen, Trial] = {}
    done = len(trials) - len(waiting)
    bar = tqdm(total=len(trials), initial=done, unit="run", disable=not sys.stderr.isatty())
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop(0)
                running[trial.start()] = trial
            time.sleep(0.1)
            for process in [process for process in running if process.poll() is not None]:
                trial = running.pop(process)
                trial.end(process.returncode)
                bar.update()
                with bar.external_write_mode(sys.stdout):
                    print(told(trial.result()), flush=True)
    finally:
        for process in running:
            process.terminate()  # SIGTERM: it saves itself
        for process in running:
            process.wait()
        bar.close()


def told(row: Row) -> str:
    """A finished run in one line."""
    numbers = [f"{title} {form.format(row[key])}" for key, (title, form) in columns([row]).items()]
    failed = [f"stopped: {row['failure']}"] if "failure" in row else []
    return f"{row['recipe']}, seed {row['seed']}: " + ", ".join([*numbers, *failed])


def columns(rows: list[Row]) -> dict[str, tuple[str, str]]:
    """The columns that these rows have numbers for."""
    kind = POINTS if any("modes" in row and "high_quality" in row for row in rows) else IMAGES
    return {name: column for name, column in (kind | SPEED).items() if any(name in row for row in rows)}


def summary(rows: list[Row]) -> list[Row]:
    """A row a recipe: mean and standard deviation over the seeds that finished, and why others failed."""
    table = []
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        of_it = [row for row in rows if row["recipe"] == recipe]
        good = [row for row in of_it if "failure" not in row and "step" in row]
        line: Row = {"recipe": recipe, "seeds": len(good)}
        for name in columns(rows):
            values = [row[name] for row in good if name in row]
            if values:
                line[name] = {"mean": float(np.mean(values)), "spread": float(np.std(values))}
        failures = dict.fromkeys(row["failure"] for row in of_it if "failure" in row)
        if failures:
            line["failure"] = "; ".join(failures)
        table.append(line)
    return table


def markdown(table: list[Row], titles: dict[str, tuple[str, str]]) -> str:
    """The table to read, mean ± standard deviation."""
    lines = ["| recipe | " + " | ".join(title for title, _ in titles.values()) + " | |"]
    lines.append("|---|" + "---:|" * len(titles) + "---|")
    for line in table:
        cells = []
        for name, (_, form) in titles.items():
            value = line.get(name)
            if value is None:
                cells.append("")
            elif line["seeds"] == 1:
                cells.append(form.format(value["mean"]))
            else:
                cells.append(f"{form.format(value['mean'])} ± {form.format(value['spread'])}")
        lines.append(f"| {line['recipe']} | " + " | ".join(cells) + f" | {line.get('failure', '')} |")
    return "\n".join(lines) + "\n"


def write(out: Path, trials: list[Trial], settings: Row) -> list[Row]:
    """compare.json, compare.md and compare.png of what there is by now. Returns the table."""
    rows = [trial.result() for trial in trials]
    table = summary(rows)
    content = {"settings": settings, "table": table, "runs": rows}
    for name, text in (
        ("compare.json", json.dumps(content, indent=1) + "\n"),
        ("compare.md", markdown(table, columns(rows))),
    ):
        with imaging.whole(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    draw(out / "compare.png", trials)
    return table


# ---------------------------------------------------------------- the picture


def draw(path: Path, trials: list[Trial]) -> None:
    """A card a recipe: its curves over the steps, all seeds in one; below, the last samples of each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(trial.recipe for trial in trials))
    across = min(len(names), 4)
    down = -(-len(names) // across)
    seeds = max(sum(trial.recipe == name for trial in trials) for name in names)
    figure = Figure(figsize=(4.6 * across, (2.6 + 4.4 / seeds) * down), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    cards = np.ravel(figure.subfigures(down, across, squeeze=False))
    for name, card in zip(names, cards):
        of_it = [trial for trial in trials if trial.recipe == name]
        card.suptitle(name, fontsize=12)
        curves, tiles = card.subfigures(2, 1, height_ratios=[2.6, 4.4 / seeds])
        if known := [(trial, rows) for trial in of_it if (rows := trial.rows)]:
            _draw_curves(curves.subplots(), known)
        for axes, trial in zip(np.ravel(tiles.subplots(1, seeds, squeeze=False)), of_it):
            _draw_tile(axes, trial)
    with imaging.whole(path) as partial:
        figure.savefig(partial)


CURVES = {  # metric: label and colour; of points, and of images the three of the 2015 face GAN
    "modes": ("modes covered", "#3182bd"),
    "high_quality": ("high quality", "#e6550d"),
    "fools": ("G fools D", "#3182bd"),
    "sees_fakes": ("D sees fakes", "#e6550d"),
    "sees_reals": ("D sees reals", "#31a354"),
}


def _draw_curves(axes: Any, known: list[tuple[Trial, list[Row]]]) -> None:
    """Shares over the steps: a thin line a seed, smoothed."""
    for k, (trial, rows) in enumerate(known):
        points = "high_quality" in rows[-1]
        steps = [row["step"] for row in rows]
        for name in ("modes", "high_quality") if points else ("fools", "sees_fakes", "sees_reals"):
            values = np.array([row.get(name, np.nan) for row in rows], dtype=float)
            if name == "modes":
                total = len(MIXTURES[json.loads((trial.folder / "config.json").read_text())["data"]][0])
                values /= total
            label, colour = CURVES[name]
            label = label if k == 0 else None  # once in the legend
            axes.plot(steps, smooth(values), color=colour, linewidth=1.3, alpha=0.85, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, loc="best", framealpha=0.8)


def _draw_tile(axes: Any, trial: Trial) -> None:
    """The last sample picture of a run, or why there is none."""
    axes.set_axis_off()
    pictures = sorted((trial.folder / "samples").glob("*.png"))
    if pictures:
        from PIL import Image

        picture = np.asarray(Image.open(pictures[-1]))
        small = max(picture.shape) < 200
        axes.imshow(picture, cmap="gray", interpolation="nearest" if small else "antialiased")
    if trial.failure.exists():
        words = textwrap.shorten(trial.failure.read_text(encoding="utf-8"), 150, placeholder=" …")
        axes.set_title(textwrap.fill(words, 34), fontsize=6, color="#a33")


# ---------------------------------------------------------------- the command


def arguments() -> Parser:
    parser = Parser(
        prog="python -m gan_ref.compare",
        description="Train several recipes on the same data with several seeds, and tabulate them.",
        epilog="Every other flag of train.py holds for all runs.",
    )
    add = parser.add_argument
    add("--recipes", required=True, metavar="A,B,…", help="their names, or all")
    add("--seeds", type=int, default=3, metavar="K", help="runs of each recipe, seeds 0 to K−1 [3]")
    add("--out", required=True, metavar="DIR", help="the folder of runs, table and picture")
    add("--jobs", type=int, metavar="N", help="runs at a time [one a core; one on a GPU]")
    return parser


def given_settings(argv: Sequence[str]) -> Row:
    """The flags of train.py among ``argv``, checked as train.py would."""
    parser = Parser(prog="python -m gan_ref.compare", add_help=False)
    add_arguments(parser)
    given = vars(parser.parse_args(argv))
    for name in ("recipe", "seed"):
        if name in given:
            raise UserError(f"--{name} is what is compared: use --{name}s")
    return given


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    ours, flags = arguments().parse_known_args(argv)
    given = given_settings(flags)
    names = list(recipes.RECIPES) if ours.recipes == "all" else [n.strip() for n in ours.recipes.split(",")]
    for name in names:
        recipes.settings(name)
    if ours.seeds < 1 or (ours.jobs is not None and ours.jobs < 1):
        raise UserError("--seeds and --jobs are at least 1")
    if given.get("data") in MIXTURES and "device" not in given:
        flags, given = [*flags, "--device", "cpu"], given | {"device": "cpu"}  # too small for a GPU to help

    out = Path(ours.out)
    settings = json.loads(json.dumps({name: value for name, value in given.items() if name != "steps"}))
    check_folder(out / "compare.json", settings)
    trials = [
        Trial(name, seed, out / "runs" / f"{name}-{seed}", tuple(flags))
        for seed in range(ours.seeds)
        for name in names
    ]
    print(f"recipes: {len(names)}, seeds: {ours.seeds}, in {out}; Ctrl-C stops, repeat to go on", flush=True)
    try:
        play(trials, given.get("steps"), ours.jobs or jobs(given))
    finally:
        if any(trial.rows or trial.failure.exists() for trial in trials):
            write(out, trials, settings)
    print((out / "compare.md").read_text(encoding="utf-8"), end="")
    print(f"{out / 'compare.json'}, {out / 'compare.md'} and {out / 'compare.png'}")


def jobs(given: Row) -> int:
    """One process a core, but one in all where they would share a GPU."""
    if given.get("device", "auto") != "cpu":
        import torch

        if torch.cuda.is_available():
            return 1
    return available_cores()


def check_folder(path: Path, settings: Row) -> None:
    """Runs with other settings cannot stand in the same table."""
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not the file of a comparison: choose another --out") from None
    if before != settings:
        raise UserError(f"{path.parent} holds a comparison with other settings, {before}: change --out")


if __name__ == "__main__":
    sys.exit(main())
