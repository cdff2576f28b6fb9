"""Batches of real samples in a seeded order, ready for a network, wherever the samples are stored.

x = sample/127.5 − 1 ∈ [−1, 1], float32 (N, C, H, W) with channels-last strides: the stored (N, H, W, C)
permuted, so that no pixel is moved. Points are passed on as they are, float32 (N, 2).
"""

import mmap
import warnings

import numpy as np
import torch
from torch import Tensor

from gan_ref.data.dataset import Dataset
from gan_ref.seeds import mix_seed

LARGE = 1 << 30  # bytes that may not stay in the system's cache
Stored = tuple[Tensor, Tensor | None, Tensor | None]  # samples, which of them are mirrored, labels


class Batches:
    """An endless, seeded stream of batches: batch k is a function of (seed, k) alone.

    Each epoch is a permutation of the samples, with a coin for each that says whether it is mirrored. Batches
    run on across epochs and are never partial. ``batch_size`` is global: of ``world`` processes, rank r draws
    the r-th part of each batch, and together they see what one process sees. On CUDA the samples move to the
    GPU, as uint8, if they take at most a quarter of its free memory; otherwise each batch is copied there on
    its own stream while the one before it is used. For Apple's GPU, which shares the host's memory, a batch
    is copied when it is drawn. Raises ValueError if the batch cannot be shared equally.
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
        self.device, self.flip = torch.device(device), flip and not dataset.points
        self.drawn = 0  # global batches so far
        self._size = batch_size // world
        self._first = rank * self._size  # where this rank's part of a batch begins

        resident = fits_on(self.device, dataset.samples.nbytes)
        self._home = self.device if resident else torch.device("cpu")  # where the samples are
        self._samples = _as_tensor(dataset.samples).to(self._home)
        self._labels = None if dataset.labels is None else _as_tensor(dataset.labels).to(self._home)
        self._epoch, self._order = -1, torch.empty(2, 0)  # (2, N): the samples in order, 1 if mirrored
        streams = self.device.type == "cuda" and not resident
        self._stream = torch.cuda.Stream(self.device) if streams else None
        self._ahead: tuple[int, Stored] | None = None  # the batch that is being copied, and its number

    def next(self) -> tuple[Tensor, Tensor | None]:
        """This rank's part of the next batch: x (N, C, H, W) or (N, 2), and labels int64 (N,) or None."""
        number, self.drawn = self.drawn, self.drawn + 1
        if self._stream is None:
            samples, *others = self._gather(number)
            mirrored, labels = (None if other is None else other.to(self.device) for other in others)
            return finish(samples.to(self.device), mirrored, labels)
        if self._ahead is None or self._ahead[0] != number:  # the first batch, or the stream was moved
            self._ahead = number, self._copy(number)
        batch, current = self._ahead[1], torch.cuda.current_stream(self.device)
        current.wait_stream(self._stream)
        for tensor in batch:
            if tensor is not None:
                tensor.record_stream(current)  # or the next copy could take its memory while it is still read
        self._ahead = number + 1, self._copy(number + 1)  # the GPU has work queued that hides this
        return finish(*batch)

    def take(self, n: int) -> tuple[Tensor, Tensor | None]:
        """``n`` samples, not mirrored, the same at every call and on every rank; no batch counts as drawn."""
        order = np.random.default_rng(mix_seed(self.seed, "take")).permutation(len(self.dataset))
        index = torch.from_numpy(np.resize(order, n)).to(self._home)  # in turn again where n is larger
        samples, labels = self._pick(index)
        return finish(samples.to(self.device), None, None if labels is None else labels.to(self.device))

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after ``state["drawn"]`` batches. Raises ValueError if it is not an integer up to 10¹⁵."""
        drawn = state.get("drawn")
        if type(drawn) is not int or not 0 <= drawn <= 10**15:
            raise ValueError(f"the number of batches drawn must be from 0 to 10**15, not {drawn!r}")
        self.drawn = drawn

    def _gather(self, number: int) -> Stored:
        """This rank's part of batch ``number`` as stored: uint8 (N, H, W, C) or float32 (N, 2)."""
        position, missing, parts = number * self.batch_size + self._first, self._size, []
        while missing:
            epoch, place = divmod(position, len(self.dataset))
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self._shuffle(epoch)
            parts.append(self._order[:, place : place + missing])
            position += parts[-1].shape[1]
            missing -= parts[-1].shape[1]
        index, mirrored = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        samples, labels = self._pick(index)
        return samples, mirrored == 1 if self.flip else None, labels

    def _pick(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        # On the CPU, indexing with [index] goes element by element: a tenth of the speed.
        labels = None if self._labels is None else self._labels.index_select(0, index)
        return self._samples.index_select(0, index), labels

    def _shuffle(self, epoch: int) -> Tensor:
        count = len(self.dataset)
        order = np.random.default_rng(mix_seed(self.seed, "order", epoch)).permutation(count)
        mirrored = np.random.default_rng(mix_seed(self.seed, "flips", epoch)).integers(2, size=count)
        return torch.from_numpy(np.stack([order, mirrored])).to(self._home)

    def _copy(self, number: int) -> Stored:
        """Start the copy of a batch to the GPU, from pinned memory, which torch keeps until the copy ends."""

        def start(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(self.device, non_blocking=True)

        with torch.cuda.stream(self._stream):
            samples, *others = self._gather(number)
            mirrored, labels = (None if other is None else start(other) for other in others)
            return start(samples), mirrored, labels


def finish(samples: Tensor, mirrored: Tensor | None, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Mirror, permute and scale where the samples are: uint8 (N, H, W, C) → float32 (N, C, H, W)."""
    if samples.ndim == 2:
        return samples, labels
    if mirrored is not None:
        samples = torch.where(mirrored.view(-1, 1, 1, 1), samples.flip(2), samples)  # while a pixel is a byte
    x = samples.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)  # 0 → −1 and 255 → 1, exactly
    return x, labels


def fits_on(device: torch.device, size: int) -> bool:
    """Whether ``size`` bytes of samples lie on the device: on CUDA, up to a quarter of what is free."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return size <= free // 4


def _as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory, mapped from a file or not."""
    if isinstance(array, np.memmap) and array.nbytes > LARGE and hasattr(mmap, "MADV_RANDOM"):
        # Without read-ahead, a sparse file of 61 GB gave 8,900 samples/s instead of 120.
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # numpy's stubs lack it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a mapped file cannot be written; nobody does
        return torch.from_numpy(np.asarray(array))
