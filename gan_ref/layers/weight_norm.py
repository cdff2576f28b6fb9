"""Weight normalisation (Salimans & Kingma 2016) with its data-dependent initialisation."""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref import distributed


class WeightNorm(nn.Module):
    """w_k = g_k v_k / ‖v_k‖ for each output k (§2).

    v ~ N(0, 0.05²), g = 1 and b = 0, until ``data_dependent_init`` sets g and b from a first batch (§3). With
    ``train_scale=False`` g stays as it was set, as in the classifiers of Salimans et al. 2016.
    """

    scale: Tensor

    def __init__(self, weight_shape: tuple[int, ...], train_scale: bool) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.empty(weight_shape))
        nn.init.normal_(self.v, 0.0, 0.05)
        self.bias = nn.Parameter(torch.zeros(weight_shape[0]))
        scale = torch.ones(weight_shape[0])
        if train_scale:
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)
        self.initialising = False

    def forward(self, x: Tensor) -> Tensor:
        if self.initialising:
            self._set_scale_and_bias(x)
        return self.apply_weight(x, self.scale / self.v.flatten(1).norm(dim=1), self.bias)

    def apply_weight(self, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        """(factor_k v_k)·x + b_k for each output k."""
        raise NotImplementedError

    @torch.no_grad()
    def _set_scale_and_bias(self, x: Tensor) -> None:
        """t = v·x/‖v‖; g ← 1/σ[t], b ← −μ[t]/σ[t]: the pre-activations have mean 0 and variance 1."""
        t = self.apply_weight(x, 1 / self.v.flatten(1).norm(dim=1), None).float()
        t = t.transpose(0, 1).flatten(1)  # (outputs, everything else)
        self.scale.copy_(1 / t.std(dim=1, correction=0).clamp_min(1e-6))
        self.bias.copy_(-t.mean(dim=1) * self.scale)


class WeightNormLinear(WeightNorm):
    """(N, in_features) → (N, out_features)."""

    def __init__(self, in_features: int, out_features: int, train_scale: bool = True) -> None:
        super().__init__((out_features, in_features), train_scale)

    def apply_weight(self, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        y = F.linear(x, self.v) * factor  # a batch of outputs is smaller than the weight
        return y if bias is None else y + bias


class WeightNormConv2d(WeightNorm):
    """(N, in_channels, H, W) → (N, out_channels, H', W')."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        train_scale: bool = True,
    ) -> None:
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), train_scale)
        self.stride, self.padding = stride, padding

    def apply_weight(self, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, self.v * factor.view(-1, 1, 1, 1), bias, self.stride, self.padding)


@contextlib.contextmanager
def data_dependent_init(network: nn.Module) -> Iterator[None]:
    """``with data_dependent_init(network): network(batch)`` sets g and b of its weight-normalised layers.

    They are set one after another, so that each one's outputs on this batch have mean 0 and variance 1.
    """
    layers = [module for module in network.modules() if isinstance(module, WeightNorm)]
    for layer in layers:
        layer.initialising = True
    try:
        with torch.no_grad(), distributed.alone():
            yield
    finally:
        for layer in layers:
            layer.initialising = False
