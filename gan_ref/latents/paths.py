"""Closed curves z(t) in latent space, t in [0, 1): the walks that movies show.

Frame n of N shows t = n/N. The first frame is not repeated at the end, so the step from the last frame to the
first is a step like any other. A path maps instants t (T,) to points (T, Z) with Z = latent_dim, and many
paths at once to (…, T, Z).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ref.seeds import mix_seed

PATHS = ("slerp", "linear", "circle", "dimension")
CHUNK = 16  # frames whose z exist at one time


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight line (1 − t)·a + t·b."""
    return torch.lerp(a, b, t[..., None])


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Turn from a to b at constant angular speed, the norm going linearly (Shoemake 1985; White 2016, §2.1).

        z(t) = ((1 − t)·‖a‖ + t·‖b‖) · (cos(tθ)·e₁ + sin(tθ)·e₂)

    with e₁ = a/‖a‖, e₂ the part of b perpendicular to a, normalised, and θ the angle between a and b. It is
    Shoemake's (sin((1 − t)θ)·a + sin(tθ)·b)/sin θ on the sphere, without the division that fails when a and b
    are parallel. A straight line between two samples of N(0, I) would pass nearer the origin than G ever saw
    in training: in 100 dimensions a sample's norm is 10 ± 0.7, and half-way along the line it is about 7.
    """
    e1, e2, angle = _plane(a, b)
    norm = torch.lerp(a.norm(dim=-1), b.norm(dim=-1), t)
    return norm[..., None] * _turn(e1, e2, angle * t)


def through(keyframes: Tensor, segment: Callable[[Tensor, Tensor, Tensor], Tensor], t: Tensor) -> Tensor:
    """Visit keyframes (…, K, Z) in order and return to the first, each segment a lerp or slerp: (…, T, Z)."""
    position = t * keyframes.shape[-2]
    k = position.long()
    return segment(keyframes[..., k, :], keyframes.roll(-1, dims=-2)[..., k, :], position - k)


def circle(u: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """The great circle through u towards v: z(t) = cos(2πt)·u + sin(2πt)·w, (…, Z) → (…, T, Z).

    w ⟂ u lies in the plane of u and v, and ‖w‖ = ‖u‖: the norm never changes.
    """
    e1, e2, _ = _plane(u[..., None, :], v[..., None, :])
    return u.norm(dim=-1)[..., None, None] * _turn(e1, e2, 2 * math.pi * t)


def sweep(base: Tensor, index: int, low: float, high: float, t: Tensor) -> Tensor:
    """One coordinate swept, the others held: z_index(t) = (low + high)/2 − (high − low)/2 · cos(2πt).

    It goes from low (t = 0) to high (t = ½) and back, slower near both ends. (Z,) → (T, Z).
    """
    z = base.repeat(len(t), 1)
    z[:, index] = (low + high) / 2 - (high - low) / 2 * torch.cos(2 * math.pi * t)
    return z


def _turn(e1: Tensor, e2: Tensor, angle: Tensor) -> Tensor:
    return angle.cos()[..., None] * e1 + angle.sin()[..., None] * e2


def _plane(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Orthonormal e₁, e₂ (…, Z) that span a and b, and the angle (…) from a to b in [0, π]."""
    e1, to = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    along = (e1 * to).sum(dim=-1, keepdim=True)
    across = to - along * e1
    size = across.norm(dim=-1, keepdim=True)
    axis = F.one_hot(e1.abs().argmin(dim=-1), e1.shape[-1]).to(e1)  # the one farthest from a
    free = axis - (axis * e1).sum(dim=-1, keepdim=True) * e1
    e2 = torch.where(size < 1e-7, free, across)  # if a and b are parallel or opposite, any plane will do
    return e1, F.normalize(e2, dim=-1), torch.atan2(size, along)[..., 0]


def walks(
    path: str,
    latent_dim: int,
    rows: int,
    columns: int,
    seed: int = 0,
    keyframes: int = 6,
    dimensions: Sequence[int] = (),
    span: tuple[float, float] = (-3.0, 3.0),
) -> Callable[[Tensor], Tensor]:
    """W = rows·columns independent walks from one seed, as a function of t (T,) → z (T, W, latent_dim).

    What a walk passes through is drawn from N(0, I), one walk after the other, in float64. On a ``dimension``
    path row r sweeps dimensions[r], and the rows of a column share their base.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, "walk"))

    def normal(n: int) -> Tensor:
        return torch.randn(n, latent_dim, generator=generator, dtype=torch.float64)

    if path == "dimension":
        bases = normal(columns)
        return lambda t: torch.stack([sweep(base, i, *span, t) for i in dimensions for base in bases], dim=1)
    stops = torch.stack([normal(2 if path == "circle" else keyframes) for _ in range(rows * columns)])
    if path == "circle":
        return lambda t: circle(stops[:, 0], stops[:, 1], t).transpose(0, 1)
    segment = {"slerp": slerp, "linear": lerp}[path]
    return lambda t: through(stops, segment, t).transpose(0, 1)


def frame_latents(walk: Callable[[Tensor], Tensor], frames: int, start: int = 0) -> Iterator[Tensor]:
    """The z of frames start, …, frames − 1 of a loop, a few frames at a time: (n·W, latent_dim) float32."""
    for first in range(start, frames, CHUNK):
        t = torch.arange(first, min(first + CHUNK, frames), dtype=torch.float64) % frames / frames
        yield walk(t).flatten(0, 1).float()
