"""Instance noise: the same σ on everything D sees, falling to nothing, from the game's own generator."""

import pytest
import torch
from toys import Linear, Spy, normal, play, seeded

from gan_ref.techniques import penalties
from gan_ref.techniques.noise import InstanceNoise


@pytest.mark.parametrize(("round", "sigma"), [(0, 0.4), (50, 0.2), (75, 0.1), (99, 0.004)])
def test_sigma_falls_linearly(round, sigma):
    x = torch.zeros(40_000, 2)
    noise = InstanceNoise(sigma=0.4, rounds=100)(x, round, seeded())
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.02 * sigma)


@pytest.mark.parametrize("round", [100, 101, 10_000])
def test_it_is_gone_after_its_rounds(round):
    x, rng = normal(3, 2), seeded()
    state = rng.get_state()
    assert InstanceNoise(sigma=0.4, rounds=100)(x, round, rng) is x
    assert torch.equal(state, rng.get_state()), "and draws nothing any more"


def test_d_sees_no_clean_sample():
    noise = InstanceNoise(sigma=0.5, rounds=10)
    d = Spy(1.0, 2.0)
    game = play(d, instance_noise=noise, penalties=[penalties.GradientPenalty()])
    real, fake = normal(4000, 2), normal(4000, 2, seed=1)
    game.d_loss(real, fake)
    game.g_loss(real, fake)
    on_real, on_fake, _, to_g = d.seen
    for clean, noisy in ((real, on_real), (fake, on_fake), (fake, to_g)):
        assert (noisy - clean).std().item() == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(on_fake, to_g), "fresh each time"


def test_the_games_generator_decides_it():
    games = [play(Linear(1.0, 2.0), instance_noise=InstanceNoise(), rng=seeded(seed)) for seed in (7, 7, 8)]
    scores = [game.discriminate(normal(5, 2)).scores for game in games]
    assert torch.equal(scores[0], scores[1]) and not torch.equal(scores[0], scores[2])
