"""Chapter "Other distances"."""

import torch
from torch import Tensor


def earth_movers(x: Tensor, y: Tensor) -> Tensor:
    """The mean way that a number of x (N,) goes if x is carried to y (N,) with as little work as can be."""
    return (x.sort().values - y.sort().values).abs().mean()


def hinge(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """D's and G's loss, from the scores (N,) of reals and of fakes."""
    return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean(), -fake.mean()
