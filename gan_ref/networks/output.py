"""What every discriminator returns, and how most make it of their features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_ref.errors import UserError
from gan_ref.layers import Maxout, MinibatchDiscrimination, VirtualBatchNorm2d, flatten


class Output(NamedTuple):
    """One pass of D over N samples.

    scores: (N,) raw scores before any sigmoid. Larger means "more real", for every network and objective.
    features: (N, F) activations of the layer before the last, for feature matching and minibatch
    discrimination. logits: (N, K) class logits where D also classifies, else None.
    """

    scores: Tensor
    features: Tensor
    logits: Tensor | None = None

    def rows(self, which: slice) -> Output:
        """The Output of some of the samples."""
        logits = None if self.logits is None else self.logits[which]
        return Output(self.scores[which], self.features[which], logits)


def join(outputs: Sequence[Output]) -> Output:
    """The Outputs of several batches, one after the other, as one."""
    if len(outputs) == 1:
        return outputs[0]
    return Output(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*outputs)))  # type: ignore


class LinearScore(nn.Module):
    """D whose score is a linear function of its trunk's features, and with minibatch discrimination also of
    how similar the other samples of the batch are: (N, …) → Output.
    """

    trunk: nn.Module

    def score_features(self, features: int, kernels: int = 0, kernel_dim: int = 5) -> None:
        """Add the layers after the trunk, with ``kernels`` similarities of each sample."""
        self.out_features = features
        self.similarity = MinibatchDiscrimination(features, kernels, kernel_dim) if kernels else nn.Identity()
        self.score = nn.Linear(features + kernels, 1)

    def forward(self, x: Tensor) -> Output:
        features = flatten(self.trunk(x))  # (N, F)
        return Output(self.score(self.similarity(features)).squeeze(1), features)


def choose_features(discriminator: nn.Module, layers: Sequence[str]) -> None:
    """Let D's features be those of its hidden layers of these numbers, side by side: (N, F₁ + F₂ + …).

    "1" is the first layer after the sample; each counts after its activation. The squared distance between
    two means of such features is the sum of that of each layer. Raises UserError for a layer that D lacks.
    """
    activations = nn.LeakyReLU, nn.ReLU, nn.Tanh, Maxout, VirtualBatchNorm2d
    hidden = [module for module in discriminator.modules() if isinstance(module, activations)]
    known = {str(k): layer for k, layer in enumerate(hidden, 1)}
    if unknown := [name for name in layers if name not in known]:
        raise UserError(f"--match-layers: D has the layers 1 to {len(hidden)}, and no {unknown[0]}")
    seen: list[Tensor] = []
    for name in layers:
        known[name].register_forward_hook(lambda layer, inputs, output: seen.append(flatten(output)))

    def replace(d: nn.Module, inputs: tuple[Tensor, ...], output: Output) -> Output:
        features = torch.cat(seen, dim=1)
        seen.clear()
        return output._replace(features=features)

    discriminator.register_forward_hook(replace)
