"""A round of each recipe, as on another device than the CPU: nothing crosses over, and nothing is waited for.

The other device is torch's "meta", which knows shapes and places and no values. What a GPU would forgive in
silence and at a price (an index from the host, a number fetched to decide something) is an error here.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import config_of, every_pair
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_ref import recipes
from gan_ref import run as run_module
from gan_ref.data import batches
from gan_ref.data.dataset import Dataset
from gan_ref.devices import choose_device
from gan_ref.errors import UserError
from gan_ref.loop import play_round
from gan_ref.run import Run, choose_settings
from gan_ref.techniques import differentiable_optimizers
from gan_ref.watch.finite import FiniteGuard

LOOKS = ("face-2015-margin",)  # the margin rule asks for D's errors


class Staying(TorchDispatchMode):
    """Every operator under it has all its tensors on the one device, and none in float64, which Apple's GPUs
    lack.
    """

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        places = {tensor.device.type for tensor in tensors}
        assert places <= {"meta"}, f"{operator} on {places}"
        assert all(tensor.dtype != torch.float64 for tensor in tensors), f"{operator} in float64"
        return result


class HostGenerator(torch.Generator):
    """Of numbers without values there is no generator; the host's is handed around, and never drawn from."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@pytest.fixture
def elsewhere(monkeypatch):
    """Runs on the device "meta", which has no mixed precision, no fused optimizers and no memory to fill."""

    def sgd(config, module, name, rate, beta1):
        optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], rate)
        optimizer.param_groups[0]["betas"] = (config.beta1, config.beta2)  # which a schedule may change
        return optimizer

    monkeypatch.setattr(torch, "Generator", HostGenerator)
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())
    monkeypatch.setattr(batches, "fits_on", lambda device, size: True)
    monkeypatch.setattr(run_module, "build_optimizer", sgd)

    def run_of(name: str, data: str) -> Run:
        lines = recipes.settings(name).get("schedules", ())
        lines = [line for line in lines if "beta2" not in line]  # which the optimizer below has not
        config, dataset = choose_settings(config_of(name, data, log_every=30, schedules=tuple(lines)))
        object.__setattr__(config, "device", "meta")
        return Run(config, dataset)

    return run_of


def play(run: Run) -> None:
    """What the loop does between two logged rounds."""
    d, g = play_round(run)
    FiniteGuard(run.game, Path(), run.device, every=30).look(d.loss, g.loss)


@every_pair
def test_a_round_stays_on_its_device_and_asks_it_nothing(name, data, elsewhere):
    run = elsewhere(name, data)
    if name in LOOKS:
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
            play(run)
        return
    play(run)  # what is made once may come from the host
    with Staying():
        play(run)
        play(run)


def test_an_index_from_the_host_is_found(elsewhere):
    run = elsewhere("dcgan", "faces")
    play(run)
    pick = run.data._pick
    run.data._pick = lambda order: pick(torch.zeros(8, dtype=torch.int64))
    with Staying(), pytest.raises(AssertionError, match="on {"):
        play(run)


def test_a_number_fetched_is_found(elsewhere):
    run = elsewhere("dcgan", "faces")
    run.average.update = lambda round: run.game.d.parameters[0].detach().sum().item()
    with pytest.raises(RuntimeError, match="meta"):
        play(run)


def test_a_float64_is_found():
    with Staying(), pytest.raises(AssertionError, match="in float64"):
        torch.zeros(2, device="meta").double()


def test_a_step_of_adam_as_a_function_needs_no_float64():
    weight = torch.zeros(3, device="meta", requires_grad=True)
    adam = torch.optim.Adam([weight])
    state = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
    for before in ({}, state | {"step": torch.zeros((), device="meta")}):
        with Staying():
            differentiable_optimizers.step(adam, [weight], [weight.detach()], [before])


def test_batches_come_from_the_host_where_a_device_holds_no_samples():
    """As for Apple's GPU: without streams of CUDA, and without a copy of all samples."""
    samples = np.zeros((20, 24, 16, 3), np.uint8)
    data = batches.Batches(Dataset("zeros", samples, np.arange(20)), 8, 0, "meta", flip=True)
    x, labels = data.next()
    assert x.device.type == labels.device.type == data.take(4)[0].device.type == "meta"
    assert x.shape == (8, 3, 24, 16) and data._samples.device.type == "cpu"


@pytest.mark.parametrize("seen", [("cuda", "mps"), ("mps",), ()])
def test_auto_takes_the_first_device_that_is_there(seen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in seen)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in seen)
    assert choose_device("auto").type == (*seen, "cpu")[0]
    assert choose_device("cpu").type == "cpu"
    for name in {"cuda", "mps"} - set(seen):
        with pytest.raises(UserError, match=f"--device {name}: .*take --device cpu"):
            choose_device(name)
