"""Four games small enough to see whole, under the ways of playing that have been proposed for GANs.

    python -m gan_ref.games --out DIR [--steps N] [--lr η] [--seed N]

A game is one function V(θ, ψ): the generator θ minimises it, the discriminator ψ maximises it. What makes a
GAN hard to train is already there: gradient steps turn around the equilibrium instead of going to it
(Mescheder, Nowozin & Geiger 2017, "The Numerics of GANs"; Mescheder, Geiger & Nowozin 2018, "Which Training
Methods for GANs do actually Converge?"). A way of playing is one function ``step(game, θ, ψ, η)``, a few
lines, with its equation. DIR gets games.gif, games.txt and games.json: the picture, and its distances.

Throughout, θ and ψ are (S, d) in float64, S starting points that move at once; V is (S,); η is the rate; and
v(θ, ψ) = (−∂V/∂θ, ∂V/∂ψ) is the field that a player who only looks at his own gradient follows.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field as default
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm import tqdm

from gan_ref.errors import Parser, UserError, command

Loss = Callable[[Tensor, Tensor], Tensor]

# ------------------------------------------------------------------------------------------------ games


def point(θ: Tensor, ψ: Tensor) -> Tensor:
    """V = ψ·(x* − θ): real data are one point x* of the plane, a fake is the point θ, and D(x) = ψ·x.

    The Wasserstein objective of a linear critic (Arjovsky et al. 2017). θ follows ψ, ψ turns towards x* − θ:
    a frictionless spring, so v leads round the equilibrium (x*, 0) at constant ‖θ − x*‖² + ‖ψ‖².
    """
    return (ψ * (DATA - θ)).sum(-1)


def bilinear(x: Tensor, y: Tensor) -> Tensor:
    """V = x·y, min over x, max over y: the smallest game whose equilibrium, (0, 0), repels plain descent."""
    return (x * y).sum(-1)


def dirac(θ: Tensor, ψ: Tensor) -> Tensor:
    """V = f(ψθ) + f(0), f(t) = −log(1 + e⁻ᵗ): the Dirac-GAN (Mescheder et al. 2018, §2), minimax.

    Data δ₀, generator δ_θ, D(x) = ψx. v = f′(ψθ)·(−ψ, θ) has the eigenvalues ±f′(0)i = ±i/2 at (0, 0) and
    keeps θ² + ψ² everywhere: the flow circles for ever.
    """
    return (logsigmoid(ψ * θ) + logsigmoid(torch.zeros_like(θ))).sum(-1)


def dirac_wasserstein(θ: Tensor, ψ: Tensor) -> Tensor:
    """V = ψθ: the Dirac-GAN with f(t) = t, which makes it a WGAN (Mescheder et al. 2018, §3)."""
    return (ψ * θ).sum(-1)


def dirac_blurred(θ: Tensor, ψ: Tensor, σ: float = 0.7) -> Tensor:
    """V = E f(ψ(θ + ε)) + E f(−ψε′), ε, ε′ ~ N(0, σ²): the Dirac-GAN with noise on reals and fakes.

    The expectations are Gauss–Hermite sums, exact to rounding here, so that the play stays deterministic.
    Eigenvalues f″(0)σ² ± √(f″(0)²σ⁴ − f′(0)²), real part −σ²/4 (Mescheder et al. 2018, §3).
    """
    ε = σ * NODES  # (32,)
    return ((logsigmoid(ψ * (θ + ε)) + logsigmoid(-ψ * ε)) * WEIGHTS).sum(-1)


def rock_paper_scissors(θ: Tensor, ψ: Tensor) -> Tensor:
    """V = pᵀAq, p = softmax(θ), q = softmax(ψ), A_ij what playing j wins against i, stakes of 3.

    The only equilibrium is uniform play by both. There the field's eigenvalues are ±i/√3 (A's singular value
    3√3 through two softmax Jacobians I/3): paper chases rock, scissors chase paper, and so round. The stake
    of 3 makes that about as fast as the Dirac-GAN.
    """
    return torch.einsum("...i,ij,...j->...", θ.softmax(-1), PAYOFF, ψ.softmax(-1))


DATA = torch.tensor([0.5, 0.5], dtype=torch.float64)
PAYOFF = 3 * torch.tensor([[0.0, 1, -1], [-1, 0, 1], [1, -1, 0]], dtype=torch.float64)
NODES, WEIGHTS = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(32))
WEIGHTS = WEIGHTS / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Game:
    """A loss, where it starts and ends, and which ways of playing say nothing about it."""

    name: str
    formula: str
    loss: Loss
    equilibrium: tuple[Sequence[float], Sequence[float]]  # of θ and ψ, or of the strategies played with them
    wasserstein: Loss | None = None  # the same game with f(t) = t, where there is a D over data
    blurred: Loss | None = None  # the same game with noise on reals and fakes
    blank: dict[str, str] = default(default_factory=dict)  # the dynamics left out: why
    mixed: bool = False  # θ and ψ are logits of mixed strategies

    def distance(self, θ: Tensor, ψ: Tensor) -> Tensor:
        """(…,): Euclidean distance of (…, d) parameters, or the strategies they mean, to the equilibrium."""
        θ, ψ = (θ.softmax(-1), ψ.softmax(-1)) if self.mixed else (θ, ψ)
        here, there = torch.cat([θ, ψ], -1), torch.cat([torch.tensor(x).to(θ) for x in self.equilibrium])
        return (here - there).norm(dim=-1)

    def starts(self, radii: Sequence[float], seed: int) -> tuple[Tensor, Tensor]:
        """(S, d) and (S, d): a start in a random direction at each of S distances from the equilibrium."""
        generator = torch.Generator().manual_seed(seed)
        dim = len(self.equilibrium[0])
        away = torch.randn(len(radii), 2, dim, generator=generator, dtype=torch.float64)
        if self.mixed:  # logits differ only by their differences
            away = away - away.mean(-1, keepdim=True)
        away = away / away.norm(dim=(1, 2), keepdim=True) * torch.tensor(radii).to(away)[:, None, None]
        θ, ψ = away.unbind(1)
        if self.mixed:  # a logit of 1 is only a small lean
            return 1.5 * θ, 1.5 * ψ
        return θ + torch.tensor(self.equilibrium[0]).to(θ), ψ + torch.tensor(self.equilibrium[1]).to(ψ)


NO_DATA = "no data and no D(x) to clip, penalise or blur"
NEED_DATA = "WGAN", "WGAN-GP", "instance noise", "R1"

GAMES = (
    Game(
        "a point and a linear critic",
        "V = ψ·(x* − θ)",
        point,
        equilibrium=(DATA.tolist(), (0.0, 0.0)),
        wasserstein=point,
        blank={"instance noise": "noise of mean 0 cancels in a linear score"},
    ),
    Game(
        "Dirac-GAN",
        "V = f(ψθ) + f(0)",
        dirac,
        equilibrium=((0.0,), (0.0,)),
        wasserstein=dirac_wasserstein,
        blurred=dirac_blurred,
    ),
    Game(
        "bilinear",
        "V = xy",
        bilinear,
        equilibrium=((0.0,), (0.0,)),
        blank=dict.fromkeys(NEED_DATA, NO_DATA),
    ),
    Game(
        "rock–paper–scissors",
        "V = pᵀAq",
        rock_paper_scissors,
        equilibrium=((1 / 3,) * 3, (1 / 3,) * 3),
        blank=dict.fromkeys(NEED_DATA, NO_DATA),
        mixed=True,
    ),
)

# --------------------------------------------------------------------------------------------- dynamics


def field(loss: Loss, θ: Tensor, ψ: Tensor, differentiable: bool = False) -> tuple[Tensor, Tensor]:
    """v = (−∂V/∂θ, ∂V/∂ψ); ``differentiable`` keeps the graph, and then θ and ψ must require gradients."""
    if not differentiable:
        θ, ψ = _leaves(θ, ψ)
    d_θ, d_ψ = torch.autograd.grad(loss(θ, ψ).sum(), (θ, ψ), create_graph=differentiable)
    return -d_θ, d_ψ


def _leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().requires_grad_() for tensor in tensors)


def simultaneous(game: Game, θ: Tensor, ψ: Tensor, η: float) -> tuple[Tensor, Tensor]:
    """(θ, ψ) ← (θ, ψ) + η v(θ, ψ): both players move at once (Goodfellow et al. 2014, taken literally).

    An eigenvalue ±si of v becomes 1 ± ηsi, longer than 1. So the distance grows, on the bilinear game by
    exactly √(1 + η²) a step, on the Dirac-GAN by √(1 + η²f′(ψθ)²) (Mescheder et al. 2018, §2).
    """
    v_θ, v_ψ = field(game.loss, θ, ψ)
    return θ + η * v_θ, ψ + η * v_ψ


def alternating(game: Game, θ: Tensor, ψ: Tensor, η: float) -> tuple[Tensor, Tensor]:
    """ψ ← ψ + η ∂V/∂ψ(θ, ψ), then θ ← θ − η ∂V/∂θ(θ, ψ) with the new ψ.

    Symplectic Euler: eigenvalues of length 1 for η < 2/s (Mescheder et al. 2018, §2). The bilinear game
    keeps x² + y² + ηxy exactly and so stays on an ellipse: bounded, and no nearer.
    """
    ψ = ψ + η * field(game.loss, θ, ψ)[1]
    return θ + η * field(game.loss, θ, ψ)[0], ψ


def unrolled(game: Game, θ: Tensor, ψ: Tensor, η: float, k: int = 5) -> tuple[Tensor, Tensor]:
    """θ ← θ − η d/dθ V(θ, ψ_k(θ)), ψ ← ψ + η ∂V/∂ψ: G looks k of D's steps ahead (Metz et al. 2017, §2.2).

    ψ₀ = ψ, ψ_{i+1} = ψ_i + η ∂V/∂ψ(θ, ψ_i), and the derivative goes through all k steps. On the bilinear game
    ψ_k = y + kηx, so x is pulled in by 2kηx and a step shrinks the distance by √(1 − (2k − 1)η²).
    """
    θ, ψ = ψ_0 = _leaves(θ, ψ)
    ψ_k = ψ
    for _ in range(k):
        ψ_k = ψ_k + η * field(game.loss, θ, ψ_k, differentiable=True)[1]
    (d_θ,) = torch.autograd.grad(game.loss(θ, ψ_k).sum(), θ)
    return (θ - η * d_θ).detach(), (ψ + η * field(game.loss, *ψ_0)[1]).detach()


def consensus(game: Game, θ: Tensor, ψ: Tensor, η: float, γ: float = 0.5) -> tuple[Tensor, Tensor]:
    """(θ, ψ) ← (θ, ψ) + η (v − γ ∇½‖v‖²) (Mescheder et al. 2017, §4): both also make the field small.

    ∇½‖v‖² = v′ᵀv, so an eigenvalue ±si gains the real part −γs²: a step multiplies the bilinear game's
    distance by √((1 − ηγ)² + η²), less than 1 once γ > η(1 + γ²)/2.
    """
    θ, ψ = _leaves(θ, ψ)
    v_θ, v_ψ = field(game.loss, θ, ψ, differentiable=True)
    g_θ, g_ψ = torch.autograd.grad((v_θ.square().sum() + v_ψ.square().sum()) / 2, (θ, ψ))
    return (θ + η * (v_θ - γ * g_θ)).detach(), (ψ + η * (v_ψ - γ * g_ψ)).detach()


def wgan(
    game: Game, θ: Tensor, ψ: Tensor, η: float, c: float = 0.5, critic_steps: int = 5
) -> tuple[Tensor, Tensor]:
    """Five times ψ ← clamp(ψ + η ∂V/∂ψ, −c, c), then θ ← θ − η ∂V/∂θ (Arjovsky et al. 2017); f(t) = t.

    Plain steps for the paper's RMSProp. Clipping bounds how fast θ moves; within the box it changes nothing,
    and any fixed number of critic steps circles (Mescheder et al. 2018, §3).
    """
    for _ in range(critic_steps):
        ψ = (ψ + η * field(game.wasserstein, θ, ψ)[1]).clamp(-c, c)
    return θ + η * field(game.wasserstein, θ, ψ)[0], ψ


def wgan_gp(
    game: Game, θ: Tensor, ψ: Tensor, η: float, λ: float = 0.2, critic_steps: int = 5
) -> tuple[Tensor, Tensor]:
    """Five times ψ ← ψ + η ∂/∂ψ [V − λ(‖∇ₓD‖ − 1)²], then θ ← θ − η ∂V/∂θ (Gulrajani et al. 2017, §4).

    D(x) = ψ·x has the gradient ψ everywhere. The penalty wants slope 1 where the equilibrium has slope 0, so
    with fixed rates this never converges (Mescheder et al. 2018, §3): the point of the plane orbits the data,
    that of the Dirac-GAN goes to and fro. The paper's λ = 10 needs η < 0.1 to be stable, and from λ ≈ 0.45 on
    the Dirac-GAN stalls off the data, at θ = ±2λ.
    """

    def penalised(θ: Tensor, ψ: Tensor) -> Tensor:
        return game.wasserstein(θ, ψ) - λ * (ψ.norm(dim=-1) - 1) ** 2

    for _ in range(critic_steps):
        ψ = ψ + η * field(penalised, θ, ψ)[1]
    return θ + η * field(game.wasserstein, θ, ψ)[0], ψ


def instance_noise(game: Game, θ: Tensor, ψ: Tensor, η: float) -> tuple[Tensor, Tensor]:
    """(θ, ψ) ← (θ, ψ) + η v_σ(θ, ψ), v_σ the field of the game on blurred data (Sønderby et al. 2016).

    The noise makes V strictly concave in ψ, a friction on D: converges (Mescheder et al. 2018, §3). σ is
    constant here; in a real training it is annealed to 0.
    """
    v_θ, v_ψ = field(game.blurred, θ, ψ)
    return θ + η * v_θ, ψ + η * v_ψ


def r1(game: Game, θ: Tensor, ψ: Tensor, η: float, γ: float = 0.3) -> tuple[Tensor, Tensor]:
    """θ ← θ − η ∂V/∂θ, ψ ← ψ + η ∂/∂ψ [V − γ/2 E‖∇ₓD‖²] on the reals (Mescheder et al. 2018, §4.1).

    ∇ₓD = ψ, so D feels the friction −γψ: eigenvalues −γ/2 ± √(γ²/4 − f′(0)²), and the game converges.
    """
    v_θ, v_ψ = field(lambda θ, ψ: game.loss(θ, ψ) - γ / 2 * ψ.square().sum(-1), θ, ψ)
    return θ + η * v_θ, ψ + η * v_ψ


DYNAMICS = {
    "simultaneous": simultaneous,
    "alternating": alternating,
    "unrolled": unrolled,
    "consensus": consensus,
    "WGAN": wgan,
    "WGAN-GP": wgan_gp,
    "instance noise": instance_noise,
    "R1": r1,
}

# ------------------------------------------------------------------------------------------------- play


@dataclass(frozen=True)
class Play:
    """One game played one way: where it went, how far that was from the equilibrium, and the verdict."""

    game: Game
    dynamics: str
    θ: Tensor  # (steps + 1, S, d)
    ψ: Tensor  # (steps + 1, S, d)
    distance: np.ndarray  # (steps + 1,), the mean over the S starts; inf once the numbers overflow
    verdict: str


def play(
    game: Game, dynamics: str, steps: int, η: float, radii: Sequence[float] = (1.0, 0.7, 0.4), seed: int = 0
) -> Play:
    """Advance all starts together for ``steps`` steps. Raises KeyError for unknown dynamics."""
    step = DYNAMICS[dynamics]
    path = [game.starts(radii, seed)]
    for _ in range(steps):
        path.append(step(game, *path[-1], η))
    θ, ψ = (torch.stack(states) for states in zip(*path))
    distance = np.nan_to_num(game.distance(θ, ψ).mean(-1).numpy(), nan=np.inf)
    return Play(game, dynamics, θ, ψ, distance, judge(distance, η))


def judge(distance: np.ndarray, η: float) -> str:
    """Say "converges", "circles" or "diverges" by the largest distances in the last two quarters.

    The slowest games here turn by about η/2 a step, so a quarter must last 2π/(η/2) steps to hold a whole
    turn; a shorter run is "too short" to be judged, unless it has already gone a million times in or out.
    """
    quarter = len(distance) // 4
    if not distance[-1] < 1e6 * distance[0]:
        return "diverges"
    if distance[-1] < 1e-6 * distance[0]:
        return "converges"
    if quarter * η < 4 * math.pi:
        return "too short"
    growth = distance[-quarter:].max() / distance[-2 * quarter : -quarter].max()
    return "diverges" if growth > 1.1 else "converges" if growth < 0.9 else "circles"

# ---------------------------------------------------------------------------------------------- picture

PANEL, GAP, MARGIN, ROW, TOP = 128, 10, 24, 200, 66  # pixels
SPAN = 1.6  # a panel shows this far from the equilibrium on each side
TAIL = 60  # steps
COLOURS = {"converges": "#1f6fb4", "circles": "#c98a12", "diverges": "#c8402f", "too short": "#6b6b6b"}
INK, QUIET = "#2b2b2b", "#8a8a8a"
CORNERS = np.array([[-1.0, -0.75], [1.0, -0.75], [0.0, 0.982]])  # rock, paper, scissors, in panel units


def place(game: Game, θ: Tensor, ψ: Tensor) -> np.ndarray:
    """(…, d) and (…, d) → (…, 2): where a state stands in its panel, in half panels from the middle.

    Scalars are drawn as the plane (θ, ψ), the point game as its plane of data, by θ, and mixed strategies as
    the triangle of p = softmax(θ).
    """
    if game.mixed:
        return θ.softmax(-1).numpy() @ CORNERS
    states = [θ, ψ] if θ.shape[-1] == 1 else [θ]
    centre = np.concatenate([np.asarray(x) for x in game.equilibrium[: len(states)]])
    return (torch.cat(states, -1).numpy() - centre) / SPAN


def lattice(game: Game, ψ: Tensor) -> tuple[Tensor, Tensor]:
    """The states (M, d), (M, d) at which a panel shows the direction of a step.

    Where the panel does not show ψ, the present one (d,) is taken, and so the needles turn with it.
    """
    if game.mixed:
        weights = [(i, j, 9 - i - j) for i in range(1, 8) for j in range(1, 9 - i)]
        θ = torch.tensor(weights, dtype=torch.float64).log()
        return θ, ψ.expand_as(θ)
    ticks = torch.linspace(-0.84, 0.84, 7, dtype=torch.float64) * SPAN
    grid = torch.cartesian_prod(ticks, ticks)
    if ψ.shape[-1] == 1:
        return grid[:, :1], grid[:, 1:]
    return grid + torch.tensor(game.equilibrium[0]), ψ.expand_as(grid)


def needles(play: Play, ψ: Tensor, η: float) -> np.ndarray:
    """(M, 3, 2) thin triangles in panel units that point where one step from each lattice point leads."""
    θ, ψ = lattice(play.game, ψ)
    base = place(play.game, θ, ψ)
    way = (place(play.game, *DYNAMICS[play.dynamics](play.game, θ, ψ, η)) - base) / η
    speed = np.linalg.norm(way, axis=-1, keepdims=True)
    across = 0.022 * way[:, ::-1] * [-1, 1] / (speed + 1e-12)
    way = 0.12 * way / (speed + 0.25)  # a long needle must not hide its neighbours
    return np.stack([base - way + across, base - way - across, base + way], 1)


def mix(colour: str, share: np.ndarray | float) -> np.ndarray:
    """``share`` (…) of a colour on white, (…, 3). Opaque mixtures keep the GIF's palette small."""
    from matplotlib.colors import to_rgb

    return 1 - np.asarray(share)[..., None] * (1 - np.array(to_rgb(colour)))


@np.errstate(over="ignore", invalid="ignore")  # a play may overflow; it has long left its panel
def draw(plays: Sequence[Play], η: float, path: Path, frames: int = 120, quiet: bool = True) -> None:
    """Write the GIF: a row a game, a column a way of playing, all advancing together.

    Text, outlines and fixed needles are drawn once; a frame adds the newest piece of each path to that
    background and then, for itself alone, the tails, the heads and the needles that turn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import CircleCollection, LineCollection, PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform
    from PIL import Image

    width = 2 * MARGIN + len(DYNAMICS) * (PANEL + GAP) - GAP
    height = TOP + len(GAMES) * ROW
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    corner = {  # (game, dynamics) → the lower left of its panel
        (game.name, name): np.array([MARGIN + i * (PANEL + GAP), height - TOP - j * ROW - 40 - PANEL])
        for j, game in enumerate(GAMES)
        for i, name in enumerate(DYNAMICS)
    }

    def pixels(play: Play, where: np.ndarray) -> np.ndarray:
        return corner[play.game.name, play.dynamics] + PANEL / 2 * (1 + where)

    paths, visible, still, turning = [], [], [], []
    for each in plays:
        turns = each.θ.shape[-1] > 1
        shown = 1 if turns else each.θ.shape[1]  # needles that turn belong to one start only
        where = place(each.game, each.θ[:, :shown], each.ψ[:, :shown])  # (steps + 1, shown, 2)
        where[~(np.abs(where).max(-1) < 0.98)] = np.nan  # outside its panel
        paths.append(pixels(each, where))
        (turning if turns else still).append(each)
        visible += [each] * shown
    paths = np.concatenate(paths, 1)  # (steps + 1, curves, 2)

    _furniture(figure, corner, plays, width, height)

    def arrows(which: Sequence[Play], t: int) -> PolyCollection:
        triangles = [pixels(each, needles(each, each.ψ[t, 0], η)) for each in which]
        tints = [mix(COLOURS[each.verdict], np.full(len(some), 0.33)) for each, some in zip(which, triangles)]
        triangles, tints = np.concatenate(triangles), np.concatenate(tints)
        return PolyCollection(triangles, facecolors=tints, transform=None, lw=0)

    if still:
        figure.add_artist(arrows(still, 0))
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)

    def paint(artist) -> None:
        artist.set_figure(figure)
        artist.draw(canvas.get_renderer())

    steps = len(paths) - 1
    times = np.unique(np.linspace(0, steps, min(frames, steps + 1)).round().astype(int))
    clock = figure.text((width - MARGIN) / width, 1 - 30 / height, "", ha="right", fontsize=11, color=INK)
    images, before = [], 0
    for t in tqdm(times, "drawing", unit="frame", leave=False, disable=quiet):
        canvas.restore_region(background)
        new = [paths[before : t + 1, i] for i in range(paths.shape[1])]
        faint = [mix(COLOURS[each.verdict], 0.45) for each in visible]
        paint(LineCollection(new, colors=faint, lw=0.9, transform=None))
        background, before = canvas.copy_from_bbox(figure.bbox), t

        if turning:
            paint(arrows(turning, t))
        first = max(0, t - TAIL)
        tail = np.stack([paths[first:t], paths[first + 1 : t + 1]], 2).swapaxes(0, 1)  # (curves, T, 2, 2)
        fade = 0.45 + 0.55 * np.linspace(0, 1, t - first + 1)[1:]
        tints = np.stack([mix(COLOURS[each.verdict], fade) for each in visible])
        paint(LineCollection(tail.reshape(-1, 2, 2), colors=tints.reshape(-1, 3), lw=1.8, transform=None))
        heads = np.isfinite(paths[t]).all(-1)
        bright = [COLOURS[each.verdict] for each, seen in zip(visible, heads) if seen]
        dots = CircleCollection([26], offsets=paths[t, heads], facecolors=bright, edgecolors="white", lw=0.8)
        dots.set_transform(IdentityTransform())
        paint(dots)
        clock.set_text(f"step {t} of {steps}")
        paint(clock)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))

    shades = [mix(INK, k / 23) for k in range(24)]
    shades += [mix(colour, k / 24) for colour in COLOURS.values() for k in range(1, 25)]
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * np.array(shades)).round().astype(np.uint8).tobytes())
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [70] * (len(images) - 1) + [2500]  # ms
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)


LEGEND = """Each dot is a pair of players, its tail their last 60 steps, the thin line all of them.
The + is the equilibrium. The needles point where one step would lead, now and here.
Below a panel: the distance to the equilibrium at the end, mean of three starts;
where the needles turn with the other player, one of the three is drawn.

Point: the plane of the data; the point θ is drawn and the critic ψ turns the needles.
Dirac-GAN, bilinear: θ or x to the right, ψ or y up.
Rock–paper–scissors: the generator's mixture; rock left, paper right, scissors on top."""


def _furniture(figure, corner: dict, plays: Sequence[Play], width: int, height: int) -> None:
    """Everything in the picture that does not move."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon, Rectangle

    def text(x: float, y: float, words: str, **style) -> None:
        figure.text(x / width, y / height, words, **{"fontsize": 8.5, "color": INK, "va": "baseline"} | style)

    def add(artist, **style) -> None:
        artist.set(transform=None, linewidth=0.8, **style)
        figure.add_artist(artist)

    text(MARGIN, height - 34, "Four small games, eight ways to play them", fontsize=15, weight="bold")
    by_name = {(each.game.name, each.dynamics): each for each in plays}
    for game in GAMES:
        x, y = corner[game.name, "simultaneous"]
        text(x, y + PANEL + 24, game.name, fontsize=11, weight="bold")
        text(x + (PANEL + GAP) * 2, y + PANEL + 24, game.formula, fontsize=10, color=QUIET)
        for name in DYNAMICS:
            x, y = corner[game.name, name]
            middle = x + PANEL / 2, y + PANEL / 2
            if name in game.blank and game.blank[name] != NO_DATA:
                text(x + PANEL / 2, y + PANEL + 6, name, ha="center", color=QUIET)
                text(*middle, textwrap.fill(game.blank[name], 18), ha="center", va="center", color=QUIET)
                add(Rectangle((x, y), PANEL, PANEL), fill=False, edgecolor=mix(INK, 0.2), linestyle="--")
            if (game.name, name) not in by_name:
                continue
            each = by_name[game.name, name]
            colour = COLOURS[each.verdict]
            text(x + PANEL / 2, y + PANEL + 6, name, ha="center")
            end = brief(each.distance[-1])
            text(x + PANEL / 2, y - 14, f"{each.verdict} → {end}", ha="center", color=colour)
            triangle = Polygon(corner[game.name, name] + PANEL / 2 * (1 + CORNERS))
            outline = triangle if game.mixed else Rectangle((x, y), PANEL, PANEL)
            add(outline, facecolor=mix(colour, 0.09), edgecolor=mix(colour, 0.35))
            here = middle[1] + PANEL / 2 * CORNERS.mean(0)[1] * game.mixed
            add(Line2D([middle[0] - 4, middle[0] + 4], [here, here]), color=INK)
            add(Line2D([middle[0], middle[0]], [here - 4, here + 4]), color=INK)

    x, y = corner["bilinear", "WGAN"]
    text(x + GAP, y + PANEL + 6, "How to read it", fontsize=11, weight="bold")
    text(x + GAP, y + PANEL - 8, LEGEND, va="top", linespacing=1.6)
    x, y = corner["rock–paper–scissors", "WGAN"]
    text(x + GAP, y + PANEL + 6, "Left out", fontsize=11, weight="bold")
    why = f"{', '.join(NEED_DATA)} for these two games:\n{NO_DATA}."
    text(x + GAP, y + PANEL - 8, why, va="top", linespacing=1.6)


# ---------------------------------------------------------------------------------------------- command


def brief(number: float) -> str:
    """A distance in at most seven characters."""
    return f"{number:.2f}" if 0.01 <= number < 1000 else f"{number:.0e}"


def table(plays: Sequence[Play], η: float) -> str:
    """The distance to the equilibrium at eight moments of each play, as text, and what is left out."""
    steps = len(plays[0].distance) - 1
    times = np.unique(np.linspace(0, steps, 8).round().astype(int))
    starts = plays[0].θ.shape[1]
    lines = [f"distance to the equilibrium (mean of {starts} starts) after so many steps at rate {η:g}", ""]
    lines += [f"{'game':29}{'dynamics':16}" + "".join(f"{t:>9}" for t in times) + "   verdict"]
    for each in plays:
        numbers = "".join(f"{brief(each.distance[t]):>9}" for t in times)
        lines.append(f"{each.game.name:29}{each.dynamics:16}{numbers}   {each.verdict}")
    lines += ["", "left out"]
    lines += [f"{game.name:29}{name:16}  {why}" for game in GAMES for name, why in game.blank.items()]
    return "\n".join(lines) + "\n"


def report(plays: Sequence[Play], η: float, seed: int) -> dict:
    """The same as data, at up to 201 moments. A distance that overflowed is null: JSON has no infinity."""
    steps = len(plays[0].distance) - 1
    times = np.unique(np.linspace(0, steps, 201).round().astype(int))
    return {
        "steps": steps,
        "lr": η,
        "seed": seed,
        "at": times.tolist(),
        "plays": [
            {
                "game": each.game.name,
                "dynamics": each.dynamics,
                "verdict": each.verdict,
                "distance": [float(f"{d:.6g}") if np.isfinite(d) else None for d in each.distance[times]],
            }
            for each in plays
        ],
        "left_out": [
            {"game": game.name, "dynamics": name, "why": why}
            for game in GAMES
            for name, why in game.blank.items()
        ],
    }


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    parser = Parser(
        prog="python -m gan_ref.games",
        description="Play four small games under eight dynamics; write games.gif, games.txt and games.json.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to, made if missing")
    add("--steps", type=int, default=600, metavar="N", help="steps of each play [600]")
    add("--lr", type=float, default=0.1, metavar="η", help="rate of both players [0.1]")
    add("--seed", type=int, default=3, metavar="N", help="of the starting points [3]")
    args = parser.parse_args(argv)
    if not 1 <= args.steps <= 20_000:
        raise UserError(f"--steps {args.steps}: give a number from 1 to 20000")
    if not 0 < args.lr <= 1:
        raise UserError(f"--lr {args.lr:g}: give a rate above 0 and at most 1; 0.1 shows the games best")
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed}: give a whole number from 0 to 2^63 − 1")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file: name a folder")

    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out, prefix=".games-") as unfinished:
        pairs = [(game, name) for game in GAMES for name in DYNAMICS if name not in game.blank]
        quiet = not sys.stderr.isatty()
        plays = [
            play(game, name, args.steps, args.lr, seed=args.seed)
            for game, name in tqdm(pairs, "playing", unit="game", leave=False, disable=quiet)
        ]
        text = table(plays, args.lr)
        Path(unfinished, "games.txt").write_text(text, encoding="utf-8")
        Path(unfinished, "games.json").write_text(json.dumps(report(plays, args.lr, args.seed)) + "\n")
        draw(plays, args.lr, Path(unfinished, "games.gif"), quiet=quiet)
        for name in ("games.txt", "games.json", "games.gif"):
            os.replace(Path(unfinished, name), args.out / name)
    print(f"{text}\nwrote games.gif, games.txt and games.json to {args.out}")


if __name__ == "__main__":
    sys.exit(main())
