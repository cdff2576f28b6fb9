"""What every discriminator returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """One pass of D over N samples.

    scores: (N,) raw scores before any sigmoid; larger means "more real" for every network and objective.
    features: (N, F) activations of the layer before the last, which feature matching and minibatch
        discrimination look at.
    logits: (N, K) class logits where D also classifies, else None.
    """

    scores: Tensor
    features: Tensor
    logits: Tensor | None = None
