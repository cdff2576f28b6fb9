"""Batch normalisation in which an example sees only itself and a fixed reference batch.

Salimans et al. 2016, "Improved Techniques for Training GANs", §3.5, in the form of the paper's own code: each
example joins the reference batch of R, and is normalised with the statistics of those R + 1. For a channel
with the example's own mean m and biased variance v over H×W, the reference's r and s, and α = 1/(R + 1):

    μ  = α m + (1−α) r
    σ² = α (v + (m−μ)²) + (1−α) (s + (r−μ)²)          which is E[x²] − μ², without the cancellation
    y  = leaky_relu((x − μ) / √(σ² + ε) · w + b)

The backward, with z the input of the activation, ẑ' = ∂L/∂z, ρ = 1/√(σ² + ε) and sums over the plane of H×W:

    A = Σ ẑ',  P = Σ ẑ' (x−μ),  ∂L/∂μ = −w ρ A  (σ² does not change with μ: 2α(m−μ) + 2(1−α)(r−μ) = 0)
    ∂L/∂σ² = −½ w ρ³ P
    ∂L/∂x = w ρ ẑ' + [ α ∂L/∂μ + 2α (x−μ) ∂L/∂σ² ] / HW
    ∂L/∂r = Σ_n (1−α) ∂L/∂μ + 2(1−α)(r−μ) ∂L/∂σ²,  ∂L/∂s = Σ_n (1−α) ∂L/∂σ²
    ∂L/∂w = Σ_n ρ P,  ∂L/∂b = Σ_n A

The CUDA kernel is in csrc/virtual_batch_norm.cuh, and in its plain form in csrc/virtual_batch_norm_plain.cuh.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ref.ops.extension import kernels_for
from gan_ref.ops.operator import register, require_floating, sum_dtype


def virtual_batch_norm(
    x: Tensor,
    reference_mean: Tensor,
    reference_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    reference_size: int,
    eps: float = 1e-5,
    negative_slope: float = 1.0,
) -> Tensor:
    """Normalise each example as one more of a reference batch, then leaky ReLU: (N, C, H, W) → same.

    Salimans et al. 2016, §3.5; the equations are at the top of this file.

    x: float32, float16, bfloat16 or float64, contiguous or channels-last; the result has its type and layout.
    reference_mean, reference_var, weight, bias: (C,), of any of these types; the variance is biased. Like all
        sums they are taken in float32 (float64 for float64 x), so that half-precision x under autocast meets
        float32 statistics, as in F.batch_norm.
    reference_size: R, the number of examples behind the reference statistics. 0 is instance normalisation.
    negative_slope: of the leaky ReLU; 1 is no activation, 0 is ReLU.

    Gradients, first and second, flow to x, both statistics, weight and bias.
    Raises TypeError or ValueError, naming the argument.
    """
    require_floating("x", x)
    if x.dim() != 4 or x.shape[2] == 0 or x.shape[3] == 0:
        raise ValueError(f"x must have the shape (N, C, H, W) with H and W at least 1, not {tuple(x.shape)}")
    vectors = dict(reference_mean=reference_mean, reference_var=reference_var, weight=weight, bias=bias)
    for name, vector in vectors.items():
        require_floating(name, vector)
        if vector.shape != (x.shape[1],):
            raise ValueError(f"{name} must have the shape (C,) = ({x.shape[1]},), not {tuple(vector.shape)}")
        if vector.device != x.device:
            raise ValueError(f"{name} must be on the device of x, {x.device}, not {vector.device}")
    if not isinstance(reference_size, int):
        raise TypeError(f"reference_size must be an int, not {type(reference_size).__name__}")
    if reference_size < 0 or not eps > 0 or not 0 <= negative_slope <= 1:
        raise ValueError(
            "reference_size must be at least 0, eps positive and negative_slope from 0 to 1, not "
            f"{reference_size}, {eps} and {negative_slope}"
        )
    in_sum_dtype = [vector.to(sum_dtype(x)).contiguous() for vector in vectors.values()]
    return torch.ops.gan_ref.virtual_batch_norm(x, *in_sum_dtype, reference_size, eps, negative_slope)[0]


def plain(x, reference_mean, reference_var, weight, bias, reference_size, eps=1e-5, negative_slope=1.0):
    """The definition, a line an equation. The tests compare with it, and the second derivative is its."""
    full = x.to(sum_dtype(x))
    m = full.mean((2, 3))  # (N, C)
    v = (full - _planes(m)).square().mean((2, 3))
    mean, var = _join(m, v, reference_mean, reference_var, reference_size)
    z = (full - _planes(mean)) * _planes(weight * torch.rsqrt(var + eps)) + bias[:, None, None]
    y = z if negative_slope == 1 else F.leaky_relu(z, negative_slope)
    return y.to(x.dtype)


def _join(m, v, reference_mean, reference_var, reference_size) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of an example together with its reference batch: (N, C) each."""
    a = 1 / (reference_size + 1)
    mean = a * m + (1 - a) * reference_mean
    var = a * (v + (m - mean) ** 2) + (1 - a) * (reference_var + (reference_mean - mean) ** 2)
    return mean, var


def _planes(per_example: Tensor) -> Tensor:
    return per_example[:, :, None, None]


# --- the PyTorch form ---------------------------------------------------------------------------------------

# Examples are taken a block at a time, so that the passes over a block stay in a core's cache: torch.var_mean
# over the planes of a (64, 64, 32, 32) batch alone takes 23 ms, this whole forward 6 ms.
CPU_BLOCK, GPU_BLOCK = 2**18, 2**28


def forward(x, reference_mean, reference_var, weight, bias, reference_size, eps, negative_slope):
    """y, and each example's own mean and variance."""
    y, mean, var = _empty_results(x)
    for rows in _blocks(x):
        block = x[rows].to(mean.dtype)
        m = block.mean((2, 3))
        d = block - _planes(m)
        v = (d * d).mean((2, 3))
        mu, sigma2 = _join(m, v, reference_mean, reference_var, reference_size)
        scale = weight * torch.rsqrt(sigma2 + eps)
        z = d.mul_(_planes(scale)).add_(_planes(bias + (m - mu) * scale))
        y[rows] = z if negative_slope == 1 else F.leaky_relu_(z, negative_slope)
        mean[rows], var[rows] = m, v
    return y, mean, var


def backward(
    grad, x, reference_mean, reference_var, weight, bias, mean, var, reference_size, eps, negative_slope
):
    """The gradients of x, reference_mean, reference_var, weight and bias."""
    a = 1 / (reference_size + 1)
    area = x.shape[2] * x.shape[3]
    grad_x = torch.empty_like(x, memory_format=_layout(x))
    grad_r, grad_s, grad_weight, grad_bias = (torch.zeros_like(weight) for _ in range(4))
    for rows in _blocks(x):
        m, v = mean[rows], var[rows]
        mu, sigma2 = _join(m, v, reference_mean, reference_var, reference_size)
        rho = torch.rsqrt(sigma2 + eps)
        scale = weight * rho
        d = x[rows].to(mean.dtype) - _planes(m)
        g = grad[rows].to(mean.dtype)
        if negative_slope != 1:
            z = (d * _planes(scale)).add_(_planes(bias + (m - mu) * scale))
            g = torch.ops.aten.leaky_relu_backward(g, z, negative_slope, False)
        sum_g = g.sum((2, 3))
        sum_gx = (g * d).sum((2, 3)) + (m - mu) * sum_g
        grad_mu = -scale * sum_g
        grad_sigma2 = -0.5 * scale * rho.square() * sum_gx
        slope = 2 * a / area * grad_sigma2
        offset = a / area * grad_mu + (m - mu) * slope
        grad_x[rows] = d.mul_(_planes(slope)).add_(_planes(offset)).add_(g * _planes(scale))
        grad_r += ((1 - a) * (grad_mu + 2 * (reference_mean - mu) * grad_sigma2)).sum(0)
        grad_s += ((1 - a) * grad_sigma2).sum(0)
        grad_weight += (rho * sum_gx).sum(0)
        grad_bias += sum_g.sum(0)
    return grad_x, grad_r, grad_s, grad_weight, grad_bias


def _blocks(x: Tensor) -> Iterator[slice]:
    size = CPU_BLOCK if x.device.type == "cpu" else GPU_BLOCK
    step = max(1, size // (x.shape[1] * x.shape[2] * x.shape[3] or 1))
    for start in range(0, x.shape[0], step):
        yield slice(start, start + step)


def _layout(x: Tensor) -> torch.memory_format:
    """The layout of the result: that of x where x is dense, else contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _empty_results(x: Tensor, *_) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=_layout(x))
    mean, var = (x.new_empty(x.shape[:2], dtype=sum_dtype(x)) for _ in range(2))
    return y, mean, var


# --- the operator: CUDA kernel or PyTorch form, shapes for tracing, autograd --------------------------------

_VECTORS = "Tensor reference_mean, Tensor reference_var, Tensor weight, Tensor bias"
_NUMBERS = "int reference_size, float eps, float negative_slope"


def _run(x, *others):
    if kernels := kernels_for(x):
        return kernels.virtual_batch_norm(x.contiguous(memory_format=_layout(x)), *others)
    return forward(x, *others)


def _save(ctx, inputs, output) -> None:
    _, mean, var = output
    ctx.mark_non_differentiable(mean, var)
    ctx.save_for_backward(*inputs[:5], mean, var)
    ctx.numbers = inputs[5:]


def _differentiate(ctx, grad, *_):
    gradients = torch.ops.gan_ref.virtual_batch_norm_backward(grad, *ctx.saved_tensors, *ctx.numbers)
    return *gradients, None, None, None


def _run_backward(grad, x, *others):
    if kernels := kernels_for(x):
        grad, x = (t.contiguous(memory_format=_layout(x)) for t in (grad, x))
        return kernels.virtual_batch_norm_backward(grad, x, *others)
    return backward(grad, x, *others)


def _backward_shapes(grad, x, *others):
    return torch.empty_like(x, memory_format=_layout(x)), *map(torch.empty_like, others[:4])


def _save_backward(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.numbers = inputs[8:]


def _differentiate_backward(ctx, *cotangents):
    """By nested vector-Jacobian products of the plain form, in which the example's statistics depend on x."""

    def first_derivative(grad, *inputs):
        return torch.func.vjp(lambda *tensors: plain(*tensors, *ctx.numbers), *inputs)[1](grad)

    gradients = torch.func.vjp(first_derivative, *ctx.saved_tensors)[1](cotangents)
    return *gradients, None, None, None, None, None


register(
    "virtual_batch_norm",
    f"(Tensor x, {_VECTORS}, {_NUMBERS}) -> (Tensor y, Tensor mean, Tensor var)",
    run=_run,
    shapes=_empty_results,
    save=_save,
    differentiate=_differentiate,
)
register(
    "virtual_batch_norm_backward",
    f"(Tensor grad, Tensor x, {_VECTORS}, Tensor mean, Tensor var, {_NUMBERS}) -> (Tensor grad_x, "
    "Tensor grad_reference_mean, Tensor grad_reference_var, Tensor grad_weight, Tensor grad_bias)",
    run=_run_backward,
    shapes=_backward_shapes,
    save=_save_backward,
    differentiate=_differentiate_backward,
)
