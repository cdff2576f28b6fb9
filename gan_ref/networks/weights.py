"""The numbers that weights begin with, where a run does not take those of its network's paper.

An output of a layer sees n inputs (fan-in), and an input reaches m outputs (fan-out).
"""

import math

import torch
from torch import nn

from gan_ref.layers import FromLatent, SpectralNorm

SIGMA = 0.02  # of Radford et al. 2016


@torch.no_grad()
def draw_weights(network: nn.Module, how: str, scale: float = 1.0) -> None:
    """Draw the weights of the convolutions and linear layers anew, times ``scale``; their biases become 0.

        normal      N(0, 0.02²)                      Radford et al. 2016, §4
        xavier      U(−√(6/(n + m)), √(6/(n + m)))   Glorot & Bengio 2010, eq. 16
        he          N(0, 2/n)                        He et al. 2015, eq. 10
        orthogonal  orthonormal rows or columns      Saxe et al. 2014
        uniform     U(−1/√n, 1/√n)                   LeCun et al. 1998, as in Torch 7

    Layers with weight norm set their scale from data, and stay as they are.
    """
    for layer in network.modules():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            continue
        spectral = any(isinstance(inner, SpectralNorm) for inner in layer.modules())
        weight = layer.get_parameter("parametrizations.weight.original" if spectral else "weight")
        if weight.is_meta or not weight.requires_grad:
            continue
        n, m = fans(layer)
        if how == "normal":
            nn.init.normal_(weight, 0.0, SIGMA)
        elif how == "he":
            nn.init.normal_(weight, 0.0, math.sqrt(2 / n))
        elif how == "orthogonal":
            nn.init.orthogonal_(weight)
        else:
            reach = math.sqrt(6 / (n + m)) if how == "xavier" else 1 / math.sqrt(n)
            nn.init.uniform_(weight, -reach, reach)
        weight *= scale
        if layer.bias is not None:
            layer.bias.zero_()


def fans(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> tuple[float, float]:
    """(fan-in, fan-out), away from the borders. (torch's own mirrors a transposed convolution.)"""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    before, after, area = layer.in_channels, layer.out_channels, math.prod(layer.kernel_size)
    if isinstance(layer, FromLatent):  # of a 1×1 image
        return before, after * area
    if isinstance(layer, nn.ConvTranspose2d):
        return before * area / math.prod(layer.stride), after * area
    return before * area, after * area / math.prod(layer.stride)
