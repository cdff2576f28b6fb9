"""Which z is which: every z that the package draws for a picture has a seed and a number."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gan_ref.seeds import mix_seed


def numbered_z(seed: int, numbers: Iterable[int], latent_dim: int) -> Tensor:
    """The z of these numbers, each from N(0, I): (K, latent_dim) float32.

    z number i of a seed depends on (seed, i, latent_dim) alone. So the pages of a training run, ``sample``,
    ``walk`` and ``evaluate`` all mean the same picture by the same number, however many they draw.
    """
    rows = [
        torch.randn(latent_dim, generator=torch.Generator().manual_seed(mix_seed(seed, "z", i)))
        for i in numbers
    ]
    return torch.stack(rows) if rows else torch.empty(0, latent_dim)
