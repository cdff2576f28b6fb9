import math

import looking_ahead
import pytest
import torch

from gan_ref.toy_games.dynamics import GAMES, consensus, unrolled

BILINEAR = next(game for game in GAMES if game.name == "bilinear")
X, Y = torch.tensor([[0.6]], dtype=torch.float64), torch.tensor([[-0.8]], dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 5])
def test_the_unrolled_step_is_that_of_autograd(k):
    theirs = [value.item() for value in unrolled(BILINEAR, X, Y, 0.1, k)]
    assert looking_ahead.unrolled_step(0.6, -0.8, 0.1, k) == pytest.approx(theirs)


@pytest.mark.parametrize("γ", [0.0, 0.5, 2.0])
def test_the_factor_is_that_of_a_step(γ):
    x, y = consensus(BILINEAR, X, Y, 0.1, γ)
    assert looking_ahead.consensus_factor(0.1, γ) == pytest.approx(math.hypot(x.item(), y.item()))
