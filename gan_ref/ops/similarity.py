"""How much each sample resembles the others in its batch: the operator behind minibatch discrimination.

Salimans et al. 2016, "Improved Techniques for Training GANs", §3.2. Features f (N, B, C): N samples, B
kernels of C numbers each.

    d_ijb     = Σ_c |f_ibc − f_jbc|                        the L1 distance of two samples under kernel b
    o_ib      = Σ_{j≠i} exp(−d_ijb)                                                               (N, B)
    ∂L/∂f_ibc = −Σ_j (g_ib + g_jb) exp(−d_ijb) sign(f_ibc − f_jbc),   g = ∂L/∂o                (N, B, C)

The CUDA kernel is in csrc/similarity.cuh, and in its plain form in csrc/similarity_plain.cuh.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from gan_ref.ops.extension import kernels_for
from gan_ref.ops.operator import register, require_floating, sum_dtype


def minibatch_l1_similarity(features: Tensor) -> Tensor:
    """``out[i, b] = Σ_{j≠i} exp(−‖features[i, b] − features[j, b]‖₁)``: (N, B, C) → (N, B).

    Salimans et al. 2016, §3.2. The self term is left out: it is the constant 1.

    features: float32, float16, bfloat16 or float64, with any strides. Sums are in float32 (float64 for
    float64), and the result has the type of ``features``; autocast changes nothing. Differentiable twice and
    deterministic. Where two samples have the same coordinate, the derivative of its distance is taken as 0.

    Raises TypeError or ValueError, naming the argument.
    """
    require_floating("features", features)
    if features.dim() != 3 or features.shape[2] == 0:
        raise ValueError(f"features must have the shape (N, B, C), C at least 1, not {tuple(features.shape)}")
    return torch.ops.gan_ref.minibatch_l1_similarity(features)


def plain(features: Tensor) -> Tensor:
    """The definition, as the paper writes it: N²·B·C numbers in memory. The tests compare with it."""
    distances = (features[:, None] - features[None, :]).abs().sum(3)  # (N, N, B)
    others = 1 - torch.eye(len(features), dtype=features.dtype, device=features.device)
    return (torch.exp(-distances) * others[:, :, None]).sum(1)


# --- the PyTorch form ---------------------------------------------------------------------------------------
#
# It never holds the N×N×B distances, but walks over kernels (and, for large batches, rows) in blocks, and
# computes the distances again in the backward. docs/kernels.md has its speed.

# Distances held at once. 2**17 floats stay in a core's L2 cache (measured from 2**14 to 2**18: the fastest);
# a GPU that has to use this form wants few, large launches instead.
CPU_BLOCK, GPU_BLOCK = 2**17, 2**24


def forward(features: Tensor) -> Tensor:
    by_kernel = _by_kernel(features)  # (B, C, N)
    out = by_kernel.new_zeros(by_kernel.shape[0], by_kernel.shape[2])
    for kernels, rows in _blocks(by_kernel):
        out[kernels, rows] = _similarities(by_kernel[kernels], rows).sum(2)
    return out.t().to(features.dtype).contiguous()


def backward(grad: Tensor, features: Tensor) -> Tensor:
    by_kernel = _by_kernel(features)  # (B, C, N)
    grad_by_kernel = grad.t().to(by_kernel.dtype)  # (B, N)
    out = torch.zeros_like(by_kernel)
    for kernels, rows in _blocks(by_kernel):
        f, g = by_kernel[kernels], grad_by_kernel[kernels]
        weights = _similarities(f, rows).mul_(g[:, rows, None] + g[:, None, :])  # (b, rows, N)
        for c in range(f.shape[1]):
            sign = (f[:, c, rows, None] - f[:, c, None, :]).sign_()
            out[kernels, c, rows] = sign.mul_(weights).sum(2).neg_()
    return out.permute(2, 0, 1).to(features.dtype).contiguous()


def second_backward(cotangent: Tensor, grad: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """The derivative of ``(cotangent · backward(grad, features))`` by grad and by features.

    With K_ij = exp(−d_ij), s_ijc = sign(f_ic − f_jc) and q_ij = Σ_c (h_ic − h_jc) s_ijc for the cotangent h:

        ∂/∂g_i  = −Σ_j K_ij q_ij
        ∂/∂f_ic = +Σ_j (g_i + g_j) K_ij q_ij s_ijc

    Out of place throughout, so that autograd can differentiate it once more.
    """
    f_all, h_all = _by_kernel(features), _by_kernel(cotangent)
    g_all = grad.t().to(f_all.dtype)
    by_grad, by_features = [], []
    step, _ = _block_size(f_all)
    for f, h, g in zip(f_all.split(step), h_all.split(step), g_all.split(step)):
        signs = (f[..., :, None] - f[..., None, :]).sign()  # (b, C, N, N)
        distances = ((f[..., :, None] - f[..., None, :]) * signs).sum(1)
        q = ((h[..., :, None] - h[..., None, :]) * signs).sum(1)  # (b, N, N); its diagonal is 0
        kq = torch.exp(-distances) * q
        by_grad.append(-kq.sum(2))
        by_features.append(((kq * (g[:, :, None] + g[:, None, :]))[:, None] * signs).sum(3))
    return torch.cat(by_grad).t().to(grad.dtype), torch.cat(by_features).permute(2, 0, 1).to(features.dtype)


def _by_kernel(features: Tensor) -> Tensor:
    """(N, B, C) → (B, C, N) in the type of the sums: loops over pairs of samples run along memory."""
    return features.permute(1, 2, 0).to(sum_dtype(features)).contiguous()


def _similarities(f: Tensor, rows: slice) -> Tensor:
    """exp(−d) of some rows against all samples, 0 where one meets itself: (b, C, N) → (b, rows, N)."""
    distances = (f[:, 0, rows, None] - f[:, 0, None, :]).abs_()
    for c in range(1, f.shape[1]):
        distances.add_((f[:, c, rows, None] - f[:, c, None, :]).abs_())
    similarities = distances.neg_().exp_()
    similarities.diagonal(rows.start, 1, 2).zero_()
    return similarities


def _blocks(by_kernel: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices over the kernels, and over the rows of their N×N distances, that together cover all of them."""
    b, _, n = by_kernel.shape
    kernels, rows = _block_size(by_kernel)
    for first, start in itertools.product(range(0, b, kernels), range(0, n, rows)):
        yield slice(first, first + kernels), slice(start, start + rows)


def _block_size(by_kernel: Tensor) -> tuple[int, int]:
    """How many kernels, and how many rows of their N×N distances, are computed at once."""
    block, n = CPU_BLOCK if by_kernel.device.type == "cpu" else GPU_BLOCK, max(by_kernel.shape[2], 1)
    return max(1, block // n**2), min(n, max(1, block // n))


# --- the operator: CUDA kernel or PyTorch form, shapes for tracing, autograd --------------------------------

KERNEL_CHANNELS = 64  # the most that the CUDA kernel takes: kMaxChannels in csrc/similarity.cuh


def _run(features: Tensor) -> Tensor:
    kernels = kernels_for(features) if features.shape[2] <= KERNEL_CHANNELS else None
    return kernels.minibatch_l1_similarity(features.contiguous()) if kernels else forward(features)


def _run_backward(grad: Tensor, features: Tensor) -> Tensor:
    kernels = kernels_for(features) if features.shape[2] <= KERNEL_CHANNELS else None
    if kernels:
        return kernels.minibatch_l1_similarity_backward(grad.contiguous(), features.contiguous())
    return backward(grad, features)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, grad: Tensor) -> Tensor:
    return torch.ops.gan_ref.minibatch_l1_similarity_backward(grad, *ctx.saved_tensors)


register(
    "minibatch_l1_similarity",
    "(Tensor features) -> Tensor",
    run=_run,
    shapes=lambda features: features.new_empty(features.shape[:2]),
    save=_save,
    differentiate=_differentiate,
)
register(
    "minibatch_l1_similarity_backward",
    "(Tensor grad, Tensor features) -> Tensor",
    run=_run_backward,
    shapes=lambda grad, features: features.new_empty(features.shape),
    save=_save,
    differentiate=lambda ctx, cotangent: second_backward(cotangent, *ctx.saved_tensors),
)
