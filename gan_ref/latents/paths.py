"""Curves z(t) in latent space, t in [0, 1]: the walks that movies show.

Every walk goes through stops: numbered or chosen z, four points of a great circle, the ends of a sweep.
It is a loop unless it is asked to end at its last stop. Frame n of a loop of N shows t = n/N: the first frame
is not repeated at the end, so the step from the last frame to the first is a step like any other. Without the
loop it shows t = n/(N − 1). A curve maps instants t (T,) to points (T, Z) with Z = latent_dim.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ref.latents.numbers import numbered_z

SWEEPS = ("dimension", "direction", "component")
PATHS = ("slerp", "linear", "circle", *SWEEPS)
EASES: dict[str, Callable[[Tensor], Tensor]] = {  # share of the way between two stops, u ↦ [0, 1]
    "linear": lambda u: u,
    "smooth": lambda u: (1 - torch.cos(math.pi * u)) / 2,  # slow near both stops
    "hold": lambda u: u.floor(),  # no way at all: one stop after the other
}
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
    turned = (angle * t).cos()[..., None] * e1 + (angle * t).sin()[..., None] * e2
    return norm[..., None] * turned


@dataclass(frozen=True, eq=False)
class Walk:
    """W walks at once, each through K stops of its own: instants t (T,) → z (T, W, Z).

    At each stop a walk stands still for ``hold``, a share of the whole time; the rest is shared equally by
    the segments from stop to stop.
    """

    stops: Tensor  # (W, K, Z) float64
    segment: Callable[[Tensor, Tensor, Tensor], Tensor]  # slerp or lerp
    ease: str = "linear"
    hold: float = 0.0
    loop: bool = True

    def __call__(self, t: Tensor) -> Tensor:
        k, u = self._position(t)
        z = self.segment(self.stops[:, k], self.stops[:, (k + 1) % self.stops.shape[1]], EASES[self.ease](u))
        return z.transpose(0, 1)

    def nearest(self, t: Tensor) -> list[int]:
        """The stop that each walk is nearest to at t (T,): indices from 0 to K − 1."""
        k, u = self._position(t)
        return ((k + EASES[self.ease](u).round().long()) % self.stops.shape[1]).tolist()

    def _position(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The stop behind, (T,), and the share in [0, 1] of the way from there to the next."""
        count = self.stops.shape[1]
        move = (1 - count * self.hold) / (count if self.loop else count - 1)
        period = self.hold + move
        k = (t / period + 1e-9).floor()  # t is rounded, and a stop must not be missed by that
        return k.long(), ((t - k * period - self.hold) / move).clamp(0, 1)


def walks(
    path: str,
    latent_dim: int,
    rows: int,
    columns: int,
    seed: int = 0,
    keyframes: int = 6,
    directions: Tensor | None = None,
    span: tuple[float, float] = (-3.0, 3.0),
    psi: float = 1.0,
    picks: Tensor | None = None,
) -> Walk:
    """W = rows·columns walks. At stop k of slerp and linear, the cells show z number k·W to k·W + W − 1.

    So the stops are the pages of samples, one after the other. A circle goes through z number w towards
    number W + w. In a sweep, row r goes along direction r of ``directions`` (R, Z), unit vectors, and begins
    in column c with z number c. With ``picks`` (K, Z) every cell walks through these instead, each beginning
    at the next. All these z are shortened to psi times their length (the truncation of Brock, Donahue &
    Simonyan 2019, §3.1, and Karras, Laine & Aila 2019, appendix B, whose mean is 0 here).
    """
    count = rows * columns
    if picks is not None:
        stops = torch.stack([picks.double().roll(-w, dims=0) for w in range(count)])
    else:
        each = 1 if directions is not None else 2 if path == "circle" else keyframes
        numbers = range(columns if directions is not None else each * count)
        stops = numbered_z(seed, numbers, latent_dim).double().unflatten(0, (each, -1)).transpose(0, 1)
    stops = psi * stops  # (W, K, Z)
    if path == "circle":
        return Walk(circle(stops[:, 0], stops[:, 1]), slerp)
    if directions is not None:
        return Walk(sweep(stops[:, 0], directions.double(), *span), lerp, "smooth")
    return Walk(stops, {"slerp": slerp, "linear": lerp}[path])


def circle(u: Tensor, v: Tensor) -> Tensor:
    """Four stops u, w, −u, −w of the great circle through u (W, Z) towards v, which slerp joins: (W, 4, Z).

    w ⟂ u lies in the plane of u and v, and ‖w‖ = ‖u‖: the norm never changes.
    """
    _, e2, _ = _plane(u, v)
    w = u.norm(dim=-1, keepdim=True) * e2
    return torch.stack([u, w, -u, -w], dim=1)


def sweep(bases: Tensor, directions: Tensor, low: float, high: float) -> Tensor:
    """The two ends of R sweeps of C bases (C, Z): (R·C, 2, Z), read like a page with a row a direction.

    The component of the base along the direction d (R, Z), a unit vector, is replaced by low and by high.
    """
    rest = bases - (bases @ directions.T).T[..., None] * directions[:, None]  # (R, C, Z)
    ends = [rest + end * directions[:, None] for end in (low, high)]
    return torch.stack(ends, dim=2).flatten(0, 1)


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


def instants(first: int, last: int, frames: int, loop: bool = True) -> Tensor:
    """The t of frames first, …, last − 1; frames before 0 are those at the loop's end, or the first."""
    n = torch.arange(first, last, dtype=torch.float64)
    return n % frames / frames if loop else n.clamp(min=0) / (frames - 1)


def frame_latents(walk: Walk, frames: int, start: int = 0) -> Iterator[Tensor]:
    """The z of frames start, …, frames − 1, a few frames at a time: (n·W, latent_dim) float32."""
    for first in range(start, frames, CHUNK):
        t = instants(first, min(first + CHUNK, frames), frames, walk.loop)
        yield walk(t).flatten(0, 1).float()
