"""Multilayer perceptrons for two-dimensional data, as in the mixture experiments of Metz et al. 2017, §3.1.

Here the small operators, and what stands between them, cost as much as the matrix products. So the hidden
layers are one operator of our own, ``Perceptron``: benchmarks/mixtures.py measures what that is worth.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.layers import Dropout, GaussianNoise, MinibatchDiscrimination, spectral_norm
from gan_ref.networks.output import Output


def hidden(
    inputs: int, width: int, layers: int, slope: float, noise: float = 0.0, dropout: float = 0.0
) -> nn.Module:
    """``layers`` times Linear and LeakyReLU(slope), He-initialised so that activations keep their scale."""
    modules: list[nn.Module] = []
    for k in range(layers):
        linear = nn.Linear(inputs if k == 0 else width, width)
        nn.init.kaiming_normal_(linear.weight, a=slope)
        nn.init.zeros_(linear.bias)
        modules += [GaussianNoise(noise)] if noise else []
        modules += [Dropout(dropout)] if dropout and k > 0 else []
        modules += [linear, nn.LeakyReLU(slope, inplace=True)]
    return nn.Sequential(*modules) if noise or dropout else Hidden(*modules)


class Hidden(nn.Sequential):
    """Linear, LeakyReLU, Linear, LeakyReLU, … of one slope: what nn.Sequential computes, as one operator."""

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self.linears, self.slope = layers[::2], layers[1].negative_slope  # self[::2] would be a new module

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        weights = [tensor for linear in self.linears for tensor in (linear.weight, linear.bias)]
        return Perceptron.apply(self.slope, x, *weights)


def perceptron(slope: float, x: Tensor, *weights: Tensor) -> Tensor:
    """h_k = leaky_relu(W_k h_{k−1} + b_k), from h_0 = x (N, A) to (N, F); weights W_1, b_1, W_2, …"""
    for weight, bias in zip(weights[::2], weights[1::2]):
        x = F.leaky_relu(F.linear(x, weight, bias), slope)
    return x


class Perceptron(torch.autograd.Function):
    """``perceptron`` and its gradient, written out.

    With δ_k the gradient at layer k before its activation, and δ ← leaky_relu'(h_k)·δ on the way down,

        ∂W_k = δ_kᵀ h_{k−1},   ∂b_k = Σ_n δ_k,   δ_{k−1} = δ_k W_k.

    Only what is asked for is computed: G's step wants D's gradient at x, not at its weights. A gradient that
    is itself to be differentiated is left to autograd, through ``perceptron``.
    """

    @staticmethod
    def forward(ctx: Any, slope: float, x: Tensor, *weights: Tensor) -> Tensor:
        h = [x]
        for weight, bias in zip(weights[::2], weights[1::2]):
            h.append(F.leaky_relu_(torch.addmm(bias, h[-1], weight.t()), slope))
        ctx.slope, ctx.layers = slope, len(weights) // 2
        ctx.save_for_backward(*weights, *h)
        return h[-1]

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        weights, h = ctx.saved_tensors[: 2 * ctx.layers], ctx.saved_tensors[2 * ctx.layers :]
        wanted = _wanted(ctx)
        if torch.is_grad_enabled():
            return None, *_differentiable(ctx.slope, [h[0], *weights], delta, wanted)
        gradients: list[Tensor | None] = [None] * len(wanted)  # at x, W_1, b_1, W_2, …
        for k in reversed(range(ctx.layers)):
            delta = torch.ops.aten.leaky_relu_backward(delta, h[k + 1], ctx.slope, True)
            if wanted[2 * k + 1]:
                gradients[2 * k + 1] = delta.t() @ h[k]
            if wanted[2 * k + 2]:
                gradients[2 * k + 2] = delta.sum(0)
            if k > 0 or wanted[0]:
                delta = delta @ weights[2 * k]
        gradients[0] = delta if wanted[0] else None
        return None, *gradients


def _wanted(ctx: Any) -> list[bool]:
    """Which gradients, at x and the weights, this backward pass will use: its ``inputs`` say it."""
    try:
        used = torch._C._will_engine_execute_node
        return [node is not None and used(node) for node, _ in ctx.next_functions]
    except RuntimeError:  # under autograd.grad torch does not tell it of leaves
        return list(ctx.needs_input_grad[1:])


def _differentiable(
    slope: float, inputs: list[Tensor], gradient: Tensor, wanted: list[bool]
) -> list[Tensor | None]:
    """The gradients at those inputs that are wanted, on the graph."""
    asked = [x for x, want in zip(inputs, wanted) if want]
    found = iter(torch.autograd.grad(perceptron(slope, *inputs), asked, gradient, create_graph=True))
    return [next(found) if want else None for want in wanted]


class Generator(nn.Module):
    """z (N, Z) → point (N, dimensions), unbounded."""

    def __init__(self, dimensions: int = 2, width: int = 128, layers: int = 3, latent_dim: int = 100):
        super().__init__()
        self.layers = hidden(latent_dim, width, layers, slope=0.0)
        self.out = nn.Linear(width, dimensions)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.layers(z))


class Discriminator(nn.Module):
    """point (N, dimensions) → Output: score (N,), features (N, width)."""

    def __init__(
        self,
        dimensions: int = 2,
        width: int = 128,
        layers: int = 3,
        norm: str = "none",
        minibatch_discrimination: bool = False,
        noise: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.separate = not minibatch_discrimination  # each sample is judged by itself
        self.trunk = hidden(dimensions, width, layers, 0.2, noise, dropout)
        self.similarity = MinibatchDiscrimination(width) if minibatch_discrimination else nn.Identity()
        self.score = nn.Linear(width + (self.similarity.num_kernels if minibatch_discrimination else 0), 1)
        if norm == "spectral":
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    spectral_norm(layer)

    def forward(self, x: Tensor) -> Output:
        features = self.trunk(x)
        return Output(self.score(self.similarity(features)).squeeze(1), features)
