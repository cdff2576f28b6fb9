"""THE loop. Read ``train`` from top to bottom; in ``play_round`` x and z meet the two networks."""

import json
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from gan_ref import checkpoint, distributed
from gan_ref.config import Config
from gan_ref.data import Dataset
from gan_ref.files import lock, write_atomically
from gan_ref.run import Run, error_rate, test_images, use_fast_arithmetic
from gan_ref.techniques.game import Batch, Turn
from gan_ref.watch.best import BestCheckpoint
from gan_ref.watch.film import Film
from gan_ref.watch.finite import FiniteGuard
from gan_ref.watch.metrics import measure_coverage, measure_round
from gan_ref.watch.moments import record_moment
from gan_ref.watch.pages import draw_sample_page
from gan_ref.watch.progress import Progress
from gan_ref.watch.signs import Signs
from gan_ref.watch.tensorboard import Board


def draw(run: Run) -> Batch:
    """A fresh batch: x (N, C, H, W) in [−1, 1] or (N, 2), labels (N,) or None, and z (N, Z) from N(0, I).

    The fakes of a conditional G have the labels of the reals, at the end of z: see Run.batch.
    """
    x, labels = run.data.next()
    z = torch.randn(run.config.batch_size, run.config.latent_dim, generator=run.rng, device=run.device)
    return run.batch(x, labels, distributed.part(z, run.config.pack))


def play_round(run: Run) -> tuple[Turn, Turn]:
    """Play one round, and return the last evaluation of D's and of G's loss. Nothing else advances a run."""
    batches = [draw(run) for _ in range(run.update.batches(run.game))]  # each (x, labels, z)
    run.game.begin_round()  # the settings that follow a schedule
    d, g = run.play(run.game, batches)  # the update rule, or its CUDA graph
    run.game.end_round(d, g)  # the count, the averages, the adaptive coefficients
    return d, g


def train(
    config: Config,
    dataset: Dataset,
    folder: Path,
    state: dict[str, Any] | None = None,
    init: dict[str, Any] | None = None,
) -> None:
    """Play ``config.steps`` rounds and leave a run in ``folder``. Go on from ``state`` if it is given, or
    else begin with the weights of ``init``, another run's checkpoint.

    ``config`` is complete, and ``dataset`` is what it names: see run.choose_settings. Raises UserError if the
    run cannot go on (a loss that is not finite, a full disk), and Stopped, with a checkpoint written, after
    Ctrl-C, SIGTERM or SIGHUP.
    """
    torch.set_num_threads(config.threads)  # sums depend on it
    use_fast_arithmetic(config)
    run = Run(config, dataset)
    if state is not None:
        run.load_state_dict(state)
    elif init is not None:
        run.begin_from(init)
    game, steps = run.game, config.steps
    main = distributed.rank() == 0  # the process that writes and prints
    guard = FiniteGuard(game, folder, run.device, config.log_every)

    def due(every: int) -> bool:
        return every > 0 and (game.round % every == 0 or game.round == steps)

    def page():
        return draw_sample_page(game, dataset, run.sampling_generator(), pictured_z)

    with ExitStack() as stack:
        if main:
            board = Board(config.to_dict()) if config.tensorboard else None
            taken = f"{folder}: another process trains there; let it end, or take another --out"
            stack.enter_context(lock(folder / ".lock", wait=False, message=taken))
            write_config(folder, config)
            if board:
                board.begin(folder, game.round)
            unit = "points" if dataset.points else "images"
            progress = Progress(folder, game.round, steps, config.batch_size, unit, board)
            stack.enter_context(progress)
            signs = Signs(config, game.objective, progress.rows)
            pictured_z = run.numbered_z(2500 if dataset.points else 64)
            film = Film(folder, game.round, steps) if dataset.points else None
            best = None
            if config.score_every:
                best = BestCheckpoint(config, dataset, run.device, folder, progress)
            held_out = test_images(config, run.device) if run.d_average else None
            if run.device.type == "cuda":
                how = f"played from Python: {run.not_recorded}" if run.not_recorded else "recorded"
                progress.say(f"rounds are {how}")
            if film and game.round == 0:
                film.add(0, page(), record_moment(game, dataset, pictured_z))

        stop = 0  # the signal that one of the processes got
        signals = stack.enter_context(collect_signals())
        while game.round < steps and not stop:
            d, g = play_round(run)
            guard.look(d.loss, g.loss)
            stop = distributed.largest(max(signals, default=0))
            if not main:
                continue

            progress.advance(game.round)
            scored = best.measure(run.sampling_generator()) if best and due(config.score_every) else {}
            if scored or due(config.log_every):
                values = measure_round(game, d, g) | scored
                if dataset.points:
                    values |= measure_coverage(game.g.module, run.average.module, pictured_z, dataset)
                if held_out and run.d_average and due(config.sample_every):
                    values["test_error"] = error_rate(run.d_average.module, *held_out, config.batch_size)
                progress.log(values, d.real_scores, d.fake_output.scores)
                for line in signs.look(progress.rows[-1]):
                    progress.say(line)
            if film and film.wants(game.round):
                film.add(game.round, page(), record_moment(game, dataset, pictured_z))
            if due(config.sample_every):
                progress.show(page())
            if due(config.checkpoint_every) or stop:
                guard.require_finite()
                checkpoint.save(folder / "checkpoint.pt", run.state_dict())
            if scored and best and best.improved:
                guard.require_finite()
                checkpoint.save(folder / "best.pt", run.state_dict())
        if stop and game.round < steps:
            raise Stopped(stop, game.round, folder)
        if main and film:
            film.develop()


def write_config(folder: Path, config: Config) -> None:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    with write_atomically(folder / "config.json") as part:
        part.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- being stopped


class Stopped(Exception):
    """The run was asked to stop, and has saved itself."""

    def __init__(self, number: int, round: int, folder: Path):
        self.status = 128 + number
        again = f"python train.py --resume {shlex.quote(str(folder))}"
        super().__init__(f"stopped after step {round}; go on with: {again}")


@contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Within it, Ctrl-C, SIGTERM and SIGHUP are collected in a list. A second one interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return
    stopping = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, note) for number in stopping}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
