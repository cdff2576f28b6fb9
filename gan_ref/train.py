"""The command ``python train.py``: settings from flags, recipe or checkpoint, then the run, then its walk."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

# Read when torch loads OpenMP: how long a thread spins at a barrier before it sleeps. By default 300,000
# turns, which keep others from the cores: two runs of two threads on two cores took 400 ms a step each, where
# one alone takes 42. With 10,000 turns they take 230 and one alone 41; with 1,000, one alone loses a tenth.
# The whole cure is OMP_NUM_THREADS=1 for each.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from gan_ref import recipes
from gan_ref.config import Config, add_arguments
from gan_ref.errors import Parser, UserError, command

# settings that may change on --resume
FREE = ("steps", "log_every", "sample_every", "checkpoint_every", "walk", "device", "cuda_graph")


def arguments() -> Parser:
    parser = Parser(
        prog="train.py",
        description="Train a GAN on built-in faces or on your own images, and leave a run folder.",
        epilog="With no flags: a DCGAN on built-in faces. Transparent images are laid over white.",
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder [runs/RECIPE-DATA-N]")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run folder or checkpoint")
    parser.add_argument("--recipes", action="store_true", help="list the recipes and stop")
    add_arguments(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    given = vars(arguments().parse_args(argv))
    out, resume, listing = given.pop("out"), given.pop("resume"), given.pop("recipes")
    norm = given.pop("norm", None)
    if norm is not None:
        given = {"norm_g": norm, "norm_d": norm} | given
    if listing:
        print(recipes.listing())
        return 0
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    with processes():
        return continued(resume, out, given) if resume else started(out, given)


def processes() -> AbstractContextManager:
    """Join the others, if torchrun started several."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return nullcontext()
    from gan_ref import distributed

    return distributed.joined()


def started(out: str | None, given: dict[str, Any]) -> int:
    """A new run: the recipe's settings, then the flags over them."""
    name = given.get("recipe", Config.recipe)
    config = Config(**{**recipes.settings(name), "recipe": name, **given})
    folder = Path(out) if out else free_folder(config)
    if (folder / "checkpoint.pt").exists():
        choice = f"--resume {folder} goes on with it, another --out begins one"
        raise UserError(f"{folder} already holds a run: {choice}")
    return run(config, folder, None)


def continued(resume: str, out: str | None, given: dict[str, Any]) -> int:
    """An old run: its own settings, which flags may lengthen but not contradict."""
    from gan_ref import checkpoint

    state, path = checkpoint.load(resume), checkpoint.locate(resume)
    config, folder = state["config"], path.parent
    if out and Path(out).resolve() != folder.resolve():
        raise UserError(f"a resumed run stays in its own folder, {folder}: leave out --out {out}")
    if "data" in given and Path(given["data"]).exists():
        given["data"] = str(Path(given["data"]).absolute())
    wrong = [name for name, value in given.items() if name not in FREE and value != getattr(config, name)]
    if wrong:
        said = ", ".join(f"--{n.replace('_', '-')} {given[n]} (it has {getattr(config, n)})" for n in wrong)
        raise UserError(f"these contradict the run {folder}: {said}; leave them out, or begin a new run")
    config = config.replace(**given)
    if config.steps <= state["step"]:
        raise UserError(f"{folder} is finished, at step {state['step']}: --steps with more lengthens it")
    return run(config, folder, state)


def run(config: Config, folder: Path, state: dict[str, Any] | None) -> int:
    from gan_ref import walk  # torch loads here: --help and mistakes answer at once
    from gan_ref.checkpoint import load_generator
    from gan_ref.distributed import rank
    from gan_ref.monitor import clock
    from gan_ref.training import Stopped, settle

    began = time.perf_counter()
    config, dataset = settle(config)
    print(introduction(config, dataset, folder, state), flush=True)
    try:
        trained(config, dataset, folder, state)
    except Stopped as stopped:
        print(stopped)
        return stopped.status
    if rank() > 0:
        return 0
    if config.walk:
        print(walk.render(load_generator(folder), folder / "walk.gif"))
    print(f"done in {clock(time.perf_counter() - began)}; everything is in {folder}")
    return 0


def trained(config: Config, dataset: Any, folder: Path, state: dict[str, Any] | None) -> None:
    """Train; begin again, from Python alone, if the GPU refuses to record the first rounds."""
    from gan_ref.checkpoint import claimed
    from gan_ref.distributed import rank
    from gan_ref.replay import NotRecorded
    from gan_ref.training import train

    with claimed(folder) if rank() == 0 else nullcontext():
        try:
            return train(config, dataset, folder, state)
        except NotRecorded as error:
            print(f"the GPU did not record a round ({error}): begun again without")
        train(config.replace(cuda_graph=False), dataset, folder, state)


def introduction(config: Config, dataset: Any, folder: Path, state: dict[str, Any] | None) -> str:
    """What will be trained, who chose it, and how to change it."""
    what = f"{len(dataset):,} points" if config.channels is None else (
        f"{len(dataset):,} images, {config.image_size}×{config.image_size}×{config.channels}"
    )  # fmt: skip
    begin = "" if state is None else f" from step {state['step']:,}"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    shared = f", shared by {processes} processes" if processes > 1 else ""
    lines = [
        f"{dataset.name}: {what}" + (f", {len(dataset.classes)} classes" if dataset.classes else ""),
        f"recipe {config.recipe} on the {'GPU' if config.device == 'cuda' else 'CPU'} in {config.precision}: "
        f"width {config.width}, {config.steps:,} steps of {config.batch_size}{shared}{begin}"
        " (change with --image-size, --width, --steps, --batch-size)",
        f"results in {folder}; Ctrl-C stops and keeps them",
    ]
    return "\n".join(filter(None, [dataset.notice(), *lines]))


def free_folder(config: Config) -> Path:
    """runs/RECIPE-DATA-1, or the first such number that is free."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(config.data).stem or "data")
    names = (f"{config.recipe}-{stem}-{n}" for n in range(1, 10**6))
    return next(folder for name in names if not (folder := Path("runs") / name).exists())


if __name__ == "__main__":
    raise SystemExit(main())
