"""The equalised learning rate (Karras et al. 2018, "Progressive growing of GANs", §4.1)."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Equalised(nn.Module):
    """A layer whose weight is c·w, with w ~ N(0, 1) trained and c = gain/√n, for n inputs of an output.

    c is He's constant (He et al. 2015, eq. 10; gain √2 before a rectifier), applied at run time instead of
    once to the initial weights. A step of Adam moves each w by about the rate, whatever its gradient's size.
    So here all layers change by the same share of their range, and none learns faster than another.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    gain = math.sqrt(2)

    @property
    def scale(self) -> float:
        """c."""
        return self.gain / math.sqrt(self.weight[0].numel())

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class EqualisedLinear(Equalised, nn.Linear):
    """(N, in_features) → (N, out_features)."""

    def __init__(self, in_features: int, out_features: int, gain: float = math.sqrt(2)) -> None:
        super().__init__(in_features, out_features)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class EqualisedConv2d(Equalised, nn.Conv2d):
    """(N, in_channels, H, W) → (N, out_channels, H, W): zeros around keep the size, for an odd kernel."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, gain: float = math.sqrt(2)):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)
