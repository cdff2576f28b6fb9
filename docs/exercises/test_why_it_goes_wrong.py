import math

import pytest
import torch
import why_it_goes_wrong

from gan_ref.toy_games.dynamics import GAMES, alternating, simultaneous

BILINEAR = next(game for game in GAMES if game.name == "bilinear")


def tensor(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_simultaneous_steps_go_away_from_the_equilibrium(rate):
    x, y = simultaneous(BILINEAR, tensor(0.6), tensor(-0.8), rate)
    assert why_it_goes_wrong.growth(rate) == pytest.approx(math.hypot(x.item(), y.item()))


def test_alternating_steps_stay_on_an_ellipse():
    x, y, rate = 0.6, -0.8, 0.1
    theirs = alternating(BILINEAR, tensor(x), tensor(y), rate)
    assert why_it_goes_wrong.alternating_step(x, y, rate) == pytest.approx([v.item() for v in theirs])
    before = x**2 + y**2 + rate * x * y
    for _ in range(1000):
        x, y = why_it_goes_wrong.alternating_step(x, y, rate)
        assert x**2 + y**2 + rate * x * y == pytest.approx(before)
