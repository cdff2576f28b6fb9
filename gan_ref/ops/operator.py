"""What the two operators share: a check of arguments, the type of sums, the registration with torch."""

from collections.abc import Callable

import torch
from torch import Tensor


def require_floating(name: str, value: object) -> None:
    """Raise TypeError unless ``value`` is a tensor of float16, bfloat16, float32 or float64."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(value).__name__}")
    if not value.dtype.is_floating_point or value.dtype.itemsize < 2:
        raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, not {value.dtype}")


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """The type in which sums over ``tensor`` are taken: float32, or float64 for float64."""
    return torch.promote_types(tensor.dtype, torch.float32)


def register(
    name: str, schema: str, *, run: Callable, shapes: Callable, save: Callable, differentiate: Callable
) -> None:
    """Define ``torch.ops.gan_ref.NAME``, so that it works under autograd and torch.compile.

    run: computes the results, on any device. shapes: empty tensors of the results' shapes, for tracing.
    save(ctx, inputs, output) keeps what differentiate(ctx, *grads) needs for the gradients of the inputs.
    """
    torch.library.define(f"gan_ref::{name}", schema, tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(f"gan_ref::{name}", "default", run)
    torch.library.register_fake(f"gan_ref::{name}", shapes)
    torch.library.register_autograd(f"gan_ref::{name}", differentiate, setup_context=save)
