import math

import pytest
import the_game
import torch
import torch.nn.functional as F


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.9, 0.1), (0.2, 0.6), (1.0, 0.0)])
def test_no_other_probability_is_better(p, q):
    best = the_game.best_discriminator(p, q)

    def value(d: float) -> float:
        return (p * math.log(d) if p else 0) + (q * math.log(1 - d) if q else 0)

    for other in torch.linspace(0.01, 0.99, 99).tolist():
        assert value(best) >= value(other) - 1e-12


@pytest.mark.parametrize("score", [-8.0, -1.0, 0.0, 3.0])
def test_the_slopes_are_those_of_autograd(score):
    s = torch.tensor(score, dtype=torch.float64, requires_grad=True)
    (saturating,) = torch.autograd.grad(F.logsigmoid(-s), s)
    (practical,) = torch.autograd.grad(-F.logsigmoid(s), s)
    assert the_game.slopes(score) == pytest.approx((saturating.item(), practical.item()))
