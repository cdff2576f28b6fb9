"""G as an ONNX model, which onnxruntime runs on any processor, and onnxruntime-web in a browser."""

import copy
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from gan_ref.errors import UserError
from gan_ref.latents.samples import FinishedGenerator
from gan_ref.layers import VirtualBatchNorm2d
from gan_ref.layers.batch_norm import BatchNorm
from gan_ref.ops.norm import plain

LINEAR = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def to_onnx(generator: FinishedGenerator) -> bytes:
    """The model z (N, Z) → x (N, *shape) for any N, float32, with G's averaged weights and no batch norm.

    A conditional G of K classes takes z and a class, (N, Z + K): see gan_ref/latents/classes.py.
    Raises UserError if the packages that write ONNX are missing.
    """
    try:
        import onnxscript  # noqa: F401  # torch.onnx asks for it with many lines
    except ImportError:
        raise UserError("onnx and onnxscript write this file: pip install onnx onnxscript") from None
    module = without_batch_norm(generator.module).cpu()
    z = torch.zeros(2, generator.config.latent_dim + len(generator.classes))
    batch = torch.export.Dim("batch")
    options: dict[str, Any] = {"input_names": ["z"], "output_names": ["x"], "verbose": False}
    options |= {"dynamic_shapes": ({0: batch},), "external_data": False}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it tells of torchvision, which it lacks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they speak of torch's own code
        program = torch.onnx.export(module, (z,), dynamo=True, **options)
    assert program is not None
    return program.model_proto.SerializeToString()


def without_batch_norm(module: nn.Module) -> nn.Module:
    """A copy of G for eval mode, whose batch norms are part of the linear layers before them.

    Batch norm of W x + b with running mean μ and variance σ² is W' x + b' with

        W' = s W,   b' = s (b − μ) + β,   s = γ / √(σ² + ε)

    for each output. A norm that does not follow a linear layer stays. Virtual batch norm looks at the
    example, so it stays too, in its plain form.
    """
    module = copy.deepcopy(module).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for block in list(module.modules()):
        if not isinstance(block, nn.Sequential):
            continue
        before = None
        for k, layer in enumerate(block):
            if isinstance(layer, BatchNorm) and isinstance(before, LINEAR):
                _fold(before, layer)
                block[k] = nn.Identity()
            elif isinstance(layer, VirtualBatchNorm2d):
                block[k] = _PlainVirtualBatchNorm(layer)
            if not isinstance(layer, nn.Unflatten):
                before = layer
    return module


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> None:
    s = norm.weight / (norm.running_var + norm.eps).sqrt()  # (C,)
    shift = norm.bias - s * norm.running_mean
    outputs = layer.weight.shape[1 if isinstance(layer, nn.ConvTranspose2d) else 0]
    s, shift = (v.repeat_interleave(outputs // len(v)) for v in (s, shift))  # of units, if unflattened
    side = (1, -1) if isinstance(layer, nn.ConvTranspose2d) else (-1, 1)
    layer.weight.mul_(s.view(side + (1,) * (layer.weight.dim() - 2)))
    layer.bias = nn.Parameter(shift if layer.bias is None else s * layer.bias + shift)


class _PlainVirtualBatchNorm(nn.Module):
    def __init__(self, norm: VirtualBatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        own = self.norm
        statistics = own.reference_mean, own.reference_var, own.weight, own.bias, own.reference_size
        return plain(x, *statistics, own.eps, own.negative_slope)
