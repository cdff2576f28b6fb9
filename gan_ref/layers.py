"""Layers that the papers add to a network: over the two operators, and the small ones.

    MinibatchDiscrimination                   tells D how alike the samples of its batch are
    VirtualBatchNorm2d, set_reference         normalises with a fixed reference batch
    batch_norm                                nn.BatchNorm2d whose momentum says what it means
    SyncBatchNorm, synchronised               the same over the batch of several processes
    GaussianNoise, Dropout, SpatialDropout    noise, from a generator that seed_noise hands out
    WeightNormLinear, WeightNormConv2d        w = g v/‖v‖, begun from data by data_dependent_init
    spectral_norm                             a layer's Lipschitz constant held at one
    FromLatent, flat                          G's first layer and D's last, where a general one is slow

All are ordinary modules: usable in any network, under torch.compile, functional_call and gradient penalties.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_ref import distributed, ops

# --- minibatch discrimination -------------------------------------------------------------------------------


class MinibatchDiscrimination(nn.Module):
    """Concatenate to each sample how much it resembles the others: (N, A) → (N, A + B).

        M_i = f_i T,  o_ib = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁),  out_i = [f_i, o_i]

    Salimans et al. 2016, §3.2; B = num_kernels, C = kernel_dim, T (A, B·C). A generator that has collapsed
    gives samples which are all alike, and D sees it here.

    T is weight-normalised, T = θ exp(s)/‖θ‖ by columns with s = 0 at first, as in the paper's own code:
    distances then are of the order of the features' own, whatever A is. (A plain T ~ N(0, 0.05²) on A = 8,192
    features gives distances above 10 and similarities of nothing, from which no gradient leads back.)
    """

    def __init__(self, in_features: int, num_kernels: int = 100, kernel_dim: int = 5) -> None:
        super().__init__()
        self.in_features, self.num_kernels, self.kernel_dim = in_features, num_kernels, kernel_dim
        self.out_features = in_features + num_kernels
        self.theta = nn.Parameter(torch.empty(in_features, num_kernels * kernel_dim))
        self.log_scale = nn.Parameter(torch.empty(num_kernels * kernel_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        nn.init.normal_(self.theta, 0.0, 0.05, generator=generator)
        nn.init.zeros_(self.log_scale)

    def forward(self, features: Tensor) -> Tensor:
        tensor = self.theta * (self.log_scale.exp() / self.theta.norm(dim=0))  # T (A, B·C)
        projected = (features @ tensor).view(-1, self.num_kernels, self.kernel_dim)  # M (N, B, C)
        similarities = self.similarities(projected)  # (N, B)
        return torch.cat([features, similarities.to(features.dtype)], dim=1)

    def similarities(self, projected: Tensor) -> Tensor:
        """To the whole batch's samples, of which several processes have a part each."""
        if distributed.world() == 1:
            return ops.minibatch_l1_similarity(projected)
        return distributed.part(ops.minibatch_l1_similarity(distributed.gather(projected.float())))

    def extra_repr(self) -> str:
        return f"{self.in_features}, num_kernels={self.num_kernels}, kernel_dim={self.kernel_dim}"


# --- virtual batch normalisation ----------------------------------------------------------------------------


class VirtualBatchNorm2d(nn.Module):
    """Normalise each example with a fixed reference batch, never with its own: (N, C, H, W) → same.

    Salimans et al. 2016, §3.5; the equations are in gan_ref/ops/norm.py. ``negative_slope`` is of a leaky
    ReLU fused behind it: 1 is none, 0 is ReLU.

    The statistics of the reference batch come from a pass of that batch through the whole network,

        set_reference(network, reference_batch)

    in training after every update of the network's weights, since the statistics follow the weights and carry
    gradients to them; in eval mode once, and they stay with the network and in its state dict until the
    weights change. A forward without statistics, or with those of other weights, is a RuntimeError that says
    so. (Inside torch.compile only their absence is noticed: it cannot see whether weights have changed.)
    """

    def __init__(self, num_features: int, eps: float = 1e-5, negative_slope: float = 1.0) -> None:
        super().__init__()
        self.num_features, self.eps, self.negative_slope = num_features, eps, negative_slope
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("reference_mean", torch.zeros(num_features))
        self.register_buffer("reference_var", torch.ones(num_features))
        self.register_buffer("reference_size", torch.tensor(0))  # 0: the two above mean nothing
        self.recording = False
        self._forget()

    def _forget(self) -> None:
        self._live: tuple[Tensor, Tensor, int] | None = None  # mean and variance with gradients, and R
        self._live_seal: tuple | None = None
        self._kept_size = 0  # what the buffer reference_size says, without asking the GPU
        self._kept_seal: tuple | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.recording:
            return self._record(x)
        mean, var, size = self._statistics()
        return ops.virtual_batch_norm(
            x, mean, var, self.weight, self.bias, size, eps=self.eps, negative_slope=self.negative_slope
        )

    def _record(self, x: Tensor) -> Tensor:
        """In the reference pass the batch is normalised by its own statistics: plain batch normalisation."""
        full = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean = full.mean((0, 2, 3))
        var = (full - mean[:, None, None]).square().mean((0, 2, 3))
        if self.training:
            self._live, self._live_seal = (mean, var, x.shape[0]), self._seal()
        else:
            with torch.no_grad():
                self.reference_mean.copy_(mean)
                self.reference_var.copy_(var)
            self._kept_seal = self._seal()
        self._kept_size = 0 if self.training else x.shape[0]
        self.reference_size.fill_(self._kept_size)
        y = F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return y if self.negative_slope == 1 else F.leaky_relu(y, self.negative_slope)

    def _statistics(self) -> tuple[Tensor, Tensor, int]:
        if self.training:
            if self._live is None:
                raise RuntimeError(_NO_REFERENCE.format("has not seen its reference batch"))
            if not self._holds(self._live_seal):
                raise RuntimeError(_NO_REFERENCE.format("has changed since it saw its reference batch"))
            return self._live
        if self._kept_size == 0:
            raise RuntimeError(_NO_REFERENCE.format("has no reference statistics for eval mode"))
        if not self._holds(self._kept_seal):
            raise RuntimeError(_NO_REFERENCE.format("has reference statistics of other weights than these"))
        return self.reference_mean, self.reference_var, self._kept_size

    def _seal(self) -> tuple | None:
        """What an update changes: the weight, the count of writes to it, whether it asked for a gradient."""
        if torch.compiler.is_compiling():
            return None
        return self.weight, self.weight._version, self.weight.requires_grad

    def _holds(self, seal: tuple | None) -> bool:
        if seal is None or torch.compiler.is_compiling():
            return True
        weight, version, had_gradient = seal
        return weight is self.weight and version == weight._version and had_gradient >= weight.requires_grad

    # The kept statistics stay valid where the network is loaded, copied or moved as a whole; the live ones do
    # not (a graph can be neither copied nor moved).

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._forget()
        self._keep(int(self.reference_size))

    def _apply(self, fn, recurse: bool = True):
        size = self._valid_size()
        super()._apply(fn, recurse)
        self._forget()
        self._keep(size)
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.update(_live=None, _live_seal=None, _kept_seal=None, _kept_size=self._valid_size())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._keep(self._kept_size)

    def _keep(self, size: int) -> None:
        self._kept_size, self._kept_seal = size, self._seal()

    def _valid_size(self) -> int:
        return self._kept_size if self._kept_size and self._holds(self._kept_seal) else 0

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, negative_slope={self.negative_slope}"


_NO_REFERENCE = (
    "VirtualBatchNorm2d {}: call gan_ref.layers.set_reference(network, reference_batch), in training after "
    "every update of the network's weights, in eval mode once after the last"
)


def set_reference(network: nn.Module, reference_batch: Tensor, *args: Any) -> None:
    """Pass the reference batch through the network, for the statistics of its VirtualBatchNorm2d layers.

    In training mode the statistics carry gradients, also when called under no_grad, so that one pass serves
    D's and G's step until the weights change; as with any graph, one backward uses them up. In eval mode they
    are constants, kept in the state dict. Further arguments go to the network. Costs nothing without such
    layers. Each of several processes passes the whole reference batch, and finds the same statistics.
    """
    if any(isinstance(module, VirtualBatchNorm2d) for module in network.modules()):
        with reference_pass(network):
            network(reference_batch, *args)


@contextlib.contextmanager
def reference_pass(network: nn.Module) -> Iterator[None]:
    """Within it, a forward of the network is the reference pass: for those that set_reference cannot call.

    ``with reference_pass(network): functional_call(network, parameters, (reference_batch,))``. RuntimeError
    if a layer saw no batch, or is in another mode (train, eval) than the network.
    """
    layers = [module for module in network.modules() if isinstance(module, VirtualBatchNorm2d)]
    for layer in layers:
        if layer.training != network.training:
            raise RuntimeError("a VirtualBatchNorm2d is in another mode (train, eval) than its network")
        layer._live, layer._kept_size = None, 0
        layer.recording = True
    try:
        with torch.set_grad_enabled(network.training), distributed.alone():
            yield
    finally:
        for layer in layers:
            layer.recording = False
    if any(layer._live is None and layer._kept_size == 0 for layer in layers):
        raise RuntimeError("a VirtualBatchNorm2d of the network saw no reference batch in the reference pass")


# --- batch normalisation ------------------------------------------------------------------------------------


def batch_norm(features: int, decay: float = 0.9, eps: float = 1e-5) -> nn.BatchNorm2d:
    """nn.BatchNorm2d (Ioffe & Szegedy 2015) whose ``decay`` is the share of the old running value kept:

        running ← decay · running + (1 − decay) · batch

    which Theano and TensorFlow call momentum (their 0.9), and of which PyTorch's momentum is the complement
    (0.1).
    """
    return nn.BatchNorm2d(features, eps=eps, momentum=1 - decay)


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of (N, C, …) with the mean and variance of the whole batch that several processes share.

    Its parameters and buffers are those of nn.BatchNorm. (nn.SyncBatchNorm runs on GPUs only and
    differentiates once; this one runs anywhere and twice, as gradient penalties ask.)
    """

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or distributed.world() == 1:
            return super().forward(x)
        mean, var = distributed.moments(x)
        with torch.no_grad():
            count = x.numel() // x.shape[1] * distributed.world()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        per_channel = (-1,) + (1,) * (x.dim() - 2)
        return (x * scale.view(per_channel) + shift.view(per_channel)).to(x.dtype)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with SyncBatchNorm for batch norm, around the same parameters and buffers."""
    for name, module in network.named_children():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            norm = SyncBatchNorm(module.num_features, module.eps, module.momentum)
            for own in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(norm, own, getattr(module, own))
            setattr(network, name, norm)
        else:
            synchronised(module)
    return network


# --- the ends of a network ----------------------------------------------------------------------------------


class FromLatent(nn.ConvTranspose2d):
    """The transposed convolution of 1×1 images, as the matrix product it is: (N, Z, 1, 1) → (N, C, K, K).

    There and back it takes a third of the convolution's time in float32 and a sixth in bfloat16 (100 → 512
    filters, batch 64, one core: 3.1 for 10.0 ms and 1.3 for 8.8). Channels-last weights are not copied, and
    give a channels-last output.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.permute(0, 2, 3, 1)  # (Z, K, K, C)
        out = x.flatten(1) @ weight.flatten(1)
        out = out.unflatten(1, weight.shape[1:]).permute(0, 3, 1, 2)
        return out if self.bias is None else out + self.bias[:, None, None].to(out.dtype)


def flat(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C·H·W), as ``x.flatten(1)``; a gradient comes back in the layout of ``x``.

    From a plain flatten it comes as NCHW, and where it meets a channels-last activation, leaky_relu_backward
    takes 30 times as long (2.6 for 0.07 ms on 64×32×16×16 and one core). A compiler sees to layouts itself.
    """
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    if x.requires_grad and channels_last and not torch.compiler.is_compiling():
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return x.flatten(1)


# --- noise --------------------------------------------------------------------------------------------------


class _Noise(nn.Module):
    """In training draws from ``generator``, which None leaves to the global one; in eval does nothing."""

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.disturb(x) if self.training else x

    def disturb(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class GaussianNoise(_Noise):
    """x + σ ε, ε ~ N(0, 1) for each number, in training. Before D's layers in Salimans et al. 2016's code."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        if sigma < 0:
            raise ValueError(f"sigma must be at least 0, not {sigma}")
        self.sigma = sigma

    def disturb(self, x: Tensor) -> Tensor:
        shape = distributed.whole(x.shape)
        noise = torch.randn(shape, generator=self.generator, dtype=x.dtype, device=x.device)
        return x + self.sigma * distributed.part(noise)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class Dropout(_Noise):
    """Each number is 0 with probability p, else divided by 1 − p, in training. Srivastava et al. 2014."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must lie in [0, 1), not {p}")
        self.p = p

    def disturb(self, x: Tensor) -> Tensor:
        shape = distributed.whole(self.mask_shape(x))
        kept = torch.rand(shape, generator=self.generator, device=x.device) >= self.p
        return x * distributed.part(kept) / (1 - self.p)

    def mask_shape(self, x: Tensor) -> torch.Size:
        return x.shape

    def extra_repr(self) -> str:
        return f"p={self.p}"


class SpatialDropout(Dropout):
    """Dropout of whole channels of (N, C, …): neighbouring pixels say the same. Tompson et al. 2015, §3.2."""

    def mask_shape(self, x: Tensor) -> torch.Size:
        return x.shape[:2] + (1,) * (x.dim() - 2)


def seed_noise(network: nn.Module, generator: torch.Generator | None) -> None:
    """Let every noise layer of the network draw from this generator, whose state a checkpoint can carry.

    The generator must live on the device of the network. A compiled graph breaks where it draws from one.
    """
    for module in network.modules():
        if isinstance(module, _Noise):
            module.generator = generator


# --- weight normalisation -----------------------------------------------------------------------------------


class _WeightNorm(nn.Module):
    """w_k = g_k v_k / ‖v_k‖ for each output k. Salimans & Kingma 2016, §2, and §3 for the initialisation.

    v ~ N(0, 0.05²), g = 1 and b = 0, until ``data_dependent_init`` sets g and b from a first batch. With
    ``train_scale=False`` g keeps that value, as in the classifiers of Salimans et al. 2016.
    """

    def __init__(self, weight_shape: tuple[int, ...], train_scale: bool) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.empty(weight_shape))
        self.bias = nn.Parameter(torch.empty(weight_shape[0]))
        scale = torch.empty(weight_shape[0])
        if train_scale:
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)
        self.initialising = False
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        nn.init.normal_(self.v, 0.0, 0.05, generator=generator)
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            self.scale.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        if self.initialising:
            self._set_scale_and_bias(x)
        return self.apply_weight(x, self.scale / self.v.flatten(1).norm(dim=1), self.bias)

    def apply_weight(self, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        """(factor_k v_k)·x + b_k for each output k."""
        raise NotImplementedError

    @torch.no_grad()
    def _set_scale_and_bias(self, x: Tensor) -> None:
        """t = v·x/‖v‖; g ← 1/σ[t], b ← −μ[t]/σ[t]: the pre-activations have mean 0 and variance 1."""
        t = self.apply_weight(x, 1 / self.v.flatten(1).norm(dim=1), None).float()
        t = t.transpose(0, 1).flatten(1)  # (outputs, everything else)
        self.scale.copy_(1 / t.std(dim=1, correction=0).clamp_min(1e-6))
        self.bias.copy_(-t.mean(dim=1) * self.scale)


class WeightNormLinear(_WeightNorm):
    """(N, in_features) → (N, out_features), weight-normalised."""

    def __init__(self, in_features: int, out_features: int, train_scale: bool = True) -> None:
        super().__init__((out_features, in_features), train_scale)

    def apply_weight(self, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        y = F.linear(x, self.v) * factor  # a batch of outputs is smaller than the weight
        return y if bias is None else y + bias


class WeightNormConv2d(_WeightNorm):
    """(N, in_channels, H, W) → (N, out_channels, H', W'), weight-normalised."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        train_scale: bool = True,
    ) -> None:
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), train_scale)
        self.stride, self.padding = stride, padding

    def apply_weight(self, x: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, self.v * factor.view(-1, 1, 1, 1), bias, self.stride, self.padding)


@contextlib.contextmanager
def data_dependent_init(network: nn.Module) -> Iterator[None]:
    """``with data_dependent_init(network): network(batch)`` sets g and b of its weight-normalised layers.

    One after another, so that each one's outputs on this batch have mean 0 and variance 1. Salimans & Kingma
    2016, §3.
    """
    layers = [module for module in network.modules() if isinstance(module, _WeightNorm)]
    for layer in layers:
        layer.initialising = True
    try:
        with torch.no_grad(), distributed.alone():
            yield
    finally:
        for layer in layers:
            layer.initialising = False


# --- spectral normalisation ---------------------------------------------------------------------------------


def spectral_norm(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Divide the module's weight by its largest singular value σ, as estimated; returns the module.

        in each training forward   v ← Wᵀu/‖Wᵀu‖,  u ← Wv/‖Wv‖       (no gradient)
        always                     W / σ,  σ = uᵀWv

    Miyato et al. 2018, Algorithm 1, with W (outputs, the rest). u and v persist in the state dict; u starts
    from ``generator``. Initialise the weight first: afterwards it is
    ``module.parametrizations.weight.original``.
    """
    transposed = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    normalise = _SpectralNorm(module.weight, transposed, generator)
    parametrize.register_parametrization(module, "weight", normalise)
    return module


class _SpectralNorm(nn.Module):
    # torch.nn.utils.parametrizations.spectral_norm does the same, but begins with 15 iterations from the
    # global generator, where a seeded run needs its own.

    def __init__(self, weight: Tensor, transposed: bool, generator: torch.Generator | None) -> None:
        super().__init__()
        self.transposed = transposed  # a transposed convolution keeps its outputs in the second dimension
        matrix = self._matrix(weight.detach())
        u = torch.randn(len(matrix), generator=generator).to(matrix)
        self.register_buffer("u", F.normalize(u, dim=0))
        self.register_buffer("v", F.normalize(matrix.T @ self.u, dim=0))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = self._matrix(weight)
        with torch.autocast(weight.device.type, enabled=False):  # σ in float32, whatever convolutions are in
            if self.training:
                with torch.no_grad():
                    self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
                    self.u.copy_(F.normalize(matrix @ self.v, dim=0))
            # Copies, since the next forward overwrites the buffers before this one's backward may have run.
            return weight / torch.dot(self.u.clone(), matrix @ self.v.clone())
