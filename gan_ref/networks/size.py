"""How much memory a run takes, found before it is taken."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.layers import SpectralNorm, reference_pass
from gan_ref.networks import build_discriminator, build_generator, packed
from gan_ref.networks.lapgan import levels

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
    with torch.device("meta"), _WithoutDraws():
        yield


def require_memory(config: Config, shape: tuple[int, ...], classes: int = 0) -> None:
    """Raise UserError if a run of this complete Config takes more memory than is free."""
    needed, free = training_bytes(config, shape, classes), free_bytes(torch.device(config.device))
    if needed > free:
        raise UserError(
            f"this run takes at least {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: "
            "lower --width, --batch-size or --image-size"
        )


def training_bytes(config: Config, shape: tuple[int, ...], classes: int = 0) -> int:
    """The weights with their gradients, moments and averages, and the activations of a round, in bytes.

    It is meant to be low: on the CPU it was a fifth (of 160 MB) to nine tenths (of 700 MB) of what runs took.
    """
    conditional = config.conditional != "none"
    z, label = (config.latent_dim + classes * conditional,), [torch.zeros(1, dtype=torch.int64)] * conditional
    g, g_made = _count(lambda c: build_generator(c, shape, classes), config, config.width, torch.zeros(1, *z))
    build_d = lambda c: build_discriminator(c, shape, classes)
    d, d_made = _count(
        build_d,
        config,
        config.d_width or config.width,
        torch.zeros(levels(config, shape), *packed(config, shape)),
        *label,
    )
    of_g, of_d = (2 + MOMENTS[name] for name in (config.optimizer, config.optimizer_d or config.optimizer))
    weights = (of_g + 1) * g + (of_d + (config.labels_per_class > 0)) * d
    return 4 * (weights + config.batch_size * (g_made + 2 * d_made // config.pack))  # reals and fakes


def _count(
    build: Callable[[Config], nn.Module], config: Config, width: int, *inputs: Tensor
) -> tuple[int, int]:
    """How many weights a network of this width has, and how many numbers its layers make of one sample.

    Both are polynomials in the width, of degree two at most, so three narrow networks tell.
    """
    found = []
    for narrow in (4, 8, 12):
        network, made = build(config.replace(width=narrow, d_width=narrow)).eval(), 0

        def count(layer: nn.Module, x: object, y: object) -> None:
            nonlocal made
            made += y.numel() if isinstance(y, Tensor) else 0

        for layer in network.modules():
            if not (any(True for _ in layer.children()) or isinstance(layer, SpectralNorm)):
                layer.register_forward_hook(count)
        with torch.no_grad(), reference_pass(network):  # in which virtual batch norm needs no reference
            network(*inputs)
        found.append((sum(p.numel() for p in network.parameters()), made))
    n = width / 4 - 1
    weights, numbers = (a + n * (b - a) + n * (n - 1) / 2 * (c - 2 * b + a) for a, b, c in zip(*found))
    return int(weights), int(numbers)


def free_bytes(device: torch.device) -> int:
    """Memory that new tensors can have on ``device``; 2⁶² where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        free = int(found[1]) * 1024 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        free = 1 << 62
    return min(free, container_bytes())


def container_bytes(root: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves, by either version of Linux's control groups; 2⁶² without a limit.

    Of the memory in use, file pages that the kernel can drop do not count.
    """
    versions = (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    left = [1 << 62]
    for folder, limit, used, dropped in versions:
        with suppress(OSError, ValueError):  # no such file, or no limit, which version 2 writes as "max"
            most, taken = (int((folder / name).read_text()) for name in (limit, used))
            found = re.search(rf"^{dropped} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
            left.append(max(0, most - taken + (int(found[1]) if found else 0)))
    return min(left)
