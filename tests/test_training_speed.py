"""Fast and plain training are the same: step by step the losses agree, whatever the recipe."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import run_of
from torch import nn

from gan_ref import layers, loop, recipes
from gan_ref.networks import output
from gan_ref.run import Run

STEPS = 4
ROOT = Path(__file__).parent.parent


def made_plain(run: Run) -> Run:
    """The same game in the straightforward form: NCHW, one tensor at a time, every gradient computed."""
    game = run.game
    everything = [*game.d.parameters, *game.g.parameters]
    for player in (game.g, game.d):
        player.module.to(memory_format=torch.contiguous_format)
        for parameter in player.parameters:
            parameter.data = parameter.data.contiguous()
        options = player.optimizer.defaults | {"foreach": False}
        options |= {"fused": False} if "fused" in options else {}
        player.optimizer = type(player.optimizer)(player.parameters, **options)

        def differentiate(loss, player=player):
            kept = [None if p.grad is None else p.grad.clone() for p in everything]
            for p in everything:
                p.grad = None
            loss.backward()  # of both networks, as a tutorial does
            own = set(map(id, player.parameters))
            for p, before in zip(everything, kept):
                if id(p) not in own:
                    p.grad = before

        player.differentiate = differentiate
    call, generate, draw = game._call_d, game.generate, run.data.next
    game._call_d = lambda x, *others: call(x.contiguous(), *others)
    run.data.next = lambda: tuple(None if x is None else x.contiguous() for x in draw())
    game.generate = lambda z: generate(z).contiguous()
    return run


def losses(run: Run) -> list[tuple[float, float]]:
    out = []
    for _ in range(STEPS):
        d, g = loop.play_round(run)
        out.append((d.loss.item(), g.loss.item()))
    return out


STEEP = ("ebgan", "semi-supervised-conv", "semi-supervised-minibatch")  # rounding grows at their own rates


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("dcgan", "wgan-gp") else pytest.param(name, marks=pytest.mark.full)
        for name in recipes.RECIPES
    ],
)
def test_every_recipe_has_the_losses_of_its_plain_form(name, monkeypatch):
    rates = {"lr_d": 1e-5, "lr_g": 1e-5} if name in STEEP else {}
    rates["schedules"] = ()  # which the plain form does not follow
    fast = losses(run_of(name, "faces", **rates))
    monkeypatch.setattr(layers.FromLatent, "forward", nn.ConvTranspose2d.forward)
    monkeypatch.setattr(output, "flatten", lambda x: x.flatten(1))
    plain = losses(made_plain(run_of(name, "faces", **rates)))
    for step, (a, b) in enumerate(zip(fast, plain)):
        assert a == pytest.approx(b, rel=3e-5, abs=3e-6), f"step {step + 1}"


def test_the_first_layer_is_the_transposed_convolution_it_replaces():
    layer = layers.FromLatent(7, 5, 4).double()
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(3, 7, 1, 1, generator=rng, dtype=torch.float64, requires_grad=True)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        layer = copy.deepcopy(layer).to(memory_format=memory_format)
        plain = nn.ConvTranspose2d.forward(layer, z)
        torch.testing.assert_close(layer(z), plain)
        fast_gradients, gradients = (
            torch.autograd.grad(out.square().sum(), [z, *layer.parameters()]) for out in (layer(z), plain)
        )
        torch.testing.assert_close(fast_gradients, gradients)


def test_flatten_hands_back_gradients_in_the_layout_they_are_needed_in():
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    activation = x * 2
    seen = []
    features = layers.flatten(activation)
    activation.register_hook(seen.append)
    assert torch.equal(features, activation.flatten(1))
    features.square().sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.grad, 8 * x.detach())


@pytest.mark.full
def test_the_benchmark_of_training_plays_both_loops():
    """benchmarks/training.py builds its Config by hand, and so a new setting can break it."""
    asked = json.dumps(["compare", 32, 8, 8, "cpu", 1, 0.05, False])
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), "--one", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["times_plain"].keys() >= {"plain", "float32", "auto"}
