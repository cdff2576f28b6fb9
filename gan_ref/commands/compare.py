"""The command ``compare``: train several recipes on the same data with several seeds; a table, a picture, and
a page of both.

Every run is ``gan-ref train`` in a process and a folder of its own, DIR/runs/RECIPE-SEED, on one thread
unless --threads says more, with as many at a time as there are cores for. After an interruption the same
command goes on: finished runs are kept, others resume from their checkpoints. A refused or diverged run gets
a row with the reason. A run that failed for another cause, such as a full disk, is tried again the next time.
"""

import base64
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_ref import recipes
from gan_ref.commands.command_line import Parser, command, require_range
from gan_ref.config import add_arguments, flag
from gan_ref.data import is_points, open_dataset
from gan_ref.data.cache import available_cores
from gan_ref.devices import choose_device
from gan_ref.errors import UserError
from gan_ref.files import lock, read_untrusted, write_atomically
from gan_ref.watch.curves import smooth

Row = dict[str, Any]

POINTS = {  # metric: heading and format
    "modes": ("modes", ".1f"), "high_quality": ("high quality", ".1%"), "reverse_kl": ("reverse KL", ".3f"),
    "average_modes": ("modes, averaged G", ".1f"),
    "average_high_quality": ("high quality, averaged G", ".1%"), "rounds_per_second": ("rounds/s", ".0f"),
}  # fmt: skip
IMAGES = {
    "frechet": ("Fréchet", ".2f"), "inception": ("inception score", ".2f"), "merit": ("merit", ".3f"),
    "d_loss": ("D's loss", ".2f"), "g_loss": ("G's loss", ".2f"),
    "fools": ("G fools D", ".0%"), "sees_fakes": ("D sees fakes", ".0%"),
    "sees_reals": ("D sees reals", ".0%"), "rounds_per_second": ("rounds/s", ".0f"),
}  # fmt: skip
CURVES = {  # metric: colour; two of points, and of images the three of the 2015 face GAN
    "modes": "#3182bd", "high_quality": "#e6550d",
    "fools": "#3182bd", "sees_fakes": "#e6550d", "sees_reals": "#31a354",
}  # fmt: skip
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Recipes compared</title>
<meta name="viewport" content="width=device-width"><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
table { border-collapse: collapse; display: block; overflow-x: auto }
td { border-bottom: 1px solid #ddd; padding: .3em .8em; text-align: right }
td:first-child, td:last-child { text-align: left } tr:first-child { font-weight: 600 }
figure { display: inline-block; margin: 1.5em 1em 0 0; vertical-align: top } img { max-width: 100% }
figure:first-of-type { display: block }
</style>
"""


@dataclass
class Trial:
    """One recipe with one seed, in its folder."""

    recipe: str
    seed: int
    folder: Path
    flags: tuple[str, ...] = ()  # for the train command, the same for every run

    def start(self) -> subprocess.Popen:
        """Start the run, or go on with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = ["--recipe", self.recipe, "--seed", str(self.seed), "--out", str(self.folder)]
        if (self.folder / "checkpoint.pt").exists():
            flags = ["--resume", str(self.folder)]
        arguments = [sys.executable, "-m", "gan_ref", "train", *flags, "--no-walk", *self.flags]
        # A session of its own: Ctrl-C reaches this process alone, which then stops the others in good order.
        with open(self.folder / "train.log", "a") as log, open(self.folder / "error.log", "w") as errors:
            one = os.environ | {"OMP_NUM_THREADS": "1"}  # thread, unless --threads is among the flags
            return subprocess.Popen(arguments, stdout=log, stderr=errors, env=one, start_new_session=True)

    def end(self, status: int) -> str:
        """Keep the reason of a run that was refused or diverged. Returns a line on how the run ended."""
        lines = (self.folder / "error.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = lines[-1].removeprefix("error: ") if lines else f"exit status {status}"
        if status == UserError.status:  # its settings were refused, or it diverged
            self.failure.write_text(reason + "\n", encoding="utf-8")
        row = self.result()
        words = [f"{title} {row[name]:{form}}" for name, (title, form) in columns([row]).items()]
        if status:
            again = "" if self.failure.exists() else "; the same command tries it again"
            words.append(f"stopped: {reason}{again}")
        return f"{self.recipe}, seed {self.seed}: " + ", ".join(words)

    @property
    def failure(self) -> Path:
        return self.folder / "failure.txt"

    @property
    def pages(self) -> list[Path]:
        return sorted((self.folder / "samples").glob("*.png"))

    @property
    def rows(self) -> list[Row]:
        """metrics.jsonl so far, without a last line that a kill cut off."""
        from gan_ref.watch.progress import whole_rows  # torch loads here

        return whole_rows(self.folder / "metrics.jsonl")

    @property
    def config(self) -> Row:
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))

    def succeeded(self, steps: int | None) -> bool:
        """Whether its checkpoint has played ``steps`` rounds, or those that it was to play."""
        from gan_ref import checkpoint  # torch loads here, so that --help and mistakes answer at once

        if self.failure.exists() or not (self.folder / "checkpoint.pt").exists():
            return False
        state = checkpoint.load(self.folder)
        return state["step"] >= (steps or state["config"].steps)

    def result(self) -> Row:
        """Its last logged metrics, its speed, and the reason if it failed."""
        row: Row = {"recipe": self.recipe, "seed": self.seed}
        if rows := self.rows:
            rate = float(np.median([line["images_per_second"] for line in rows])) / self.config["batch_size"]
            row |= {**rows[-1], "rounds_per_second": rate}
            row.pop("images_per_second")
        if self.failure.exists():
            row["failure"] = self.failure.read_text(encoding="utf-8").strip()
        return row


# ---------------------------------------------------------------- all of them


def play(trials: list[Trial], steps: int | None, jobs: int) -> None:
    """Run what is not finished, ``jobs`` at a time. Ctrl-C stops each run at a checkpoint, and is raised."""
    waiting = [trial for trial in trials if not (trial.failure.exists() or trial.succeeded(steps))]
    running: dict[subprocess.Popen, Trial] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop(0)
                running[trial.start()] = trial
            time.sleep(0.1)
            for process in [process for process in running if process.poll() is not None]:
                line = running.pop(process).end(process.returncode)
                print(f"[{len(trials) - len(waiting) - len(running)}/{len(trials)}] {line}", flush=True)
    finally:
        for process in running:
            process.terminate()  # SIGTERM: it saves itself
        for process in running:
            process.wait()


def columns(rows: list[Row]) -> dict[str, tuple[str, str]]:
    """The columns that these rows have numbers for."""
    kind = POINTS if any("modes" in row and "frechet" not in row for row in rows) else IMAGES
    return {name: column for name, column in kind.items() if any(name in row for row in rows)}


def summary(rows: list[Row]) -> list[Row]:
    """A row for each recipe: mean and standard deviation over the seeds that ran, and why others failed."""
    table = []
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        of_it = [row for row in rows if row["recipe"] == recipe]
        good = [row for row in of_it if "failure" not in row and "step" in row]
        line: Row = {"recipe": recipe, "seeds": len(good)}
        for name in columns(rows):
            if values := [row[name] for row in good if name in row]:
                line[name] = {"mean": float(np.mean(values)), "spread": float(np.std(values))}
        if failures := dict.fromkeys(row["failure"] for row in of_it if "failure" in row):
            line["failure"] = "; ".join(failures)
        table.append(line)
    return table


def cells(table: list[Row], titles: dict[str, tuple[str, str]]) -> list[list[str]]:
    """The table to read, mean ± standard deviation, below a line of headings."""
    lines = [["recipe", *(title for title, _ in titles.values()), ""]]
    for line in table:
        words = [line["recipe"]]
        for name, (_, form) in titles.items():
            numbers = [format(value, form) for value in line.get(name, {}).values()]
            words.append(" ± ".join(numbers if line["seeds"] > 1 else numbers[:1]))
        lines.append([*words, line.get("failure", "")])
    return lines


def markdown(lines: list[list[str]]) -> str:
    ruler = ["---", *["---:"] * (len(lines[0]) - 2), "---"]
    return "".join(f"| {' | '.join(words)} |\n" for words in [lines[0], ruler, *lines[1:]])


def html(lines: list[list[str]], settings: Row, pictures: dict[str, Path]) -> str:
    """A page of the table and the pictures, name: file, that needs no other file."""
    body = "".join(f"<tr><td>{'<td>'.join(map(escape, words))}</tr>\n" for words in lines)
    said, figures = " ".join(f"{flag(name)} {value}" for name, value in settings.items()), ""
    for name, path in pictures.items():
        data = base64.b64encode(path.read_bytes()).decode()
        figures += f'<figure><img src="data:image/png;base64,{data}"><figcaption>{escape(name)}</figure>\n'
    heading = f"<h1>{len(lines) - 1} recipes</h1><p>{escape(said)}</p>"
    return f"{HEAD}{heading}\n<table>\n{body}</table>\n{figures}"


def write(out: Path, trials: list[Trial], settings: Row) -> list[Row]:
    """Write compare.json, .md, .png and .html of what there is by now. Returns the table."""
    runs = [trial.result() for trial in trials]
    table = summary(runs)
    lines = cells(table, columns(runs))
    draw(out / "compare.png", trials)
    pictures = {"": out / "compare.png"}
    pictures |= {f"{trial.recipe}, seed {trial.seed}": trial.pages[-1] for trial in trials if trial.pages}
    content = json.dumps({"settings": settings, "table": table, "runs": runs}, indent=1) + "\n"
    texts = {"json": content, "md": markdown(lines), "html": html(lines, settings, pictures)}
    for ending, text in texts.items():
        with write_atomically(out / f"compare.{ending}") as part:
            part.write_text(text, encoding="utf-8")
    return table


# ---------------------------------------------------------------- the picture


def draw(path: Path, trials: list[Trial]) -> None:
    """A card for each recipe: its curves over the rounds, and below them the last page of each seed."""
    from matplotlib.figure import Figure  # slow to import

    cards: dict[str, list[Trial]] = {}
    for trial in trials:
        cards.setdefault(trial.recipe, []).append(trial)
    across, seeds = min(len(cards), 4), max(map(len, cards.values()))
    down = -(-len(cards) // across)
    figure = Figure(figsize=(4.6 * across, (2.6 + 4.4 / seeds) * down), dpi=90, layout="constrained")
    places = np.ravel(figure.subfigures(down, across, squeeze=False))
    for card, (name, of_it) in zip(places, cards.items()):
        card.suptitle(name, fontsize=12)
        upper, lower = card.subfigures(2, 1, height_ratios=[2.6, 4.4 / seeds])
        if begun := [trial for trial in of_it if trial.rows]:
            _draw_curves(upper.subplots(), begun)
        below = np.ravel(lower.subplots(1, seeds, squeeze=False))
        for axes in below:
            axes.set_axis_off()
        for axes, trial in zip(below, of_it):
            _draw_page(axes, trial)
    with write_atomically(path) as part:
        figure.savefig(part)


def _draw_curves(axes: Any, trials: list[Trial]) -> None:
    """Shares over the rounds, smoothed: a thin line for each seed."""
    for trial in trials:
        rows = trial.rows
        steps = [row["step"] for row in rows]
        for name, (title, _) in columns(rows).items():
            if name in CURVES:
                values = np.array([row.get(name, np.nan) for row in rows], dtype=float)
                if name == "modes" and (data := open_dataset(trial.config["data"])):
                    values /= len(data.means)
                label = title if trial is trials[0] else None  # once in the legend
                axes.plot(steps, smooth(values), color=CURVES[name], linewidth=1.3, alpha=0.85, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, framealpha=0.8)


def _draw_page(axes: Any, trial: Trial) -> None:
    """The last sample page of a run, and above it the reason if the run failed."""
    if trial.pages:
        axes.imshow(np.asarray(Image.open(trial.pages[-1])), cmap="gray")
    if trial.failure.exists():
        reason = textwrap.shorten(trial.failure.read_text(encoding="utf-8"), 150, placeholder=" …")
        axes.set_title(textwrap.fill(reason, 34), fontsize=6, color="#a33")


# ---------------------------------------------------------------- the command


def arguments() -> Parser:
    about = "Train several recipes on the same data with several seeds, and tabulate them."
    more = "Every other flag of gan-ref train holds for all runs."
    parser = Parser(prog="gan-ref compare", description=about, epilog=more)
    add = parser.add_argument
    add("--recipes", required=True, metavar="A,B,…", help="names of recipes, or all")
    add("--seeds", type=int, default=3, metavar="K", help="runs of each recipe, with seeds 0 to K−1 [3]")
    add("--out", required=True, metavar="DIR", help="the folder of the runs, the table and the picture")
    add("--jobs", type=int, metavar="N", help="runs at a time [one for each core; one on a GPU]")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    ours, flags = arguments().parse_known_args(argv)
    of_train = Parser(prog="gan-ref compare", add_help=False)
    add_arguments(of_train)
    given: Row = vars(of_train.parse_args(flags))
    for name in {"recipe", "seed"} & given.keys():
        raise UserError(f"--{name} is what is compared: use --{name}s")
    names = recipes.RECIPES if ours.recipes == "all" else [name.strip() for name in ours.recipes.split(",")]
    names = list(dict.fromkeys(names))
    for name in names:
        recipes.settings(name)
    if is_points(given.get("data", "")) and "device" not in given:
        flags, given["device"] = [*flags, "--device", "cpu"], "cpu"  # too small for a GPU to help
    on_gpu = given.get("device") != "cpu" and choose_device("auto").type != "cpu"
    side_by_side = 1 if on_gpu else max(1, available_cores() // given.get("threads", 1))
    jobs = side_by_side if ours.jobs is None else ours.jobs
    require_range("--seeds", ours.seeds, 1, 1000)
    require_range("--jobs", jobs, 1, 1000)

    out, steps = Path(ours.out), given.pop("steps", None)
    if (out / "compare.json").exists():
        load = lambda path: json.loads(path.read_text(encoding="utf-8"))["settings"]
        before = read_untrusted(out / "compare.json", load, "of a comparison", "choose another --out")
        if before != given:
            raise UserError(f"{out} holds a comparison with other settings, {before}: change --out")
    pairs = [(name, seed) for seed in range(ours.seeds) for name in names]
    trials = [Trial(name, seed, out / "runs" / f"{name}-{seed}", tuple(flags)) for name, seed in pairs]
    with lock(out / ".lock", wait=False, message=f"another comparison runs in {out}: let it end"):
        print(f"{len(names)} recipes, {ours.seeds} seeds in {out}; Ctrl-C stops, repeat to go on", flush=True)
        try:
            play(trials, steps, jobs)
        finally:
            if any(trial.rows or trial.failure.exists() for trial in trials):
                write(out, trials, given)
                print((out / "compare.md").read_text(encoding="utf-8"), end="")
                print(", ".join(str(out / f"compare.{kind}") for kind in ("json", "md", "png", "html")))
    return 0 if any(trial.succeeded(steps) for trial in trials) else 1
