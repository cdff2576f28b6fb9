"""A recorded round is the round that Python plays, for every recipe whose rounds may be recorded.

The recorder here does on a CPU what a CUDA graph does on a GPU: it keeps a round's operators with the tensors
that they read and write, undoes what they did while they were recorded, and runs them again at each replay.
What Python does in between is not repeated, so a number that should have changed is caught standing still.
"""

import copy

import pytest
import torch
from runs import every_pair, run_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import same

from gan_ref import cuda_graph
from gan_ref.checkpoint import load
from gan_ref.commands import train
from gan_ref.loop import play_round
from gan_ref.run import Run
from gan_ref.watch.metrics import measure_round

CHANGING = {
    "face-2015-margin": "Margin looks at D's errors",
    "instance-noise": "InstanceNoise lowers its σ",
    "feature-matching-sum": "FeatureMatchingTerm raises its weight",
    "r3gan": "Cosine changes beta2",
    "progressive": "Stages fades in blocks",
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
        modules = game.g.module, game.d.module, game.objective, *game.penalties, game.balance
        held = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        return held + tensors([dict(player.optimizer.state) for player in (game.g, game.d)])


def played(run: Run, rounds: int = ROUNDS) -> list[dict[str, float]]:
    """What would be logged of each round: losses, terms, gradients' norms."""
    logged = []
    for _ in range(rounds):
        d, g = play_round(run)
        logged.append(measure_round(run.game, d, g))
    return logged


def reason_on_a_gpu(run: Run) -> str:
    """Why the rounds of this run would not be recorded there."""
    return cuda_graph.reason_not_to_record(run.config.replace(device="cuda"), run.game)


def record(run: Run) -> CpuRecorder:
    """Let the run play recorded rounds."""
    recorder = CpuRecorder(run)
    run.play = cuda_graph.RecordedRounds(run.update, run.game, recorder)
    return recorder


@every_pair
def test_a_recorded_round_is_the_round_from_python(name, data):
    run = run_of(name, data)
    reason = reason_on_a_gpu(run)
    assert reason.startswith(CHANGING[name]) if name in CHANGING else reason == ""
    if reason:
        return
    recorded = run_of(name, data)
    recorder = record(recorded)
    if run.config.schedules and run.config.beta1:  # a tensor holds the rate in float32
        for a, b in zip(played(recorded), played(run), strict=True):
            assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
        assert recorder.recordings == 1
        return
    assert played(recorded) == played(run)
    assert recorder.recordings == 1
    assert same(recorded.state_dict(), run.state_dict())


@pytest.mark.parametrize("settings", [
    {"balance": "CriticWarmUp(warm_steps=3, d_steps=2, rounds=2, every=4)"},  # two kinds of round, in turns
    {"balance": "Fixed(d_steps=2, g_steps=2)", "penalties": ("GradientPenalty",)},
    {"optimizer": "sgd", "update": "Simultaneous", "penalties": ("L2", "FeatureMatchingTerm")},
    {"d_noise": 0.1, "d_dropout": 0.5, "penalties": ("DRAGAN",)},
])  # fmt: skip
def test_rounds_of_several_steps_draw_what_python_would(settings):
    run, recorded = (run_of("dcgan", "ring8", **settings) for _ in range(2))
    recorder = record(recorded)
    assert played(recorded, 18) == played(run, 18)
    assert recorder.recordings == (2 if "CriticWarmUp" in settings.get("balance", "") else 1)
    assert same(recorded.state_dict(), run.state_dict())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_replay_reads_the_scheduled_numbers_anew(optimizer):
    lines = "Ramp(rounds=20)", "Cosine(of='R1.weight', rounds=20)"
    run, recorded, still = (
        run_of("dcgan", "ring8", optimizer=optimizer, penalties=("R1",), lr_g=0.01, lr_d=0.01, schedules=kept)
        for kept in (lines, lines, ())
    )
    assert reason_on_a_gpu(run) == ""
    recorder = record(recorded)
    for a, b in zip(played(recorded, 18), plain := played(run, 18), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)  # a tensor holds the rate in float32
    assert recorder.recordings == 1 and plain[-1] != pytest.approx(played(still, 18)[-1], rel=1e-2)
    assert same(
        recorded.state_dict()["d_optimizer"]["param_groups"], run.state_dict()["d_optimizer"]["param_groups"]
    )


@pytest.mark.parametrize("settings", [
    {"instance_noise": "InstanceNoise(sigma=0.5, rounds=20)"},
    {"penalties": ("FeatureMatchingTerm(rounds=20)",)},
    {"balance": "Margin(margin=0.3)", "lr_d": 0.02},
    {"balance": "Dynamic(low=0.68, high=0.69, steps=2)"},
    {"schedules": ("Ramp(of='beta2', rounds=20)",)},
])  # fmt: skip
def test_what_differs_by_round_would_stand_still_and_so_is_not_recorded(settings):
    run, recorded = (run_of("dcgan", "ring8", **settings) for _ in range(2))
    assert reason_on_a_gpu(run)
    record(recorded)
    assert played(recorded, 18) != played(run, 18)


def test_a_resumed_run_records_anew_and_goes_on_as_one_unbroken():
    straight, first, second = (run_of("improved", "faces") for _ in range(3))
    unbroken = played(straight, 12)
    record(first)
    begun = played(first, 6)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    record(second)
    assert begun + played(second, 6) == unbroken
    assert same(straight.state_dict(), second.state_dict())


def test_no_recording_where_it_is_refused_or_useless():
    run = run_of("dcgan", "ring8")
    assert run.play is run.update  # on a CPU
    assert reason_on_a_gpu(run) == ""
    assert reason_on_a_gpu(run_of("dcgan", "ring8", cuda_graph=False)) == "--no-cuda-graph"


class Refusing(CpuRecorder):
    def __init__(self, game):
        pass

    def record(self, play):
        raise RuntimeError("operation not permitted when stream is capturing\nand twenty lines more")


def test_a_gpu_that_refuses_costs_one_line_and_no_round(tmp_path, monkeypatch, capsys):
    def reason(config, game) -> str:
        return "" if config.cuda_graph else "--no-cuda-graph"

    monkeypatch.setattr(cuda_graph, "reason_not_to_record", reason)
    monkeypatch.setattr(cuda_graph, "CudaRecorder", Refusing)
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
    steep = name in ("semi-supervised-conv", "semi-supervised-minibatch")  # rounding grows
    rates = {"lr_d": 1e-5, "lr_g": 1e-5} if steep else {}
    plain = run_of(name, data, device="cuda", cuda_graph=False, **rates)
    recorded = run_of(name, data, device="cuda", **rates)
    if name in CHANGING:
        assert recorded.play is recorded.update
        return
    assert isinstance(recorded.play, cuda_graph.RecordedRounds)
    for a, b in zip(played(recorded), played(plain), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    assert recorded.play.recordings
