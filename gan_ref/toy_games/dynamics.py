"""Four games small enough to see whole, and the ways of playing that have been proposed for GANs.

A game is one function V(θ, ψ): the generator θ minimises it, the discriminator ψ maximises it. What makes a
GAN hard to train is already there: gradient steps turn around the equilibrium instead of going to it
(Mescheder, Nowozin & Geiger 2017, "The Numerics of GANs"; Mescheder, Geiger & Nowozin 2018, "Which Training
Methods for GANs do actually Converge?"). A way of playing is one function ``step(game, θ, ψ, η)``, a few
lines, with its equation. ``python -m gan_ref games`` draws them all.

Throughout, θ and ψ are (S, d) in float64, S starting points that move at once; V is (S,); η is the rate; and
v(θ, ψ) = (−∂V/∂θ, ∂V/∂ψ) is the field that players follow who look only at their own gradient.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Loss = Callable[[Tensor, Tensor], Tensor]  # V(θ, ψ)
State = tuple[Tensor, Tensor]  # (θ, ψ)

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


def undefined(θ: Tensor, ψ: Tensor) -> Tensor:
    """Stands for a loss that a game does not have."""
    raise ValueError("this game has no such loss")


DATA = torch.tensor([0.5, 0.5], dtype=torch.float64)
PAYOFF = 3 * torch.tensor([[0.0, 1, -1], [-1, 0, 1], [1, -1, 0]], dtype=torch.float64)
NODES, WEIGHTS = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(32))
WEIGHTS = WEIGHTS / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class ToyGame:
    """A loss, where it starts and ends, and which ways of playing say nothing about it."""

    name: str
    formula: str
    loss: Loss
    equilibrium: tuple[Sequence[float], Sequence[float]]  # of θ and ψ, or of the strategies played with them
    blank: dict[str, str]  # the dynamics left out → why
    wasserstein: Loss = undefined  # the same game with f(t) = t, if it has a D over data
    blurred: Loss = undefined  # the same game with noise on reals and fakes
    mixed: bool = False  # θ and ψ are logits of mixed strategies

    def distance(self, θ: Tensor, ψ: Tensor) -> Tensor:
        """(…,): Euclidean distance of (…, d) parameters, or the strategies they mean, to the equilibrium."""
        θ, ψ = (θ.softmax(-1), ψ.softmax(-1)) if self.mixed else (θ, ψ)
        here, there = torch.cat([θ, ψ], -1), torch.cat([torch.tensor(x).to(θ) for x in self.equilibrium])
        return (here - there).norm(dim=-1)

    def starts(self, radii: Sequence[float], seed: int) -> State:
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
    ToyGame(
        "a point and a linear critic", "V = ψ·(x* − θ)", point, (DATA.tolist(), (0.0, 0.0)),
        {"instance noise": "noise of mean 0 cancels in a linear score"}, wasserstein=point,
    ),
    ToyGame(
        "Dirac-GAN", "V = f(ψθ) + f(0)", dirac, ((0.0,), (0.0,)), {},
        wasserstein=bilinear, blurred=dirac_blurred,  # f(t) = t makes it V = ψθ (Mescheder et al. 2018, §3)
    ),
    ToyGame("bilinear", "V = xy", bilinear, ((0.0,), (0.0,)), dict.fromkeys(NEED_DATA, NO_DATA)),
    ToyGame(
        "rock–paper–scissors", "V = pᵀAq", rock_paper_scissors, ((1 / 3,) * 3, (1 / 3,) * 3),
        dict.fromkeys(NEED_DATA, NO_DATA), mixed=True,
    ),
)  # fmt: skip

# --------------------------------------------------------------------------------------------- dynamics


def field(loss: Loss, θ: Tensor, ψ: Tensor, differentiable: bool = False) -> State:
    """v = (−∂V/∂θ, ∂V/∂ψ); ``differentiable`` keeps the graph, and then θ and ψ must require gradients."""
    if not differentiable:
        θ, ψ = _leaves(θ, ψ)
    d_θ, d_ψ = torch.autograd.grad(loss(θ, ψ).sum(), (θ, ψ), create_graph=differentiable)
    return -d_θ, d_ψ


def _leaves(θ: Tensor, ψ: Tensor) -> State:
    return θ.detach().requires_grad_(), ψ.detach().requires_grad_()


def simultaneous(game: ToyGame, θ: Tensor, ψ: Tensor, η: float) -> State:
    """(θ, ψ) ← (θ, ψ) + η v(θ, ψ): both players move at once (Goodfellow et al. 2014, taken literally).

    An eigenvalue ±si of v becomes 1 ± ηsi, longer than 1. So the distance grows, on the bilinear game by
    exactly √(1 + η²) a step, on the Dirac-GAN by √(1 + η²f′(ψθ)²) (Mescheder et al. 2018, §2).
    """
    v_θ, v_ψ = field(game.loss, θ, ψ)
    return θ + η * v_θ, ψ + η * v_ψ


def alternating(game: ToyGame, θ: Tensor, ψ: Tensor, η: float) -> State:
    """ψ ← ψ + η ∂V/∂ψ(θ, ψ), then θ ← θ − η ∂V/∂θ(θ, ψ) with the new ψ.

    Symplectic Euler: eigenvalues of length 1 for η < 2/s (Mescheder et al. 2018, §2). The bilinear game
    keeps x² + y² + ηxy exactly, and so it stays on an ellipse: bounded, and no nearer.
    """
    ψ = ψ + η * field(game.loss, θ, ψ)[1]
    return θ + η * field(game.loss, θ, ψ)[0], ψ


def unrolled(game: ToyGame, θ: Tensor, ψ: Tensor, η: float, k: int = 5) -> State:
    """θ ← θ − η d/dθ V(θ, ψ_k(θ)), ψ ← ψ + η ∂V/∂ψ: G looks k of D's steps ahead (Metz et al. 2017, §2.2).

    ψ₀ = ψ, ψ_{i+1} = ψ_i + η ∂V/∂ψ(θ, ψ_i), and the derivative goes through all k steps. On the bilinear game
    ψ_k = y + kηx, so x is pulled in by 2kηx and a step shrinks the distance by √(1 − (2k − 1)η²).
    """
    θ, ψ = _leaves(θ, ψ)
    ψ_k = ψ
    for _ in range(k):
        ψ_k = ψ_k + η * field(game.loss, θ, ψ_k, differentiable=True)[1]
    (d_θ,) = torch.autograd.grad(game.loss(θ, ψ_k).sum(), θ)
    return (θ - η * d_θ).detach(), (ψ + η * field(game.loss, θ, ψ)[1]).detach()


def consensus(game: ToyGame, θ: Tensor, ψ: Tensor, η: float, γ: float = 0.5) -> State:
    """(θ, ψ) ← (θ, ψ) + η (v − γ ∇½‖v‖²) (Mescheder et al. 2017, §4): both also make the field small.

    ∇½‖v‖² = v′ᵀv, so an eigenvalue ±si gains the real part −γs²: a step multiplies the bilinear game's
    distance by √((1 − ηγ)² + η²), less than 1 once γ > η(1 + γ²)/2.
    """
    θ, ψ = _leaves(θ, ψ)
    v_θ, v_ψ = field(game.loss, θ, ψ, differentiable=True)
    g_θ, g_ψ = torch.autograd.grad((v_θ.square().sum() + v_ψ.square().sum()) / 2, (θ, ψ))
    return (θ + η * (v_θ - γ * g_θ)).detach(), (ψ + η * (v_ψ - γ * g_ψ)).detach()


def wgan(game: ToyGame, θ: Tensor, ψ: Tensor, η: float, c: float = 0.5, critic_steps: int = 5) -> State:
    """Five times ψ ← clamp(ψ + η ∂V/∂ψ, −c, c), then θ ← θ − η ∂V/∂θ (Arjovsky et al. 2017); f(t) = t.

    Plain steps for the paper's RMSProp. Clipping bounds how fast θ moves; within the box it changes nothing,
    and any fixed number of critic steps circles (Mescheder et al. 2018, §3).
    """
    for _ in range(critic_steps):
        ψ = (ψ + η * field(game.wasserstein, θ, ψ)[1]).clamp(-c, c)
    return θ + η * field(game.wasserstein, θ, ψ)[0], ψ


def wgan_gp(game: ToyGame, θ: Tensor, ψ: Tensor, η: float, λ: float = 0.2, critic_steps: int = 5) -> State:
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


def instance_noise(game: ToyGame, θ: Tensor, ψ: Tensor, η: float) -> State:
    """(θ, ψ) ← (θ, ψ) + η v_σ(θ, ψ), v_σ the field of the game on blurred data (Sønderby et al. 2016).

    The noise makes V strictly concave in ψ, a friction on D: converges (Mescheder et al. 2018, §3). σ is
    constant here; in a real training it is annealed to 0.
    """
    v_θ, v_ψ = field(game.blurred, θ, ψ)
    return θ + η * v_θ, ψ + η * v_ψ


def r1(game: ToyGame, θ: Tensor, ψ: Tensor, η: float, γ: float = 0.3) -> State:
    """θ ← θ − η ∂V/∂θ, ψ ← ψ + η ∂/∂ψ [V − γ/2 E‖∇ₓD‖²] on the reals (Mescheder et al. 2018, §4.1).

    ∇ₓD = ψ, so D feels the friction −γψ: eigenvalues −γ/2 ± √(γ²/4 − f′(0)²), and the game converges.
    """
    v_θ, v_ψ = field(lambda θ, ψ: game.loss(θ, ψ) - γ / 2 * ψ.square().sum(-1), θ, ψ)
    return θ + η * v_θ, ψ + η * v_ψ


DYNAMICS: dict[str, Callable[[ToyGame, Tensor, Tensor, float], State]] = {
    "simultaneous": simultaneous, "alternating": alternating, "unrolled": unrolled, "consensus": consensus,
    "WGAN": wgan, "WGAN-GP": wgan_gp, "instance noise": instance_noise, "R1": r1,
}  # fmt: skip

# ------------------------------------------------------------------------------------------------- play


@dataclass(frozen=True)
class Play:
    """One game played one way: where it went, how far that was from the equilibrium, and the verdict."""

    game: ToyGame
    dynamics: str
    θ: Tensor  # (steps + 1, S, d)
    ψ: Tensor  # (steps + 1, S, d)
    distance: np.ndarray  # (steps + 1,), the mean over the S starts; inf once the numbers overflow
    verdict: str


def play(
    game: ToyGame,
    dynamics: str,
    steps: int,
    η: float,
    radii: Sequence[float] = (1.0, 0.7, 0.4),
    seed: int = 0,
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
