"""The command ``train``: settings from flags, a recipe or a checkpoint, then the run, then its walk."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

# OpenMP reads this when torch loads it: how long a thread spins at a barrier before it sleeps. By default it
# spins 300,000 turns and keeps other programs from the cores: two runs with two threads each, on two cores,
# took 400 ms a round each, where one alone takes 42. With 10,000 turns they take 230 and one alone 41. With
# 1,000, one alone loses a tenth. The whole cure is OMP_NUM_THREADS=1 for each.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from gan_ref import recipes
from gan_ref.commands.command_line import Lasting, Parser, command, require_names, require_range
from gan_ref.config import OF_NETWORKS, Config, add_arguments, flag
from gan_ref.data import absolute, is_points, short_name
from gan_ref.errors import UserError, printable

# settings that may change on --resume
MAY_CHANGE = ("steps", "log_every", "sample_every", "checkpoint_every", "walk")
MAY_CHANGE += ("device", "cuda_graph", "threads", "tensorboard")


def arguments() -> Parser:
    parser = Parser(
        prog="train.py",
        usage="train.py [--data SOURCE] [--recipe NAME] [any of the settings below]",
        description="Train a GAN on built-in faces or on your own images, and leave a run folder. "
        "Without flags it trains on faces.",
        epilog="Transparent images are laid over white.",
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder [runs/RECIPE-DATA-N]")
    parser.add_argument("--resume", metavar="RUN", help="go on with this run folder or checkpoint")
    begin = "begin with the weights of this run; what concerns the networks is as there, unless given"
    parser.add_argument("--init", metavar="RUN", help=begin)
    more = "choose --steps so that the run takes X minutes, from the rate measured at its start"
    parser.add_argument("--minutes", type=float, metavar="X", help=more)
    parser.add_argument("--recipes", action="store_true", help="list the recipes and stop")
    add_arguments(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    given = vars(arguments().parse_args(argv))
    out, resume, listing = given.pop("out"), given.pop("resume"), given.pop("recipes")
    minutes, init = given.pop("minutes"), given.pop("init")
    if init and resume:
        raise UserError("--init begins a new run, and --resume goes on with one: leave one out")
    if minutes is not None:
        require_range("--minutes", minutes, 0.01, 1e6)
        for name in {"steps"} & given.keys() or ({"resume"} if resume else ()):
            raise UserError(f"--minutes chooses the steps of a new run, so leave out --{name}, or --minutes")
    if listing:
        print(recipes.listing())
        return 0
    norm = given.pop("norm", None)
    if norm is not None:
        given = {"norm_g": norm, "norm_d": norm} | given
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    processes = nullcontext()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from gan_ref.distributed import join_processes

        processes = join_processes()
    with processes:  # which silences all but the first process, so what they print with is chosen inside
        with redirect_stdout(Lasting(sys.stdout)), redirect_stderr(Lasting(sys.stderr)):  # type: ignore[type-var]
            status = resume_run(resume, out, given) if resume else begin_run(out, given, minutes, init)
    if isinstance(processes, nullcontext):
        return status
    from gan_ref.distributed import leave

    return leave(status)


def begin_run(out: str | None, given: dict[str, Any], minutes: float | None, init: str | None) -> int:
    """Train a new run, with the recipe's settings and the flags over them."""
    name = given.get("recipe", recipes.DEFAULT)
    other, networks = None, {}
    if init:
        from gan_ref import checkpoint

        other = checkpoint.load(init)
        networks = {name: getattr(other["config"], name) for name in OF_NETWORKS}
    chosen = recipes.settings(name, points=is_points(given.get("data", "")))
    config = Config(**{**chosen, "recipe": name, **networks, **given})
    folder = require_names(out) if out else next_free_folder(config)
    if (folder / "checkpoint.pt").exists():
        choice = f"--resume {folder} goes on with it, and another --out begins a new one"
        raise UserError(f"{folder} already holds a run: {choice}")
    return run(config, folder, None, minutes, other)


def resume_run(resume: str, out: str | None, given: dict[str, Any]) -> int:
    """Go on with a run, with its own settings. Flags may lengthen it, but not contradict it."""
    from gan_ref import checkpoint

    state, path = checkpoint.load(resume), checkpoint.find(resume)
    config, folder = state["config"], path.parent
    if out and Path(out).resolve() != folder.resolve():
        raise UserError(f"a resumed run stays in its own folder, {folder}: leave out --out {out}")
    if "data" in given:
        given["data"] = absolute(given["data"])
    wrong = [n for n, value in given.items() if n not in MAY_CHANGE and value != getattr(config, n)]
    if wrong:
        said = ", ".join(f"{flag(n)} {given[n]} (it has {getattr(config, n)})" for n in wrong)
        raise UserError(f"these contradict the run {folder}: {said}; leave them out, or begin a new run")
    config = config.replace(**given)
    if config.steps <= state["step"]:
        raise UserError(f"{folder} is finished, at step {state['step']}: a larger --steps lengthens it")
    return run(config, folder, state)


def run(
    config: Config,
    folder: Path,
    state: dict[str, Any] | None,
    minutes: float | None = None,
    init: dict[str, Any] | None = None,
) -> int:
    # torch loads here, so that --help and mistakes answer at once
    from gan_ref.checkpoint import load_generator
    from gan_ref.commands import film, walk
    from gan_ref.cuda_graph import NotRecorded
    from gan_ref.distributed import rank
    from gan_ref.loop import Stopped, train
    from gan_ref.run import choose_settings
    from gan_ref.watch.film import numbered_pages
    from gan_ref.watch.progress import clock

    began = time.perf_counter()
    config, dataset = choose_settings(config)
    if minutes is not None:
        from gan_ref.commands.minutes import rounds_within

        print(f"measuring how many steps fit into {minutes:g} minutes", flush=True)
        config = config.replace(steps=rounds_within(minutes, time.perf_counter() - began, config, dataset))
    print(introduce(config, dataset, folder, state), flush=True)
    try:
        try:
            train(config, dataset, folder, state, init)
        except NotRecorded as error:
            print(f"the GPU did not record a round ({error}); the run begins again, from Python alone")
            train(config.replace(cuda_graph=False), dataset, folder, state, init)
    except Stopped as stopped:
        print(stopped)
        return stopped.status
    if rank() > 0:
        return 0
    if config.walk:
        print(walk.render(load_generator(folder), folder / "walk.gif"))
        if not dataset.points and len(numbered_pages(folder / "samples")) > 1:
            print(film.render(folder))
    print(f"done in {clock(time.perf_counter() - began)}; everything is in {folder}")
    return 0


def introduce(config: Config, dataset: Any, folder: Path, state: dict[str, Any] | None) -> str:
    """What will be trained, with which settings, and how to change them."""
    from gan_ref.data.workers import available_cores

    channels, *sides = dataset.shape
    size = "×".join(map(str, (*sides, channels)))
    what = f"{len(dataset):,} points" if dataset.points else f"{len(dataset):,} images, {size}"
    begin = "" if state is None else f" from step {state['step']:,}"
    processes, cores = int(os.environ.get("WORLD_SIZE", "1")), available_cores()
    shared = f", shared by {processes} processes" if processes > 1 else ""
    many = f"{config.threads} threads on {cores} cores: --threads {cores} is faster, with other rounding"
    lines = [
        f"{dataset.name}: {what}" + (f", {len(dataset.classes)} classes" if dataset.classes else ""),
        f"recipe {config.recipe} on the {'CPU' if config.device == 'cpu' else 'GPU'} in {config.precision}: "
        f"width {config.width}, {config.steps:,} steps of {config.batch_size}{shared}{begin}"
        " (change with --image-size, --width, --steps, --batch-size)",
        many if config.threads > cores else "",
        f"results in {folder}; Ctrl-C stops the run and keeps them",
    ]
    return "\n".join(map(printable, filter(None, [dataset.notice(), *lines])))


def next_free_folder(config: Config) -> Path:
    """runs/RECIPE-DATA-1, or the first such number that is free."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in short_name(config.data))
    names = (f"{config.recipe}-{stem[:50]}-{n}" for n in range(1, 10**6))
    return next(folder for name in names if not (folder := Path("runs") / name).exists())
