"""A round recorded once and replayed: a GPU runs its small kernels faster than Python launches them.

A CUDA graph holds the kernels of a round, and the addresses they read and write; replaying it launches them
all at once. What Python does between them is not repeated, so that every number it handed to a kernel stays
what it was. A technique for which that is wrong says in ``by_round`` what it does anew each round; a run with
such a technique is played from Python throughout.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gan_ref import distributed
from gan_ref.techniques.game import Turn

if TYPE_CHECKING:
    from gan_ref.training import Run

REHEARSALS = 3  # rounds played from Python first: what is made at first use must not be in the recording

Turns = tuple[Turn, Turn]
Batch = tuple[Tensor, Tensor | None]  # reals, and their labels if any
Kind = tuple[int, int]  # of round: how often D and G move


class NotRecorded(Exception):
    """The GPU's driver or a library refused to record the round."""


class Recorder(Protocol):
    """What can keep a round: CudaRecorder; in the tests, one that does the same on a CPU."""

    def rehearse(self, play: Callable[[], Turns]) -> Turns: ...

    def record(self, play: Callable[[], Turns]) -> tuple[Callable[[], Any], Turns]:
        """What replays the round, and the turns that hold its results after each replay. It is not played."""


def obstacle(run: Run) -> str:
    """Why the rounds of ``run`` are not recorded; "" if they are."""
    if run.device.type != "cuda":
        return "a CPU runs them at once"
    if not run.config.cuda_graph:
        return "--no-cuda-graph"
    if distributed.world() > 1:
        return "several processes average their gradients"
    game = run.game
    for technique in (run.update, run.balance, game.objective, *game.penalties, game.instance_noise):
        if reason := getattr(technique, "by_round", ""):
            return f"{type(technique).__name__} {reason}"
    return ""


@dataclass
class Recording:
    """A round of one kind, and the tensors through which it is reached."""

    replay: Callable[[], Any]
    turns: Turns
    reals: list[Batch]  # where it reads them
    gradients: list[tuple[Tensor, Tensor | None]]  # parameters, and where it leaves their gradients

    def play(self, fresh: list[Batch]) -> Turns:
        for place, batch in zip(self.reals, fresh):
            for into, value in zip(place, batch):
                if into is not None and into is not value:
                    into.copy_(value)
        self.replay()
        for parameter, gradient in self.gradients:  # another kind of round has left its own there
            parameter.grad = gradient
        return self.turns


class Replay:
    """Plays the rounds of ``run`` as ``run.round`` does, but from a recording as soon as there is one.

    Fresh reals are copied to where the recorded kernels read them; z and all noise come from the run's
    generator, which goes on as in rounds played from Python. Rounds with other numbers of steps (of
    CriticWarmUp) are recorded separately. The turns returned are the same objects each time, with the last
    round's values. Raises NotRecorded.
    """

    def __init__(self, run: Run, recorder: Recorder | None = None):
        self.run = run
        self.recorder = recorder or CudaRecorder(run)
        self.rehearsals: defaultdict[Kind, list[int]] = defaultdict(list)  # how many batches each asked for
        self.recordings: dict[Kind, Recording] = {}

    def __call__(self) -> Turns:
        kind = self.run.balance.steps(self.run.game.step)
        if len(self.rehearsals[kind]) < REHEARSALS:
            return self._rehearse(kind)
        reals = [self.run.batches.next() for _ in range(self.rehearsals[kind][-1])]
        if kind not in self.recordings:
            self.recordings[kind] = self._record(reals)
        return self.recordings[kind].play(reals)

    def _rehearse(self, kind: Kind) -> Turns:
        asked: list[Batch] = []

        def source() -> Batch:
            asked.append(self.run.batches.next())
            return asked[-1]

        with self._reals_from(source):
            turns = self.recorder.rehearse(self.run.round)
        self.rehearsals[kind].append(len(asked))
        return turns

    def _record(self, reals: list[Batch]) -> Recording:
        """A round that reads these; it is not played yet."""
        try:
            with self._reals_from(iter(reals).__next__):
                replay, turns = self.recorder.record(self.run.round)
        except RuntimeError as error:
            raise NotRecorded(str(error).strip().splitlines()[0]) from error
        parameters = [*self.run.game.g.parameters, *self.run.game.d.parameters]
        return Recording(replay, turns, reals, [(p, p.grad) for p in parameters])

    @contextmanager
    def _reals_from(self, source: Callable[[], Batch]) -> Iterator[None]:
        self.run.next_batch = source
        try:
            yield
        finally:
            self.run.next_batch = self.run.batches.next


class CudaRecorder:
    """Records with torch.cuda.CUDAGraph, on a stream on which the round has been played before."""

    def __init__(self, run: Run):
        self.rng, self.stream = run.rng, torch.cuda.Stream(run.device)
        self.optimizers = [player.optimizer for player in (run.game.g, run.game.d)]

    def rehearse(self, play: Callable[[], Turns]) -> Turns:
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            turns = play()
        current.wait_stream(self.stream)
        return turns

    def record(self, play: Callable[[], Turns]) -> tuple[Callable[[], Any], Turns]:
        graph = torch.cuda.CUDAGraph()
        if hasattr(graph, "register_generator_state"):  # newer versions of PyTorch do so by themselves
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph.register_generator_state(self.rng)
        with capturable(self.optimizers), torch.cuda.graph(graph, stream=self.stream):
            turns = play()
        return graph.replay, turns


@contextmanager
def capturable(optimizers: list[torch.optim.Optimizer]) -> Iterator[None]:
    """Let their steps be recorded: they then count them on the GPU, as they need not otherwise."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups if "capturable" in group]
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            if "step" in state:
                state["step"] = state["step"].to(parameter.device)
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False
