"""Several processes that train as one: ``torchrun --nproc-per-node=K train.py``, on one machine or several.

Each process plays the whole game on its part of every batch. D's outputs are gathered, so that all of them
compute the loss L of the whole batch, the same number; each differentiates it into its own part, and the
gradients are averaged. The operations below have their true derivatives, of any order:

    gather(x) = (x_1, …, x_K)        ∂L/∂x_k = its rows of Σ ∂L/∂gather, the sum over processes
    mean(x)   = (1/K) Σ x_k          ∂L/∂x_k = (1/K) Σ ∂L/∂mean

The mean of the K gradients is that of (1/K)(L + … + L) = L, whatever L is: a mean over samples, a distance
between mean features, a loss with gradients inside. Only a derivative by what one process alone has, its
samples, comes out K times too large: see ``gradient_norm``. Random numbers are drawn for the whole batch by
every process, which keeps its part of them.

With one process nothing is started, and each function returns what it was given.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from gan_ref.errors import UserError
from gan_ref.heartbeat import Heartbeat

LIMIT = timedelta(minutes=30)  # of one operation: rank 0 may score and draw while the others wait for it


@dataclass
class Process:
    """One of several."""

    rank: int
    world: int
    store: dist.Store  # which all can reach, also where one of them hangs
    share: int = 0  # samples of each batch


_us: Process | None = None  # None: there is one process
_alone = False


def world() -> int:
    """How many processes share the work at hand."""
    return 1 if _us is None or _alone else _us.world


def rank() -> int:
    """This process's number, from 0. Rank 0 alone writes and prints."""
    return 0 if _us is None else _us.rank


@contextmanager
def alone() -> Iterator[None]:
    """What is done within is whole in each process: on rank 0 alone, or the same on all of them."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


# ---------------------------------------------------------------- a batch and its parts


def split(batch_size: int) -> None:
    """Share batches of ``batch_size`` out equally. UserError where that cannot be."""
    if _us is None:
        return
    if batch_size % _us.world:
        near = max(_us.world, round(batch_size / _us.world) * _us.world)
        raise UserError(f"--batch-size {batch_size} cannot be shared by {_us.world} processes: take {near}")
    _us.share = batch_size // _us.world


def whole(shape: Sequence[int]) -> tuple[int, ...]:
    """(n, …) of this process's part → (N, …) of the whole batch."""
    return (shape[0] * world(), *shape[1:])


def part(batch: Tensor) -> Tensor:
    """(N, …) of the whole batch → this process's (n, …). Of several batches in a row, its part of each."""
    if world() == 1:
        return batch
    return batch.unflatten(0, (-1, _us.world, _us.share))[:, _us.rank].flatten(0, 1)


def gather(x: Tensor) -> Tensor:
    """Everybody's (n, …) → (N, …) in the order in which one process would have them."""
    if world() == 1:
        return x
    stacked = _Gather.apply(x)  # (K, n, …)
    return stacked.unflatten(1, (-1, _us.share)).transpose(0, 1).flatten(0, 2)


def mean(x: Tensor) -> Tensor:
    """The processes' mean of ``x``, the same to the bit on all of them."""
    return x if world() == 1 else _Mean.apply(x)


def means(tensors: Sequence[Tensor]) -> list[Tensor]:
    """``mean`` of each, in one message. Layouts stay, as a fused optimizer goes by the gradient's."""
    if world() == 1:
        return list(tensors)
    pieces = mean(torch.cat([t.reshape(-1) for t in tensors])).split([t.numel() for t in tensors])
    last = torch.channels_last
    return [
        piece.view(t.shape).contiguous(memory_format=last)
        if t.dim() == 4 and t.is_contiguous(memory_format=last) else piece.view(t.shape)
        for piece, t in zip(pieces, tensors)
    ]  # fmt: skip


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each ``.grad`` by its mean over the processes."""
    if world() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_copy_(gradients, means(gradients))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of the whole batch's x (N, C, …): (C,) each, float32."""
    full = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var, mean = torch.var_mean(full, [d for d in range(x.dim()) if d != 1], correction=0)
    if world() == 1:
        return mean, var
    means, vars = _Gather.apply(torch.stack([mean, var])).unbind(1)  # (K, C) each
    mean = means.mean(0)
    return mean, (vars + (means - mean).square()).mean(0)


def agreed(number: int) -> int:
    """The largest of the processes' numbers."""
    if world() == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / _us.world

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Mean.apply(gradient)


class _Gather(torch.autograd.Function):
    """(…) → (K, …)"""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(_us.world)]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Mean.apply(gradient)[_us.rank] * _us.world


# ---------------------------------------------------------------- joining, and parting


@contextmanager
def joined() -> Iterator[None]:
    """Within it this is one of the WORLD_SIZE processes that torchrun started.

    Rank 0 tells an error that all meet, and what another fails of; who dies or hangs is missed by the others
    within 20 s, named, and all end.
    """
    global _us
    _us = _join()
    life = Heartbeat(_us.store, _us.rank, _us.world)
    if _us.rank > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    try:
        yield
        life.leave("left")
    except UserError as error:
        life.leave(f"failed {error}")
        if _us.rank > 0 and not life.speaks():
            raise SystemExit(2) from None  # rank 0 tells it
        raise
    except RuntimeError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which saw it too; first the reason
        message = life.explain()
        life.leave(f"failed {message or error}")
        if message is None:
            raise
        if life.speaks():
            raise UserError(message) from None
        raise SystemExit(2) from None
    except BaseException as error:
        life.leave(f"failed {type(error).__name__} {error}")
        raise
    dist.destroy_process_group()
    _us = None


def _join() -> Process:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    here, beside = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(here % gpus)
    # NCCL wants a GPU for each process. gloo does what is on CPUs, and lets processes share a GPU, slowly.
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus >= beside else "gloo", timeout=LIMIT)
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    limit = timedelta(minutes=1)
    store = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=limit)
    prefix = f"gan_ref {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return Process(rank, world, dist.PrefixStore(prefix, store))


@contextmanager
def one_first() -> Iterator[None]:
    """The first process on each machine does what is within, then the others there: they find its cache."""
    if world() == 1:
        yield
        return
    done = f"machine {os.environ.get('GROUP_RANK', '0')} is ready"
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    while not first and not _us.store.check([done]):
        time.sleep(0.1)
    yield
    if first:
        _us.store.set(done, "")
