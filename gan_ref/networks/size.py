"""How much memory a run takes, found without taking it: the networks are built of shapes alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.layers import reference_pass
from gan_ref.networks import build_discriminator, build_generator

MOMENTS = {"adam": 2, "rmsprop": 1, "sgd": 1}  # numbers that an optimizer remembers of each weight


class _WithoutDraws(TorchFunctionMode):
    """Leaves initial weights undrawn: drawing them on the meta device costs two seconds of imports."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        words = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "kaiming_normal_"):  # of nn.init, or of a tensor
            return args[0] if args else words["tensor"]
        return func(*args, **words)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within it, new tensors have a shape and a dtype, and take no memory."""
    with torch.device("meta"), _WithoutDraws(), torch.no_grad():
        yield


def require_memory(config: Config, shape: tuple[int, ...], classes: int = 0) -> None:
    """Raise UserError if a run of this complete Config takes more memory than is free."""
    needed, free = training_bytes(config, shape, classes), free_bytes(torch.device(config.device))
    if needed > free:
        raise UserError(
            f"this run takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: "
            "lower --width, --batch-size or --image-size"
        )


def training_bytes(config: Config, shape: tuple[int, ...], classes: int = 0) -> int:
    """The weights with their gradients, moments and averages, and the activations of a round, in bytes.

    D sees a batch of reals and one of fakes. Penalties may hold more.
    """
    weights, activations = 0, 0

    def count(layer: Any, x: Any, y: Any) -> None:
        nonlocal activations
        activations += passes * y.numel() if isinstance(y, Tensor) else 0

    with shapes_only():
        generator, discriminator = build_generator(config, shape), build_discriminator(config, shape, classes)
        for network, x, passes in (
            (generator, torch.empty(2, config.latent_dim), 1),
            (discriminator, torch.empty(2, *shape), 2),
        ):
            copies = 2 + MOMENTS[config.optimizer] + (network is generator or config.labels_per_class > 0)
            weights += copies * sum(p.numel() for p in network.parameters())
            for layer in network.modules():
                if not any(True for _ in layer.children()):
                    layer.register_forward_hook(count)
            with reference_pass(network.eval()):  # in which virtual batch norm needs no reference
                network(x)
    return 4 * (weights + activations * config.batch_size // 2)


def free_bytes(device: torch.device) -> int:
    """Memory that a new tensor can have on ``device``; 2⁶² where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found[1]) * 1024 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 1 << 62
