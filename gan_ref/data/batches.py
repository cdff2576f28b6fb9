"""Batches of real samples in a seeded order, ready for a network, wherever the samples live.

x = sample/127.5 − 1 ∈ [−1, 1], float32 (N, C, H, W) with channels-last strides: the stored (N, H, W, C)
permuted, so nothing is moved to get there. Points are passed on as they are, float32 (N, 2).
"""

from __future__ import annotations

import mmap

import numpy as np
import torch
from torch import Tensor

from gan_ref.data.dataset import Dataset
from gan_ref.data.permutation import coins, shuffled

AHEAD = 8192  # positions of the order computed at once: 1 ms then, against 0.3 ms for each batch by itself
LARGE = 1 << 30  # bytes beyond which a memory-mapped data set is kept from filling the resident memory


class Batches:
    """An endless, seeded stream of batches; what it has drawn is one number.

    ``batch_size`` is global: of ``world`` processes, rank r draws the r-th part of each batch, so that
    together they see what one process sees, in the same order and with the same flips. Batches run on across
    epochs and are never partial. On CUDA the samples move to the GPU, as uint8, if they take at most a
    quarter of its free memory; otherwise each batch is gathered into pinned memory and copied on its own
    stream while the one before it is used. Raises ValueError if the batch cannot be shared equally.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        device: str | torch.device = "cpu",
        flip: bool = False,
        rank: int = 0,
        world: int = 1,
    ):
        if batch_size < 1 or batch_size % world:
            raise ValueError(f"batch_size {batch_size} must be a positive multiple of world {world}")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} must be from 0 to {world - 1}")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.device, self.flip = torch.device(device), flip and dataset.samples.ndim == 4
        self.drawn = 0  # global batches so far
        self._part = np.arange(batch_size).reshape(world, -1)[rank]  # this rank's places in a batch
        self._block, self._orders, self._flips = -1, None, None
        self._sparing = isinstance(dataset.samples, np.memmap) and dataset.samples.nbytes > LARGE
        if self._sparing and hasattr(mmap, "MADV_RANDOM"):
            dataset.samples._mmap.madvise(mmap.MADV_RANDOM)

        # A plain view: indexing a memmap itself costs ten times the index of a small batch.
        self._samples = np.asarray(dataset.samples)
        self._labels = dataset.labels
        self._resident = self.device.type != "cpu" and fits_on(self.device, self._samples.nbytes)
        if self._resident:
            self._samples = to_device(self._samples, self.device)
            self._labels = None if self._labels is None else torch.from_numpy(self._labels).to(self.device)
        self._prefetch = None
        if self.device.type != "cpu" and not self._resident:
            self._prefetch = Prefetch(self._gather, self.device)

    def next(self) -> tuple[Tensor, Tensor | None]:
        """This rank's part of the next batch: x (N, C, H, W) or (N, 2), and labels int64 (N,) or None."""
        self.drawn += 1
        if self._prefetch is not None:
            return finish(*self._prefetch.take(self.drawn - 1))
        return finish(*self._gather(self.drawn - 1))

    def take(self, n: int) -> tuple[Tensor, Tensor | None]:
        """``n`` samples, unflipped, the same at every call and on every rank; the order does not advance."""
        order = shuffled(np.arange(n), len(self.dataset), self.seed ^ 0x7A4B)
        samples, labels = self._pick(torch.from_numpy(order).to(self.device) if self._resident else order)
        move = {"device": self.device}
        return finish(samples.to(**move), None, None if labels is None else labels.to(**move))

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.drawn = int(state["drawn"])

    def _gather(self, batch: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Batch number ``batch`` as stored, uint8 (N, H, W, C) or float32 (N, 2); its flips; its labels."""
        per_block = max(1, AHEAD // len(self._part))
        block, place = divmod(batch, per_block)
        if block != self._block:
            self._look_ahead(block, per_block)
        samples, labels = self._pick(self._orders[place])
        return samples, None if self._flips is None else self._flips[place], labels

    def _look_ahead(self, block: int, per_block: int) -> None:
        """Compute the order and the flips of a block of batches; (per_block, N) each."""
        batches = np.arange(block * per_block, (block + 1) * per_block)
        positions = batches[:, None] * self.batch_size + self._part
        self._block, self._orders = block, shuffled(positions, len(self.dataset), self.seed)
        self._flips = torch.from_numpy(coins(positions, self.seed)).to(self._home) if self.flip else None
        if self._resident:
            self._orders = torch.from_numpy(self._orders).to(self.device)
        if self._sparing and hasattr(mmap, "MADV_DONTNEED"):
            # The pages stay in the system's cache; they stop counting as this process's memory.
            self.dataset.samples._mmap.madvise(mmap.MADV_DONTNEED)

    @property
    def _home(self) -> torch.device:
        return self.device if self._resident else torch.device("cpu")

    def _pick(self, order: np.ndarray | Tensor) -> tuple[Tensor, Tensor | None]:
        if self._resident:
            return self._samples[order], None if self._labels is None else self._labels[order]
        samples = torch.from_numpy(self._samples[order])
        return samples, None if self._labels is None else torch.from_numpy(self._labels[order])


def finish(samples: Tensor, flips: Tensor | None, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Flip, permute and scale where the samples are: uint8 (N, H, W, C) → float32 (N, C, H, W)."""
    if samples.ndim == 2:
        return samples, labels
    if flips is not None:
        samples = torch.where(flips.view(-1, 1, 1, 1), samples.flip(2), samples)  # while a pixel is one byte
    x = samples.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)  # 0 → −1 and 255 → 1, exactly
    return x, labels


def fits_on(device: torch.device, size: int) -> bool:
    """Would ``size`` bytes take at most a quarter of the GPU's free memory?"""
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free // 4


def to_device(samples: np.ndarray, device: torch.device, rows: int = 4096) -> Tensor:
    """Copy memory-mapped samples to the GPU a few rows at a time: the host never holds them all."""
    out = torch.empty(samples.shape, dtype=torch.from_numpy(samples[:0].copy()).dtype, device=device)
    for start in range(0, len(samples), rows):
        out[start : start + rows].copy_(torch.from_numpy(samples[start : start + rows].copy()))
    return out


class Prefetch:
    """Copies batch k+1 to the GPU on its own stream while batch k is in use.

    The gather runs on the host right after batch k is handed out, when the GPU has work queued to hide it.
    """

    def __init__(self, gather, device: torch.device):
        self.gather, self.device = gather, device
        self.stream = torch.cuda.Stream(device)
        self.pending: tuple[int, list[Tensor | None]] | None = None

    def take(self, batch: int) -> list[Tensor | None]:
        if self.pending is None or self.pending[0] != batch:  # the first, or the order was moved
            self._start(batch)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        tensors = self.pending[1]
        for tensor in tensors:
            if tensor is not None:
                tensor.record_stream(current)  # or its memory could take the next copy while it is still read
        self._start(batch + 1)
        return tensors

    def _start(self, batch: int) -> None:
        with torch.cuda.stream(self.stream):
            # Pinned memory comes from torch's caching allocator, which keeps it until the copy has ended.
            tensors = [
                None if tensor is None else tensor.pin_memory().to(self.device, non_blocking=True)
                for tensor in self.gather(batch)
            ]
        self.pending = (batch, tensors)
