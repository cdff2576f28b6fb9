"""What every discriminator returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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
        return Output(
            self.scores[which], self.features[which], None if self.logits is None else self.logits[which]
        )


def join(outputs: Sequence[Output]) -> Output:
    """The Outputs of several batches, one after the other, as one."""
    if len(outputs) == 1:
        return outputs[0]
    return Output(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*outputs)))  # type: ignore
