import pytest
import torch
import watching_it
from torch import nn

from gan_ref.techniques.averaging import Average


def test_the_shares_count_scores():
    real, fake, later = torch.tensor([1.0, 2, -1, 3]), torch.tensor([-1.0, -2]), torch.tensor([-1.0, 1])
    assert watching_it.shares(real, fake, later) == pytest.approx((1.0, 0.75, 0.5))


def test_the_average_is_that_of_the_package():
    network = nn.Linear(3, 2)
    theirs = Average(network, 0.9)
    mine = network.weight.detach().clone()
    for round in range(1, 200):
        with torch.no_grad():
            network.weight += torch.randn(2, 3)
        theirs.update(round)
        mine = watching_it.average(mine, network.weight.detach(), round, 0.9)
    assert torch.allclose(mine, theirs.module.weight, atol=1e-4)
