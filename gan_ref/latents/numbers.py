"""Which z is which: every z that the package draws for a picture has a seed and a number."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_ref.files import read_untrusted, write_atomically
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


def save_z(path: str | os.PathLike[str], z: Tensor) -> None:
    """Write z (K, latent_dim) as a .npy of float32."""
    with write_atomically(path) as part, open(part, "wb") as file:
        np.save(file, z.float().cpu().numpy())


def load_z(path: str | os.PathLike[str], latent_dim: int) -> Tensor:
    """z (K, latent_dim) float32 from a .npy of real numbers. Raises UserError for any other file."""

    def load(path: Path) -> Tensor:
        z = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header may promise any size
        if z.dtype.kind not in "fiu" or z.ndim != 2 or z.shape[1] != latent_dim or not len(z):
            raise ValueError(f"it holds {z.dtype} {z.shape}")
        if not np.isfinite(z).all():
            raise ValueError("some of its numbers are NaN or infinite")
        return torch.from_numpy(np.array(z, np.float32))

    return read_untrusted(path, load, f"a .npy of latents (K, {latent_dim})")
