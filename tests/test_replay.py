"""A recorded round is the round that Python plays, for every recipe whose rounds may be recorded.

The recorder here does on a CPU what a CUDA graph does on a GPU: it keeps a round's operators with the tensors
that they read and write, undoes what they did while they were recorded, and runs them again at each replay.
What Python does in between is not repeated, so a number that should have changed is caught standing still.
"""

from __future__ import annotations

import copy

import pytest
import torch
from runs import every_pair, run_of
from toys import same
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_ref import replay, train
from gan_ref.checkpoint import load
from gan_ref.monitor import measure, numbers
from gan_ref.training import Run

BY_ROUND = {
    "face-2015-margin": "Margin looks at D's errors",
    "instance-noise": "InstanceNoise lowers its σ",
    "feature-matching-sum": "FeatureMatching raises its weight",
}
ROUNDS = 7


def tensors(values) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


class Tape(TorchDispatchMode):
    """Every operator that runs under it, its arguments and its results."""

    def __init__(self):
        super().__init__()
        self.kept: list[tuple] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        before = {tensor.untyped_storage().data_ptr() for tensor in tensors((args, kwargs))}
        fresh = [tensor.untyped_storage().data_ptr() not in before for tensor in tensors(result)]
        self.kept.append((operator, args, kwargs, result, fresh))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for operator, args, kwargs, result, fresh in self.kept:
            again = operator(*args, **kwargs)
            for into, value, new in zip(tensors(result), tensors(again), fresh):
                if new:  # a view of an argument, or the argument itself, already shows what was computed
                    into.copy_(value)


class CpuRecorder:
    def __init__(self, run: Run):
        self.run, self.recordings = run, 0

    def rehearse(self, play):
        return play()

    def record(self, play):
        changed = self._state()
        before, random = [tensor.detach().clone() for tensor in changed], self.run.rng.get_state()
        tape = Tape()
        with tape:
            turns = play()
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        self.run.rng.set_state(random)
        self.recordings += 1
        return tape.replay, turns

    def _state(self) -> list[torch.Tensor]:
        game = self.run.game
        modules = game.g.module, game.d.module, game.objective, *game.penalties, self.run.balance
        held = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        return held + tensors([dict(player.optimizer.state) for player in (game.g, game.d)])


def played(run: Run, rounds: int = ROUNDS) -> list[dict[str, float]]:
    """What would be logged of each round: losses, terms, gradients' norms."""
    logged = []
    for _ in range(rounds):
        d, g = run.play()
        run.game.end_round(d, g)
        run.average.update(run.game.step)
        logged.append(numbers(measure(run.game, d, g)))
    return logged


def on_a_gpu(run: Run) -> Run:
    """As if: for what asks whether rounds may be recorded."""
    as_if = copy.copy(run)
    as_if.device = torch.device("cuda")
    return as_if


@every_pair
def test_a_recorded_round_is_the_round_from_python(name, data):
    run = run_of(name, data)
    reason = replay.obstacle(on_a_gpu(run))
    assert reason.startswith(BY_ROUND[name]) if name in BY_ROUND else reason == ""
    if reason:
        return
    recorded = run_of(name, data)
    recorder = CpuRecorder(recorded)
    recorded.play = replay.Replay(recorded, recorder)
    assert played(recorded) == played(run)
    assert recorder.recordings == 1
    assert same(recorded.state_dict(), run.state_dict())


@pytest.mark.parametrize("settings", [
    {"balance": "CriticWarmUp(warm_steps=3, d_steps=2, rounds=2, every=4)"},  # two kinds of round, in turns
    {"balance": "Fixed(d_steps=2, g_steps=2)", "penalties": ("GradientPenalty",)},
    {"optimizer": "sgd", "update": "Simultaneous", "penalties": ("L2", "FeatureMatching")},
    {"d_noise": 0.1, "d_dropout": 0.5, "penalties": ("DRAGAN",)},
])  # fmt: skip
def test_rounds_of_several_steps_draw_what_python_would(settings):
    run, recorded = (run_of("dcgan", "ring8", **settings) for _ in range(2))
    recorder = CpuRecorder(recorded)
    recorded.play = replay.Replay(recorded, recorder)
    assert played(recorded, 18) == played(run, 18)
    assert recorder.recordings == (2 if "CriticWarmUp" in settings.get("balance", "") else 1)
    assert same(recorded.state_dict(), run.state_dict())


@pytest.mark.parametrize("settings", [
    {"instance_noise": "InstanceNoise(sigma=0.5, rounds=20)"},
    {"penalties": ("FeatureMatching(rounds=20)",)},
    {"balance": "Margin(margin=0.3)", "lr_d": 0.02},
    {"balance": "Dynamic(low=0.68, high=0.69, steps=2)"},
])  # fmt: skip
def test_what_differs_by_round_would_stand_still_and_so_is_not_recorded(settings):
    run, recorded = (run_of("dcgan", "ring8", **settings) for _ in range(2))
    assert replay.obstacle(on_a_gpu(run))
    recorded.play = replay.Replay(recorded, CpuRecorder(recorded))
    assert played(recorded, 18) != played(run, 18)


def test_a_resumed_run_records_anew_and_goes_on_as_one_unbroken():
    straight, first, second = (run_of("improved", "faces") for _ in range(3))
    unbroken = played(straight, 12)
    first.play = replay.Replay(first, CpuRecorder(first))
    begun = played(first, 6)
    second.restore(copy.deepcopy(first.state_dict()))
    second.play = replay.Replay(second, CpuRecorder(second))
    assert begun + played(second, 6) == unbroken
    assert same(straight.state_dict(), second.state_dict())


def test_no_recording_where_it_is_refused_or_useless():
    run = run_of("dcgan", "ring8")
    assert run.play == run.round  # on a CPU
    assert replay.obstacle(on_a_gpu(run)) == ""
    assert replay.obstacle(on_a_gpu(run_of("dcgan", "ring8", cuda_graph=False))) == "--no-cuda-graph"


class Refusing(CpuRecorder):
    def record(self, play):
        raise RuntimeError("operation not permitted when stream is capturing\nand twenty lines more")


def test_a_gpu_that_refuses_costs_one_line_and_no_round(tmp_path, monkeypatch, capsys):
    def obstacle(run: Run) -> str:
        return "" if run.config.cuda_graph else "--no-cuda-graph"

    monkeypatch.setattr(replay, "obstacle", obstacle)
    monkeypatch.setattr(replay, "CudaRecorder", Refusing)
    flags = ["--data", "ring8", "--device", "cpu", "--steps", "6", "--width", "8", "--no-walk"]
    assert train.main([*flags, "--out", str(tmp_path / "refused")]) in (0, None)
    said = capsys.readouterr().out
    assert "the GPU did not record a round (operation not permitted when stream is capturing)" in said
    monkeypatch.undo()
    assert train.main([*flags, "--out", str(tmp_path / "plain")]) in (0, None)
    a, b = load(tmp_path / "refused"), load(tmp_path / "plain")
    assert same(a["generator"], b["generator"]) and same(a["rng"], b["rng"])


@pytest.mark.cuda
@every_pair
def test_on_a_gpu_a_replayed_round_has_the_losses_of_one_from_python(name, data):
    plain = run_of(name, data, device="cuda", cuda_graph=False)
    recorded = run_of(name, data, device="cuda")
    if name in BY_ROUND:
        assert recorded.play == recorded.round
        return
    assert isinstance(recorded.play, replay.Replay)
    for a, b in zip(played(recorded), played(plain), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    assert recorded.play.recordings
