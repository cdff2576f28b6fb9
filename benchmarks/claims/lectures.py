"""The convergence lectures: what small games do under each way of playing, against closed forms."""

import math

import numpy as np

from benchmarks.claims.arms import Function, Numbers
from benchmarks.claims.claim import Claim, within
from gan_ref.toy_games.dynamics import GAMES, Play, play

TITLE = "The lectures: why players circle"
SOURCE = (
    "What lectures on convergence show, from the papers behind them: the small games of `python -m gan_ref "
    "games` in float64, three starts for each seed, rate η = 0.1. A rate is the factor by which a step "
    "multiplies the distance to the equilibrium, over a whole play; a turn is two passes of θ through its "
    "equilibrium."
)
POINT, DIRAC, BILINEAR, RPS = GAMES
η = 0.1
STEPS = 4000


def rate(run: Play, late: float = 0.0) -> float:
    """The mean factor a step, from the share ``late`` of the play on; of the part above rounding error."""
    distance = run.distance[int(late * len(run.distance)) :]
    distance = distance[distance > 1e-10]
    return float((distance[-1] / distance[0]) ** (1 / (len(distance) - 1)))


def turns(run: Play) -> float:
    """Half the number of times that the first number of the first start's θ passes its equilibrium."""
    away = run.θ[:, 0, 0].numpy() - (0.0 if run.game.mixed else run.game.equilibrium[0][0])
    return np.count_nonzero(np.diff(np.sign(away))) / 2


def measured(game, dynamics: str, theory: float | None, steps: int):
    def measure(seed: int) -> Numbers:
        run = play(game, dynamics, steps, η, seed=seed)
        least, most = run.distance[-len(run.distance) // 4 :].min(), run.distance.max()
        values = {
            "rate a step": rate(run),
            "turns": turns(run),
            "start": run.distance[0],
            "end": run.distance[-1],
        }
        values |= {
            "largest over start": most / run.distance[0],
            "late least over start": least / run.distance[0],
        }
        if theory is not None:
            values |= {"in theory": theory, "off by": abs(values["rate a step"] / theory - 1)}
        return {name: float(f"{value:.9g}") for name, value in values.items()}

    return Function(f"lectures: {game.name}, {dynamics}, {steps}", measure, 0.02)


def has_rate(
    name: str, source: str, says: str, game, dynamics: str, theory: float, steps: int, high=1e-3
) -> Claim:
    """A closed form for the rate, which must grow or shrink as the theory says."""
    arm = f"{game.name}, {dynamics}"
    bound = {"low": 1.0} if theory > 1 else {"high": 1.0}  # it grows, or shrinks
    weaker = within(arm, "rate a step", **bound)
    shows = "rate a step", "in theory", "start", "end"
    arms = {arm: measured(game, dynamics, theory, steps)}
    return Claim(name, source, says, arms, within(arm, "off by", high=high), weaker, shows, remark=AFTERWARDS)


def circles(name: str, source: str, says: str, game, dynamics: str) -> Claim:
    arm = f"{game.name}, {dynamics}"
    bounded = within(arm, "largest over start", high=4)
    goes_on = within(arm, "late least over start", low=0.05) & within(arm, "turns", low=5)
    shows = "turns", "largest over start", "late least over start"
    arms = {arm: measured(game, dynamics, None, STEPS)}
    return Claim(name, source, says, arms, bounded & goes_on, goes_on, shows, remark=AFTERWARDS)


AFTERWARDS = "The weaker rule was written after the numbers were seen."
WHICH = "Mescheder, Geiger & Nowozin 2018"
γ, σ, k = 0.3, 0.7, 5
CLAIMS = (
    has_rate(
        "simultaneous-bilinear", f"{WHICH}, §2.2, lemma 2.4",
        "simultaneous steps leave the Dirac-GAN's equilibrium. On V = xy, its linear part, they spiral out "
        "by √(1 + η²) a step.",
        BILINEAR, "simultaneous", math.sqrt(1 + η**2), 1000, 1e-9,
    ),
    circles(
        "alternating-bilinear", f"{WHICH}, §2.2, lemma 2.5",
        "alternating steps have eigenvalues on the unit circle: on V = xy they neither diverge nor converge.",
        BILINEAR, "alternating",
    ),
    circles(
        "alternating-dirac", f"{WHICH}, §2.2 and figure 2b",
        "the unregularised Dirac-GAN under alternating steps circles for ever.", DIRAC, "alternating",
    ),
    circles(
        "rock-paper-scissors", "Metz et al. 2017, §2.5",
        "alternating steps with a fixed rate do not converge in rock–paper–scissors.", RPS, "alternating",
    ),
    circles(
        "wgan-circles", f"{WHICH}, §3.1, lemma 3.1",
        "a WGAN with a fixed number of critic steps does not converge.", DIRAC, "WGAN",
    ),
    circles(
        "wgan-gp-circles", f"{WHICH}, abstract",
        "nor does WGAN-GP.", DIRAC, "WGAN-GP",
    ),
    has_rate(
        "r1-converges", f"{WHICH}, §3.3, lemma 3.3",
        "a zero-centred penalty makes the Dirac-GAN converge, with eigenvalues −γ/2 ± √(γ²/4 − f′(0)²).",
        DIRAC, "R1", math.sqrt((1 - η * γ / 2) ** 2 + η**2 * (0.25 - γ**2 / 4)), STEPS,
    ),
    has_rate(
        "instance-noise-converges", f"{WHICH}, §3.2, lemma 3.2",
        "so does noise on what D sees, with real parts f″(0)σ² = −σ²/4.",
        DIRAC, "instance noise", math.sqrt((1 - η * σ**2 / 4) ** 2 + η**2 * (0.25 - σ**4 / 16)), STEPS,
    ),
    has_rate(
        "consensus-converges", "Mescheder, Nowozin & Geiger 2017",
        "consensus adds −γs² to an eigenvalue ±si: on V = xy a rate of √((1 − ηγ)² + η²), γ = 0.5.",
        BILINEAR, "consensus", math.sqrt((1 - η * 0.5) ** 2 + η**2), 400, 1e-9,
    ),
    has_rate(
        "unrolling-sees-ahead", "Metz et al. 2017, §2.5",
        "a G that sees how D will respond no longer circles. On V = xy our own calculation for k = 5 steps "
        "is √(1 − (2k − 1)η²) a step.",
        BILINEAR, "unrolled", math.sqrt(1 - (2 * k - 1) * η**2), 400, 2e-3,
    ),
)  # fmt: skip
