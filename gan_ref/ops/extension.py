"""Which implementation runs on a GPU, and why: the kernels if they can be had, else the torch reference.

    1. the binary inside the package (a wheel with kernels, or GAN_REF_BUILD_KERNELS=1 pip install …)
    2. the binary in the cache: $GAN_REF_CACHE, else $XDG_CACHE_HOME/gan_ref, else ~/.cache/gan_ref
    3. built now, once, for the GPUs present, and kept in the cache
    4. the torch reference, with one warning that says why and what to do

$GAN_REF_KERNELS is `auto` (that order), `cuda` (an error instead of 4) or `torch` (4, and no warning). It is
read once, at the first operator on a GPU. CPU tensors, and float64 ones anywhere, always take the torch
reference.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_ref.errors import UserError
from gan_ref.ops import build

_lock = threading.Lock()


class Choice(NamedTuple):
    implementation: str  # "cuda" or "torch"
    reason: str
    binary: Path | None = None


def kernels_for(tensor: Tensor) -> Any | None:
    """The binary's operators, ``torch.ops.gan_ref_kernels``, or None where the torch reference is to run."""
    if tensor.dtype == torch.float64:
        return None
    with _lock:
        return _kernels()


@functools.cache
def _kernels() -> Any | None:
    choice = choose(may_build=True)
    if choice.implementation == "cuda":
        return torch.ops.gan_ref_kernels
    if _mode() != "torch":
        warnings.warn(
            f"gan_ref runs its slower torch reference instead of its CUDA kernels: {choice.reason}. "
            "`python -m gan_ref.ops --build` tries again; GAN_REF_KERNELS=torch silences this warning.",
            stacklevel=2,
        )
    return None


def choose(may_build: bool) -> Choice:
    """Find the binary and load it; build it first where that is needed and allowed.

    Raises UserError where GAN_REF_KERNELS is `cuda` and there is none, or has another value than the three.
    """
    mode = _mode()
    if mode == "torch":
        return Choice("torch", "GAN_REF_KERNELS=torch")
    try:
        binary, reason = _find(may_build)
        _load(binary)
    except build.CannotBuild as error:
        if mode == "cuda":
            raise UserError(f"GAN_REF_KERNELS=cuda, but the kernels cannot be used: {error}") from None
        return Choice("torch", str(error))
    return Choice("cuda", reason, binary)


def cache_folder() -> Path:
    """Where binaries of these sources are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GAN_REF_CACHE") or Path(base) / "gan_ref") / "kernels" / build.digest()


def build_for_this_machine() -> Path:
    """Build into the cache for the GPUs present; for every architecture of a wheel where there is none."""
    capabilities = _capabilities() if torch.cuda.is_available() else list(build.ARCHITECTURES)
    binary = _cached(capabilities)
    with _only_one(binary):
        build.build(binary, capabilities)
    return binary


def _find(may_build: bool) -> tuple[Path, str]:
    if torch.version.hip:
        raise build.CannotBuild("this torch is built for ROCm, and the kernels are CUDA code")
    if not torch.cuda.is_available():
        raise build.CannotBuild("torch sees no CUDA device")
    capabilities = _capabilities()
    if capabilities[0] < build.OLDEST:
        raise build.CannotBuild(
            f"a GPU here has compute capability {_dotted(capabilities[0])}, and the kernels need "
            f"{_dotted(build.OLDEST)} (CUDA_VISIBLE_DEVICES can hide it)"
        )
    if build.prebuilt().exists() and all(map(build.serves, capabilities)):
        return build.prebuilt(), "the binary that came with the package"
    binary = _cached(capabilities)
    if binary.exists():
        return binary, "built earlier on this machine"
    if not may_build:
        raise build.CannotBuild("no binary yet: it is built at the first use on a GPU, or now with --build")
    with _only_one(binary):
        if not binary.exists():
            names = ", ".join(map(_dotted, capabilities))
            message = f"building the CUDA kernels for compute capability {names}, once: about a minute"
            print(f"gan_ref: {message}", file=sys.stderr, flush=True)
            build.build(binary, capabilities)
    return binary, "built on this machine"


def _load(binary: Path) -> None:
    """Load and run once, so that a driver too old for the binary shows here and not in a training."""
    try:
        torch.ops.load_library(binary)
        torch.ops.gan_ref_kernels.minibatch_l1_similarity(torch.zeros(2, 1, 1, device="cuda"))
    except (OSError, RuntimeError, AttributeError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise build.CannotBuild(f"{binary} does not work here ({message})") from None


@contextlib.contextmanager
def _only_one(binary: Path) -> Iterator[None]:
    """Of several processes that want the same binary, one builds and the others wait for it."""
    import fcntl

    try:
        binary.parent.mkdir(parents=True, exist_ok=True)
        lock = open(binary.with_suffix(".lock"), "w")
    except OSError as error:
        raise build.CannotBuild(
            f"{binary.parent} cannot be written ({error.strerror}): set GAN_REF_CACHE to a folder that can"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a crash
        yield


def _capabilities() -> list[int]:
    devices = range(torch.cuda.device_count())
    return sorted({10 * major + minor for major, minor in map(torch.cuda.get_device_capability, devices)})


def _cached(capabilities: list[int]) -> Path:
    return cache_folder() / ("_".join(f"sm{c}" for c in capabilities) + ".so")


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def _mode() -> str:
    mode = os.environ.get("GAN_REF_KERNELS", "auto")
    if mode not in ("auto", "cuda", "torch"):
        raise UserError(f"GAN_REF_KERNELS must be auto, cuda or torch, not {mode!r}")
    return mode
