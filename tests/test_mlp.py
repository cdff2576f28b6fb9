"""The hidden layers as one operator: the numbers of one layer after the other, to the second derivative."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_ref.config import Config
from gan_ref.networks.mlp import Discriminator, Generator, Perceptron, perceptron
from gan_ref.training import Run, settle


def weights(*sizes: int, seed: int = 0) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = [shape for a, b in zip(sizes, sizes[1:]) for shape in ((b, a), (b,))]
    return [torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_gradients_of_both_orders_are_those_of_finite_differences(slope):
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    inputs = (x, *weights(2, 5, 5, 3))
    assert torch.autograd.gradcheck(lambda *t: Perceptron.apply(slope, *t), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: Perceptron.apply(slope, *t), inputs)


def test_it_is_one_layer_after_the_other():
    network = Generator(width=16, latent_dim=3).double()
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = nn.Sequential(*network.layers, network.out)
    assert torch.equal(network(z), plain(z))


def test_a_weight_that_nobody_asked_for_gets_no_gradient_and_costs_none():
    network = Discriminator(width=8)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    network(x).scores.sum().backward(inputs=[x])
    assert x.grad is not None and all(p.grad is None for p in network.parameters())


def test_gradients_reach_x_where_no_weight_wants_one_and_a_weight_where_x_does_not():
    parameters = weights(2, 4, 4)
    x = torch.ones(3, 2, dtype=torch.float64)
    (only,) = torch.autograd.grad(Perceptron.apply(0.2, x, *parameters).sum(), [parameters[0]])
    (plain,) = torch.autograd.grad(perceptron(0.2, x, *parameters).sum(), [parameters[0]])
    assert torch.allclose(only, plain, rtol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [{}, {"norm_d": "spectral"}, {"penalties": ("GradientPenalty",)}, {"penalties": ("R1",)},
     {"minibatch_discrimination": True}, {"update": "Unrolled(steps=2)"}, {"update": "Consensus"}],
    ids=str,
)  # fmt: skip
def test_a_game_has_the_losses_of_plain_layers_and_two_passes_step_by_step(settings, monkeypatch):
    config, dataset = settle(Config(data="ring8", device="cpu", width=16, batch_size=32, **settings))

    def losses(plain: bool) -> torch.Tensor:
        with monkeypatch.context() as patch:
            if plain:
                patch.setattr("gan_ref.networks.mlp.Hidden.forward", nn.Sequential.forward)
            run, values = Run(config, dataset), []
            if plain and config.norm_d != "spectral":  # there each pass is a step of the power iteration
                run.game.d.module.separate = False
            for _ in range(6):
                d, g = run.update(run.game, run.balance, run.draw)
                run.game.end_round(d, g)
                values.append(torch.stack([d.loss.detach(), g.loss.detach()]))
        return torch.stack(values)

    assert torch.allclose(losses(plain=False), losses(plain=True), rtol=1e-4, atol=1e-6)


def test_one_pass_of_d_is_made_where_it_judges_each_sample_by_itself_and_two_where_it_does_not():
    for settings, passes in (({}, [64, 32]), ({"minibatch_discrimination": True}, [32, 32, 32])):
        config, dataset = settle(Config(data="ring8", device="cpu", width=16, batch_size=32, **settings))
        run, seen = Run(config, dataset), []
        run.game.d.module.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
        run.update(run.game, run.balance, run.draw)
        assert seen == passes
