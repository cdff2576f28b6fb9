"""--minutes: how many rounds fit into the time that a person has, measured on rounds that are thrown away."""

import io
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from gan_ref import checkpoint, distributed
from gan_ref.commands import walk
from gan_ref.config import Config
from gan_ref.cuda_graph import NotRecorded
from gan_ref.data import Dataset
from gan_ref.errors import UserError
from gan_ref.loop import play_round
from gan_ref.run import Run, use_fast_arithmetic
from gan_ref.techniques.game import Turn
from gan_ref.watch.best import BestCheckpoint
from gan_ref.watch.metrics import measure_round
from gan_ref.watch.moments import record_moment
from gan_ref.watch.pages import draw_sample_page
from gan_ref.watch.progress import DRAWN_EVERY, Progress

MEASURED, SHARE = 5.0, 0.05  # seconds of rounds that are timed, but at most this share of the time given
FRAMES, TIMED = 240, 24  # of a walk: all, and those that are timed
FILM = 128  # frames of a film in the plane, at most


def rounds_within(minutes: float, spent: float, config: Config, dataset: Dataset) -> int:
    """The rounds that fit into ``minutes``, with their logs, pages, checkpoints and scores, and the walk.

    ``spent`` seconds of them are gone. The same on all processes. What is timed is a run that is thrown away,
    so that the run itself has its length from the first round, and is the run of ``--steps``. Raises
    UserError if no round fits.
    """
    begin = time.perf_counter()
    try:
        each, once = _seconds(min(MEASURED, SHARE * 60 * minutes), config, dataset)
    except NotRecorded:
        each, once = _seconds(MEASURED, config.replace(cuda_graph=False), dataset)
    left = 60 * minutes - spent - (time.perf_counter() - begin) - once
    if left < each:
        over = f"--minutes {minutes:g} is over before the first step"
        raise UserError(f"{over}: the rest takes {once:.0f} s here")
    return -distributed.largest(-int(left / each))  # the smallest of the processes' numbers


def _seconds(measured: float, config: Config, dataset: Dataset) -> tuple[float, float]:
    """Seconds of a round with its share of what is done now and then, and of what is done at the end."""
    torch.set_num_threads(config.threads)
    use_fast_arithmetic(config)
    run = Run(config, dataset)
    z = run.numbered_z(2500 if dataset.points else 64)
    with (
        tempfile.TemporaryDirectory() as scratch,
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        Progress(Path(scratch), 0, config.steps, config.batch_size) as progress,
    ):
        folder = Path(scratch)
        _play(run, measured / 5)  # the first rounds are slower
        begin = time.perf_counter()
        d, g, rounds = _play(run, measured)
        each = (time.perf_counter() - begin) / rounds
        values = measure_round(run.game, d, g)
        each += _time(lambda: measure_round(run.game, d, g)) / config.log_every
        progress.advance(run.game.round)
        progress.log(values, d.real_scores, d.fake_output.scores)
        draw_page = lambda: draw_sample_page(run.game, dataset, run.sampling_generator(), z)
        draw_page()
        progress.draw_curves()  # what these load is not timed
        page = _time(draw_page)
        progress.drawn = -math.inf
        curves = _time(progress.draw_curves)
        each += page / config.sample_every + curves / max(config.sample_every, DRAWN_EVERY / each)
        save = lambda: checkpoint.save(folder / "checkpoint.pt", run.state_dict())
        each += _time(save) / config.checkpoint_every
        if config.score_every:
            best = BestCheckpoint(config, dataset, run.device, folder, progress)
            each += _time(lambda: best.measure(run.sampling_generator())) / config.score_every
        once = 0.0
        if dataset.points:
            record_moment(run.game, dataset, z)
            once = FILM * (page + _time(lambda: record_moment(run.game, dataset, z)))
        if config.walk:
            generator = checkpoint.load_generator(folder)
            movie = _time(lambda: walk.render(generator, folder / "walk.gif", frames=TIMED))
            once += movie * FRAMES / TIMED
    return each, once


def _play(run: Run, seconds: float) -> tuple[Turn, Turn, int]:
    """Play rounds for so long. Returns the last turns of D and of G, and how many there were, the same number
    on all processes. Where the networks grow, the rounds are of all sizes, as in the whole run.
    """
    begin = time.perf_counter()
    for rounds in itertools.count(1):
        if run.game.growth is not None:  # multiples of the golden ratio are spread evenly, however many
            run.game.round = int(rounds * 0.618034 % 1 * run.config.steps)
        d, g = play_round(run)
        d.loss.item()  # wait for the device
        if distributed.largest(int(time.perf_counter() - begin > seconds)):
            break
    return d, g, rounds


def _time(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
