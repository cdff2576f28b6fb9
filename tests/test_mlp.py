"""Points: reals and fakes in one pass of D where that changes nothing."""

import pytest
import torch

from gan_ref.config import Config
from gan_ref.loop import play_round
from gan_ref.networks.mlp import Discriminator
from gan_ref.run import Run, choose_settings


def test_a_weight_that_nobody_asked_for_gets_no_gradient_and_costs_none():
    network = Discriminator(width=8)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    network(x).scores.sum().backward(inputs=[x])
    assert x.grad is not None and all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    "settings",
    [{}, {"penalties": ("GradientPenalty",)}, {"penalties": ("R1",)},
     {"update": "Unrolled(steps=2)"}, {"update": "Consensus"}],
    ids=str,
)  # fmt: skip
def test_a_game_of_one_pass_of_d_has_the_losses_of_one_of_two_passes_step_by_step(settings):
    config, dataset = choose_settings(Config(data="ring8", device="cpu", width=16, batch_size=32, **settings))

    def losses(together: bool) -> torch.Tensor:
        run, values = Run(config, dataset), []
        run.game.d.module.separate = together
        for _ in range(6):
            d, g = play_round(run)
            values.append(torch.stack([d.loss.detach(), g.loss.detach()]))
        return torch.stack(values)

    assert torch.allclose(losses(together=True), losses(together=False), rtol=1e-4, atol=1e-6)


def test_one_pass_of_d_is_made_where_it_judges_each_sample_by_itself_and_two_where_it_does_not():
    for settings, passes in (({}, [64, 32]), ({"minibatch_discrimination": True}, [32, 32, 32])):
        config, dataset = choose_settings(
            Config(data="ring8", device="cpu", width=16, batch_size=32, **settings)
        )
        run, seen = Run(config, dataset), []
        run.game.d.module.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
        play_round(run)
        assert seen == passes
