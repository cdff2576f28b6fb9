"""Virtual batch normalisation (Salimans et al. 2016, "Improved techniques for training GANs", §3.5)."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref import distributed, ops

MISSING = (
    "VirtualBatchNorm2d {}: call gan_ref.layers.set_reference(network, reference_batch), in training after "
    "every update of the network's weights, and in eval mode once after the last"
)


class VirtualBatchNorm2d(nn.Module):
    """Normalise each example of (N, C, H, W) with the statistics of a fixed reference batch, not of its own.

    The equations are in gan_ref/ops/norm.py. ``negative_slope`` is that of a leaky ReLU fused behind the
    norm: 1 is none and 0 is ReLU.

    The statistics come from a pass of the reference batch through the whole network, set_reference(network,
    reference_batch). In training they follow the weights and carry gradients to them, so the pass is repeated
    after every update. In eval mode they are constants, and stay in the state dict. A forward without
    statistics is a RuntimeError, and so is one with the statistics of other weights.
    """

    reference_mean: Tensor
    reference_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, negative_slope: float = 1.0) -> None:
        super().__init__()
        self.num_features, self.eps, self.negative_slope = num_features, eps, negative_slope
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("reference_mean", torch.zeros(num_features))
        self.register_buffer("reference_var", torch.ones(num_features))
        self.reference_size = 0  # examples behind the two buffers; 0: they mean nothing
        self.recording = False
        self._live: tuple[Tensor, Tensor, int] | None = None  # in training: mean, variance, size, with graph
        self._seal: tuple[Tensor, int, bool] | None = None  # the weight that they belong to, as it was

    def forward(self, x: Tensor) -> Tensor:
        if self.recording:
            return self._record(x)
        mean, var, size = self._statistics()
        numbers = size, self.eps, self.negative_slope
        return ops.virtual_batch_norm(x, mean, var, self.weight, self.bias, *numbers)

    def _record(self, x: Tensor) -> Tensor:
        """In the reference pass the batch is normalised by its own statistics, as in plain batch norm."""
        full = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean = full.mean((0, 2, 3))
        var = (full - mean[:, None, None]).square().mean((0, 2, 3))
        if self.training:
            self._live = mean, var, len(x)
            self.reference_size = 0  # the kept statistics are those of older weights
        else:
            with torch.no_grad():
                self.reference_mean.copy_(mean)
                self.reference_var.copy_(var)
            self.reference_size = len(x)
        compiling = torch.compiler.is_compiling()  # a compiled graph cannot ask for a tensor's version
        self._seal = None if compiling else (self.weight, self.weight._version, self.weight.requires_grad)
        y = F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return y if self.negative_slope == 1 else F.leaky_relu(y, self.negative_slope)

    def _statistics(self) -> tuple[Tensor, Tensor, int]:
        """Mean (C,), variance (C,) and size of the reference batch."""
        if self._seal is not None and not torch.compiler.is_compiling():
            weight, version, had_gradient = self._seal
            if weight is not self.weight or version != weight._version or weight.requires_grad > had_gradient:
                raise RuntimeError(MISSING.format("has changed since it saw its reference batch"))
        if not self.training:
            if self.reference_size == 0:
                raise RuntimeError(MISSING.format("has no reference statistics for eval mode"))
            return self.reference_mean, self.reference_var, self.reference_size
        if self._live is None:
            raise RuntimeError(MISSING.format("has not seen its reference batch"))
        return self._live

    # The size goes into the state dict. The live statistics do not: a graph can be neither saved nor copied.

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.reference_size)

    def set_extra_state(self, state: Tensor) -> None:
        self.reference_size, self._live, self._seal = int(state), None, None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_live": None, "_seal": None}

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, negative_slope={self.negative_slope}"


def set_reference(network: nn.Module, reference_batch: Tensor, *args: Any) -> None:
    """Pass the reference batch through the network, for the statistics of its VirtualBatchNorm2d layers.

    In training mode the statistics carry gradients, also when this is called under no_grad, so one pass
    serves D's and G's step until the weights change. As with any graph, one backward uses them up. In eval
    mode they are constants in the state dict. Further arguments go to the network. Without such layers
    nothing is computed. Each of several processes passes the whole reference batch, and finds the same
    statistics.
    """
    if any(isinstance(module, VirtualBatchNorm2d) for module in network.modules()):
        with reference_pass(network):
            network(reference_batch, *args)


@contextlib.contextmanager
def reference_pass(network: nn.Module) -> Iterator[None]:
    """Within it, a forward of the network is the reference pass, where set_reference does not serve.

        with reference_pass(network):
            functional_call(network, parameters, (reference_batch,))

    Raises RuntimeError if a layer saw no batch, or is in another mode (train or eval) than the network.
    """
    layers = [module for module in network.modules() if isinstance(module, VirtualBatchNorm2d)]
    for layer in layers:
        if layer.training != network.training:
            raise RuntimeError("a VirtualBatchNorm2d is in another mode (train or eval) than its network")
        layer._live, layer.reference_size = None, 0
        layer.recording = True
    try:
        with torch.set_grad_enabled(network.training), distributed.alone():
            yield
    finally:
        for layer in layers:
            layer.recording = False
    if any(layer._live is None and layer.reference_size == 0 for layer in layers):
        raise RuntimeError("a VirtualBatchNorm2d of the network saw no reference batch in the reference pass")
