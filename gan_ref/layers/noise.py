"""Noise and dropout that draw from a generator whose state a checkpoint can carry."""

import torch
from torch import Tensor, nn

from gan_ref import distributed


class Noise(nn.Module):
    """A layer that disturbs its input in training and returns it as it is in eval mode.

    It draws from ``generator``, or from the global generator while that is None.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.disturb(x) if self.training else x

    def disturb(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class GaussianNoise(Noise):
    """x + σ ε with ε ~ N(0, 1) for each number; before D's layers in the code of Salimans et al. 2016."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        if sigma < 0:
            raise ValueError(f"sigma must be at least 0, not {sigma}")
        self.sigma = sigma

    def disturb(self, x: Tensor) -> Tensor:
        shape = distributed.whole(x.shape)
        noise = torch.randn(shape, generator=self.generator, dtype=x.dtype, device=x.device)
        return x + self.sigma * distributed.part(noise)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class Dropout(Noise):
    """Set each number to 0 with probability p and divide the others by 1 − p (Srivastava et al. 2014)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must lie in [0, 1), not {p}")
        self.p = p

    def disturb(self, x: Tensor) -> Tensor:
        shape = distributed.whole(self.mask_shape(x))
        kept = torch.rand(shape, generator=self.generator, device=x.device) >= self.p
        return x * distributed.part(kept) / (1 - self.p)

    def mask_shape(self, x: Tensor) -> torch.Size:
        return x.shape

    def extra_repr(self) -> str:
        return f"p={self.p}"


class SpatialDropout(Dropout):
    """Dropout of whole channels of (N, C, …), as neighbours say the same (Tompson et al. 2015, §3.2)."""

    def mask_shape(self, x: Tensor) -> torch.Size:
        return x.shape[:2] + (1,) * (x.dim() - 2)


def seed_noise(network: nn.Module, generator: torch.Generator | None) -> None:
    """Let every noise layer of the network draw from ``generator``, which must be on the network's device.

    A torch.compile graph breaks where a layer draws from such a generator.
    """
    for module in network.modules():
        if isinstance(module, Noise):
            module.generator = generator
