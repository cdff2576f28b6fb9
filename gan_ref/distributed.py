"""Several processes that train as one: ``torchrun --nproc-per-node=K train.py``, on one machine or several.

Each process plays the whole game on its part of every batch. D's outputs are gathered, so each process
computes the loss L of the whole batch, the same number. Each differentiates L with respect to its own part,
and the gradients are averaged. The operations below have their true derivatives, of any order:

    gather(x) = (x_1, …, x_K)        ∂L/∂x_k = its rows of Σ ∂L/∂gather, the sum over processes
    mean(x)   = (1/K) Σ x_k          ∂L/∂x_k = (1/K) Σ ∂L/∂mean

The mean of the K gradients is that of (1/K)(L + … + L) = L, whatever L is: a mean over samples, a distance
between mean features, a loss with gradients inside. Only a derivative with respect to what one process alone
has, its samples, comes out K times too large: see ``penalties.squared_slope``. Each process draws the random
numbers of the whole batch and keeps its part of them.

With one process nothing is started, and each function returns what it was given. torchrun ends all processes
when one dies, and names it.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from gan_ref.errors import UserError

LIMIT = timedelta(minutes=30)  # for one operation: rank 0 may draw pictures while the others wait for it


@dataclass
class Group:
    """The processes that train together, seen from one of them."""

    rank: int
    world: int
    store: dist.Store  # all of them can reach it
    share: int = 0  # rows of each batch that one process has: samples, or packs of them


_group: Group | None = None  # None: there is one process
_alone = False


def world() -> int:
    """How many processes share the work at hand."""
    return 1 if _group is None or _alone else _group.world


def rank() -> int:
    """This process's number, from 0. Rank 0 alone writes files and prints."""
    return 0 if _group is None else _group.rank


def _our_group() -> Group:
    assert _group is not None
    return _group


@contextmanager
def alone() -> Iterator[None]:
    """Within it, this process computes on whole batches by itself: on rank 0 alone, or the same on all."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


# ---------------------------------------------------------------- a batch and its parts


def share_batches(batch_size: int, pack: int = 1) -> None:
    """Give each process an equal part of every batch, in whole packs of ``pack`` samples.

    Raises UserError if ``batch_size`` does not divide.
    """
    processes = 1 if _group is None else _group.world
    unit = pack * processes
    if batch_size % unit:
        near = max(unit, round(batch_size / unit) * unit)
        packs = f" in packs of {pack}" if pack > 1 else ""
        shared = f" by {processes} processes" if processes > 1 else ""
        raise UserError(f"--batch-size {batch_size} cannot be shared{shared}{packs}: take {near}")
    if _group is not None:
        _group.share = batch_size // unit


def whole(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape (n, …) of this process's part → the shape (N, …) of the whole batch."""
    return (shape[0] * world(), *shape[1:])


def part(batch: Tensor, pack: int = 1) -> Tensor:
    """The whole batch (N, …) → this process's part (n, …); of several batches in a row, its part of each.

    ``pack`` is how many rows in a row are one of what the processes share.
    """
    if world() == 1:
        return batch
    group = _our_group()
    return batch.unflatten(0, (-1, group.world, group.share * pack))[:, group.rank].flatten(0, 1)


def gather(x: Tensor) -> Tensor:
    """The parts (n, …) of all processes → (N, …), in the order that one process would have."""
    if world() == 1:
        return x
    stacked = _Gather.apply(x)  # (K, n, …)
    return stacked.unflatten(1, (-1, _our_group().share)).transpose(0, 1).flatten(0, 2)


def mean(x: Tensor) -> Tensor:
    """The mean of ``x`` over the processes, identical on all of them."""
    return x if world() == 1 else _Mean.apply(x)


def means(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each tensor over the processes, in one message, in its layout, as fused optimizers need."""
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


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if world() == 1:
        return number
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / _our_group().world

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Mean.apply(gradient)


class _Gather(torch.autograd.Function):
    """(…) → (K, …)"""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(_our_group().world)]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        group = _our_group()
        return _Mean.apply(gradient)[group.rank] * group.world


# ---------------------------------------------------------------- joining and leaving


@contextmanager
def join_processes() -> Iterator[None]:
    """Within it, this is one of the WORLD_SIZE processes that torchrun started.

    Of several processes that raise the same UserError, one prints it and the others end quietly with status
    2.
    """
    global _group
    _group = _join()
    if _group.rank > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    try:
        yield
    except UserError as error:
        if _first_to_fail(str(error)):
            raise
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        message = "the connection to another process was lost; --resume goes on from the last checkpoint"
        if _first_to_fail(message):
            raise UserError(message) from None
        raise SystemExit(2) from None
    else:
        dist.destroy_process_group()
    finally:
        _group = None


def leave(status: int) -> NoReturn:
    """End this one of several processes. What it wrote is on the disk.

    Left to itself, the interpreter would end the threads of gloo, and now and then abort.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _join() -> Group:
    here, beside = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(here % gpus)
    store, rank, world = next(dist.rendezvous("env://", timeout=LIMIT))
    # NCCL wants a GPU for each process. gloo serves CPUs, and lets processes share a GPU, slowly.
    backend = "cpu:gloo,cuda:nccl" if gpus >= beside else "gloo"
    dist.init_process_group(backend, store=dist.PrefixStore("gan_ref", store), rank=rank, world_size=world)
    return Group(rank, world, store)


def _first_to_fail(message: str) -> bool:
    """Whether this process is the first to report a failure, which the others then leave to it."""
    mine = f"{rank()}: {message}"
    try:
        return _our_group().store.compare_set("gan_ref failure", "", mine).decode() == mine
    except RuntimeError:  # the store ended with the process that kept it, and reported why
        return False
