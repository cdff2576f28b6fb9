"""Decides what runs on a GPU: the CUDA kernels if there is a binary of them, else the PyTorch form.

    1. the binary inside the package: a wheel with kernels, or GAN_REF_BUILD_KERNELS=1 pip install …
    2. the binary in the cache folder, built earlier
    3. a binary built now, once, for the GPUs present, and kept in the cache folder
    4. the operators' PyTorch form, with one warning that says why and what to do

$GAN_REF_KERNELS is `auto` (that order), `cuda` (an error instead of 4) or `torch` (4 without a warning).
Tensors on the CPU, and float64 tensors, always take the PyTorch form.
"""

import functools
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_ref import files
from gan_ref.errors import UserError, printable
from gan_ref.ops import build


class Choice(NamedTuple):
    implementation: str  # "cuda" or "torch"
    reason: str
    binary: Path | None = None


def kernels_for(tensor: Tensor) -> Any | None:
    """The binary's operators, ``torch.ops.gan_ref_kernels``, or None where the PyTorch form must run."""
    return load_kernels() if tensor.is_cuda and tensor.dtype != torch.float64 else None


@functools.cache
def load_kernels() -> Any | None:
    """The binary's operators, or None and a warning. Decided once in a process."""
    choice = choose(may_build=True)
    if choice.implementation == "torch" and os.environ.get("GAN_REF_KERNELS") != "torch":
        what = f"gan_ref runs its slower PyTorch form instead of its CUDA kernels: {choice.reason}"
        todo = "`gan-ref kernels --build` tries again; GAN_REF_KERNELS=torch silences this warning"
        warnings.warn(f"{what}. {todo}.", stacklevel=2)
    return torch.ops.gan_ref_kernels if choice.implementation == "cuda" else None


def choose(may_build: bool) -> Choice:
    """Find the binary and load it; if there is none and ``may_build``, build it first.

    Raises UserError if GAN_REF_KERNELS is `cuda` and the kernels cannot be used, or is none of the three.
    """
    mode = os.environ.get("GAN_REF_KERNELS", "auto")
    if mode not in ("auto", "cuda", "torch"):
        raise UserError(f"GAN_REF_KERNELS must be auto, cuda or torch, not {mode!r}")
    if mode == "torch":
        return Choice("torch", "GAN_REF_KERNELS=torch")
    try:
        binary, reason = find_binary(may_build)
        _load(binary)
    except (build.CannotBuild, UserError) as error:
        if mode == "cuda":
            raise UserError(f"GAN_REF_KERNELS=cuda, but the kernels cannot be used: {error}") from None
        return Choice("torch", str(error))
    return Choice("cuda", reason, binary)


def find_binary(may_build: bool) -> tuple[Path, str]:
    """The binary for the GPUs present, and where it is from. Raises CannotBuild with the reason."""
    capabilities = gpu_capabilities()
    if not capabilities:
        raise build.CannotBuild("torch sees no CUDA device")
    if build.prebuilt().exists():
        return build.prebuilt(), "the binary that came with the package"
    if (binary := _path_in_cache(capabilities)).exists():
        return binary, "built earlier on this machine"
    if not may_build:
        raise build.CannotBuild("no binary yet: it is built at the first use on a GPU, or now with --build")
    return build_in_cache(capabilities, again=False), "built on this machine"


def gpu_capabilities() -> list[int]:
    """Compute capability × 10 of each kind of GPU that torch sees; none if torch is built for ROCm."""
    count = torch.cuda.device_count() if torch.cuda.is_available() and not torch.version.hip else 0
    kinds = {torch.cuda.get_device_capability(device) for device in range(count)}
    return sorted(10 * major + minor for major, minor in kinds)


def build_in_cache(capabilities: list[int], again: bool = True) -> Path:
    """Build the binary for these GPUs, one process at a time; ``again`` False keeps one that is there."""
    binary = _path_in_cache(capabilities)
    try:
        with files.lock(binary.with_suffix(".lock")):
            if again or not binary.exists():
                print(f"gan_ref: building the CUDA kernels into {binary}", file=sys.stderr, flush=True)
                with files.write_atomically(binary) as part:
                    build.build(part, capabilities)
    except OSError as error:
        reason = f"cannot write {binary}, {error.strerror}: set GAN_REF_CACHE to another folder"
        raise build.CannotBuild(reason) from None
    return binary


def _path_in_cache(capabilities: list[int]) -> Path:
    return files.cache_folder() / "kernels" / build.digest() / f"sm{'_'.join(map(str, capabilities))}.so"


def _load(binary: Path) -> None:
    """Load the binary and run a kernel: a driver too old for it shows here and not during training."""
    try:
        torch.ops.load_library(binary)
        torch.ops.gan_ref_kernels.minibatch_l1_similarity(torch.zeros(2, 1, 1, device="cuda"))
    except (OSError, RuntimeError, AttributeError) as error:
        raise build.CannotBuild(f"{binary} does not work here ({printable(error)[:200]})") from None
