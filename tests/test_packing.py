"""Packs (PacGAN): D sees m samples of one side as one, and so sees what single samples do not show."""

import math

import pytest
import torch
from runs import run_of
from test_recipes import play as play_rounds
from torch import Tensor, nn
from toys import Linear, Spy, normal, play

from gan_ref.errors import UserError
from gan_ref.networks.output import Output
from gan_ref.techniques import objectives, penalties
from gan_ref.watch.pages import draw_sample_page


def test_d_sees_neighbours_in_the_batch_as_one():
    d = Spy(1.0, 2.0, 3.0, 4.0)
    real, fake = normal(6, 2), normal(6, 2, seed=1)
    turn = play(d, pack=2).d_loss(real, fake)
    assert torch.equal(d.seen[0], torch.cat([real[0::2], real[1::2]], dim=1))
    assert torch.equal(d.seen[1], torch.cat([fake[0::2], fake[1::2]], dim=1))
    assert turn.real_scores.shape == (3,)


def test_images_are_packed_along_their_channels():
    x = normal(4, 3, 2, 2)
    packs = play(Linear(1.0), pack=2).packs(x)
    assert packs.shape == (2, 6, 2, 2)
    assert torch.equal(packs[1, :3], x[2]) and torch.equal(packs[1, 3:], x[3])


def test_a_penalty_means_the_gradient_at_a_pack():
    game = play(
        Linear(3.0, -4.0, 12.0, 0.0), pack=2, penalties=[penalties.R1(10.0), penalties.GradientPenalty()]
    )
    terms = game.d_loss(normal(6, 2), normal(6, 2, seed=1)).terms
    assert terms["R1"].item() == pytest.approx(5 * 13**2) and terms[
        "GradientPenalty"
    ].item() == pytest.approx(1440)


class Table(nn.Module):
    """D with a score of its own for each pack of coins, the best that any D can be."""

    def __init__(self, size: int):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(2**size, dtype=torch.float64))

    def forward(self, x: Tensor) -> Output:
        number = (x @ 2.0 ** torch.arange(x.shape[1]).double()).long()
        return Output(self.scores[number], x)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_larger_the_pack_the_clearer_a_collapse(size):
    """Lin et al. 2018, §3: packs pull a collapsed G and the data apart, total variation 1 − 2⁻ᵐ here.

    The data is a fair coin, and G always gives heads. A pack of m heads is a fake, or the data's with
    probability 2⁻ᵐ = q, and D's best loss is (1 + q) log(1 + q) − q log q.
    """
    coins = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * size).reshape(-1, 1)  # each pack once
    game = play(Table(size), pack=size, objective=objectives.NonSaturating())
    with torch.no_grad():
        game.d.module.scores.fill_(40.0)  # a pack with a tail is real
        game.d.module.scores[-1] = math.log(2.0**-size)  # heads alone: p/(p + p_G) is q/(q + 1)
    q = 2.0**-size
    found = game.d_loss(coins, torch.ones_like(coins)).loss.item()
    assert found == pytest.approx((1 + q) * math.log(1 + q) - q * math.log(q))


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ("faces", {"minibatch_discrimination": True}),
        ("faces", {"norm_d": "virtual", "instance_noise": "InstanceNoise"}),
        ("faces", {"norm_d": "weight"}),
        ("grid25", {"update": "Unrolled(steps=2)", "penalties": ("R1", "R2", "LocalStability")}),
        ("grid25", {"objective": "Wasserstein", "penalties": ("GradientPenalty", "DRAGAN")}),
    ],
)
def test_runs_with_packs_play_and_draw(data, settings):
    run = run_of("dcgan", data, pack=4, **settings)
    play_rounds(run, 2)
    page = draw_sample_page(run.game, run.dataset, run.sampling_generator(), run.numbered_z(64))
    assert page.ndim == 3


def test_a_batch_that_is_no_number_of_packs_is_refused():
    with pytest.raises(UserError, match="--batch-size 8 cannot be shared in packs of 3: take 9"):
        run_of("dcgan", "grid25", pack=3)
