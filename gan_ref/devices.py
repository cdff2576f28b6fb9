"""Which devices there are, and which one a name means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan_ref.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
HELP = "cuda: an NVIDIA GPU, or AMD's with a ROCm build of torch; mps: Apple's; auto: a GPU if there is one"


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is cuda, else mps, else the CPU. Raises UserError if there is none.

    A ROCm build of torch calls its GPU cuda too. (The package's own kernels are for CUDA alone; there their
    PyTorch form runs.)
    """
    import torch  # here, so that --help and mistakes answer at once

    seen = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in seen.items() if there)
    if not seen[name]:
        raise UserError(f"--device {name}: this torch sees no such GPU; take --device cpu")
    return torch.device(name)
