"""Mixed batches: reals and fakes pass through D together, so its batch norm sees how far they are apart."""

import copy
import math

import pytest
import torch
from runs import run_of
from torch import Tensor, nn
from toys import Critic, Linear, Spy, batches, normal, play, play_round, same

from gan_ref import recipes
from gan_ref.errors import UserError
from gan_ref.loop import play_round as play_round_of
from gan_ref.networks.output import Output
from gan_ref.techniques.objectives import Relativistic
from gan_ref.techniques.penalties import R1
from gan_ref.techniques.updates import Alternating


class Normed(nn.Module):
    """D(x) = BN(x): one number in, its standardised value out."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1, eps=1e-12, dtype=torch.float64)

    def forward(self, x: Tensor) -> Output:
        features = self.norm(x)
        return Output(features.squeeze(1), features)


def test_batch_norm_takes_the_statistics_of_reals_and_fakes_together():
    real, fake = normal(6, 1) + 3, normal(6, 1, seed=1) * 2
    game = play(Normed(), mixed_batches=True)
    turn = game.d_loss(real, fake)
    both = torch.cat([real, fake])
    standard = ((both - both.mean()) / both.std(correction=0)).squeeze(1)
    torch.testing.assert_close(torch.cat([turn.real_scores, turn.fake_output.scores]), standard)
    torch.testing.assert_close(game.d.module.norm.running_mean, 0.1 * both.mean(0))  # one pass, so one update


@pytest.mark.parametrize("distance", [0.5, 2.0, 10.0])
def test_only_a_mixed_batch_keeps_the_distance_between_the_means(distance):
    """Reals of mean m and fakes of mean −m, both of variance 1, come out m/√(1 + m²) and −m/√(1 + m²).

    With a batch for each side, the two means are 0 and no scale of D tells them apart.
    """
    noise = normal(50, 1)
    unit = (noise - noise.mean()) / noise.std(correction=0)
    real, fake = unit + distance, unit - distance
    mixed, separate = (play(Normed(), mixed_batches=mixed).d_loss(real, fake) for mixed in (True, False))
    expected = distance / math.sqrt(1 + distance**2)
    assert mixed.real_scores.mean().item() == pytest.approx(expected)
    assert mixed.fake_output.scores.mean().item() == pytest.approx(-expected)
    assert separate.real_scores.mean().item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(separate.real_scores, separate.fake_output.scores)


def test_g_shows_d_its_fakes_alone_unless_its_loss_looks_at_reals():
    real, fake = normal(4, 2), normal(4, 2, seed=1)
    d = Spy(1.0, -2.0)
    game = play(d, mixed_batches=True)
    game.d_loss(real, fake)
    game.g_loss(real, fake)
    play(d, objective=Relativistic(), mixed_batches=True).g_loss(real, fake)
    both = torch.cat([real, fake])
    assert [len(seen) for seen in d.seen] == [8, 4, 8]
    assert torch.equal(d.seen[0], both) and torch.equal(d.seen[1], fake) and torch.equal(d.seen[2], both)


@pytest.mark.parametrize("pack", [1, 2])
def test_a_d_without_batch_norm_plays_the_same_game(pack):
    """Also in packs, and under a penalty that differentiates D at the reals."""
    ends = []
    for mixed in (True, False):
        d = Critic() if pack == 1 else Linear(1.0, -2.0, 0.5, 3.0)
        game, draw = play(d, pack=pack, penalties=[R1(0.5)], mixed_batches=mixed), batches()
        for _ in range(3):
            play_round(game, Alternating(), draw)
        ends.append([*game.d.parameters, *game.g.parameters])
    for one, other in zip(*ends):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_labelled_reals_that_follow_the_others_come_back_in_their_place():
    real, fake = normal(9, 2), normal(6, 2, seed=1)
    d = Linear(1.0, -2.0)
    real_output, fake_output = play(d, mixed_batches=True)._discriminate_both(real, fake, None, None)
    torch.testing.assert_close(real_output.scores, d(real).scores)
    torch.testing.assert_close(fake_output.scores, d(fake).scores)


BATCH_NORM = {"norm_d": "batch", "mixed_batches": True}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("face-2015-bn", {}),
        ("dcgan", {"mixed_batches": True, "pack": 2}),
        ("dcgan", {"mixed_batches": True, "norm_d": "virtual"}),
        ("dcgan", BATCH_NORM | {"update": "Unrolled(steps=2)"}),
        ("projection", BATCH_NORM),
        ("acgan", BATCH_NORM),
        ("cgan", BATCH_NORM),
    ],
)
def test_a_resumed_run_is_an_unbroken_one(name, more):
    straight, resumed = (run_of(name, "faces", **more) for _ in range(2))
    for _ in range(2):
        play_round_of(straight)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for run in (straight, resumed):
        for _ in range(2):
            d, g = play_round_of(run)
            assert torch.isfinite(d.loss) and torch.isfinite(g.loss)
    assert same(straight.state_dict(), resumed.state_dict())


def test_the_face_gan_plays_with_mixed_batches_and_no_other_recipe_does():
    mixed = [name for name in recipes.RECIPES if recipes.settings(name).get("mixed_batches")]
    assert mixed == ["face-2015-bn", "face-2015-margin", "face-2015-l2"]


def test_minibatch_discrimination_compares_one_side_and_is_refused():
    with pytest.raises(UserError, match="one side") as refused:
        run_of("improved", "faces", mixed_batches=True)
    assert "\n" not in str(refused.value)
