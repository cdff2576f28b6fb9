"""A round recorded once and replayed, because a GPU runs small kernels faster than Python launches them.

A CUDA graph holds the kernels of a round and the addresses that they read and write, and a replay launches
them all at once. What Python does between them is not repeated, so every number that it handed to a kernel
stays what it was. A technique whose numbers change says so in ``changes_each_round``, and a run with such a
technique is played from Python.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_ref import distributed
from gan_ref.config import Config
from gan_ref.techniques.game import Batch, Game, Turn, UpdateRule

REHEARSALS = 3  # rounds from Python before one is recorded, for what is made at first use

Turns = tuple[Turn, Turn]


class NotRecorded(Exception):
    """The GPU's driver or a library refused to record the round."""


class Recorder(Protocol):
    """What records a round: CudaRecorder, or in the tests one that does the same on a CPU."""

    def rehearse(self, play: Callable[[], Turns]) -> Turns: ...

    def record(self, play: Callable[[], Turns]) -> tuple[Callable[[], Any], Turns]:
        """What replays the round, not played yet, and the turns that hold its results after each replay."""
        ...


def reason_not_to_record(config: Config, game: Game) -> str:
    """Why the rounds of this run are played from Python; "" if they are recorded."""
    if config.device != "cuda":
        return "only CUDA records them"
    if not config.cuda_graph:
        return "--no-cuda-graph"
    if distributed.world() > 1:
        return "several processes average their gradients"
    followed = (game.instance_noise, game.augmentation, game.growth, *game.schedules.all)
    for technique in (game.balance, *game.penalties, *followed):
        if technique is not None and technique.changes_each_round:
            return f"{type(technique).__name__} {technique.changes_each_round}"
    return ""


@dataclass
class Recording:
    """A round of one kind, and the tensors through which it is reached."""

    replay: Callable[[], Any]
    turns: Turns
    batches: Sequence[Batch]  # where the recorded kernels read them
    gradients: list[tuple[Tensor, Tensor | None]]  # parameters, and where their gradients are left

    def play(self, batches: Sequence[Batch]) -> Turns:
        for into, fresh in zip(self.batches, batches):
            for place, value in zip(into, fresh):
                if place is not None and value is not None and place is not value:
                    place.copy_(value)
        self.replay()
        for parameter, gradient in self.gradients:  # another kind of round has left its own there
            parameter.grad = gradient
        return self.turns


class RecordedRounds:
    """An update rule that plays rounds as ``rule`` does, from a recording as soon as there is one.

    The batches are copied to where the recorded kernels read them. Noise inside a round comes from the game's
    generator, which goes on as in rounds from Python. Rounds with other numbers of steps (CriticWarmUp has
    two kinds) are recorded separately. The turns returned are the same objects each time, with the last
    round's values. Raises NotRecorded.
    """

    def __init__(self, rule: UpdateRule, game: Game, recorder: Recorder | None = None):
        self.rule, self.recorder = rule, recorder or CudaRecorder(game)
        game.schedules.use_tensors(game.g.parameters[0].device)
        self.second_order, self.batches = rule.second_order, rule.batches
        self.rehearsals: Counter[tuple[int, int]] = Counter()
        self.recordings: dict[tuple[int, int], Recording] = {}

    def __call__(self, game: Game, batches: Sequence[Batch]) -> Turns:
        kind = game.balance.steps(game.round)
        if self.rehearsals[kind] < REHEARSALS:
            self.rehearsals[kind] += 1
            return self.recorder.rehearse(lambda: self.rule(game, batches))
        if kind not in self.recordings:
            try:
                replay, turns = self.recorder.record(lambda: self.rule(game, batches))
            except RuntimeError as error:
                raise NotRecorded(str(error).strip().splitlines()[0]) from error
            parameters = [*game.g.parameters, *game.d.parameters]
            self.recordings[kind] = Recording(replay, turns, batches, [(p, p.grad) for p in parameters])
        return self.recordings[kind].play(batches)


class CudaRecorder:
    """Records with torch.cuda.CUDAGraph, on a stream on which the round has been played before."""

    def __init__(self, game: Game):
        self.rng, self.stream = game.rng, torch.cuda.Stream()
        self.optimizers = [player.optimizer for player in (game.g, game.d)]

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
        with make_capturable(self.optimizers), torch.cuda.graph(graph, stream=self.stream):
            turns = play()
        return graph.replay, turns


@contextmanager
def make_capturable(optimizers: list[torch.optim.Optimizer]) -> Iterator[None]:
    """Within it, steps of these optimizers can be recorded; they then count their steps on the GPU."""
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
