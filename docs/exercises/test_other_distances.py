import itertools

import other_distances
import pytest
import torch

from gan_ref.networks.output import Output
from gan_ref.techniques.objectives import Hinge


def test_no_other_way_to_carry_is_shorter():
    x, y = torch.randn(5), torch.randn(5)
    ways = [(x - y[list(order)]).abs().mean().item() for order in itertools.permutations(range(5))]
    assert other_distances.earth_movers(x, y).item() == pytest.approx(min(ways))


def test_a_shift_costs_its_length():
    x = torch.randn(50)
    assert other_distances.earth_movers(x, x.flip(0) + 3).item() == pytest.approx(3)


def test_the_hinge_is_that_of_the_package():
    real, fake = torch.randn(9), torch.randn(9)
    outputs = Output(real, real[:, None]), Output(fake, fake[:, None])
    theirs = Hinge().d_loss(*outputs), Hinge().g_loss(*outputs)
    for mine, other in zip(other_distances.hinge(real, fake), theirs, strict=True):
        assert torch.allclose(mine, other)
