"""A claim, its rule, and the verdict that the rule gives to numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.claims.arms import Arm

REPRODUCED, DIRECTION, NOT, NOT_TRIED = "reproduced", "in direction only", "not reproduced", "not tried"
TITLES: dict[str, tuple[str, str]] = {  # quantity: its words and format
    "frechet": ("Fréchet distance", ".1f"),
    "recall": ("recall", ".2f"),
    "precision": ("precision", ".2f"),
    "inception": ("inception score", ".1f"),
    "modes": ("modes", ".1f"),
    "high_quality": ("high quality", ".1%"),
    "average_modes": ("modes of the averaged G", ".1f"),
    "average_high_quality": ("high quality of the averaged G", ".1%"),
    "reverse_kl": ("reverse KL", ".3f"),
    "diversity": ("diversity", ".1f"),
    "d_loss": ("D's loss", ".3f"),
    "g_loss": ("G's loss", ".2f"),
    "d_loss_swing": ("swing of D's loss", ".3f"),
    "g_loss_swing": ("swing of G's loss", ".3f"),
    "fools": ("G fools D", ".1%"),
    "sees_fakes": ("D sees fakes", ".1%"),
    "sees_reals": ("D sees reals", ".1%"),
    "test_error": ("test error", ".2%"),
    "g_norm_first": ("gradient of G's first layer", ".3g"),
    "g_norm_last": ("gradient of G's last layer", ".3g"),
    "pixel_precision": ("precision by pixels", ".2f"),
    "pixel_recall": ("recall by pixels", ".2f"),
    "rate a step": ("rate a step", ".6f"),
    "in theory": ("in theory", ".6f"),
    "off by": ("relative error of the rate", ".3g"),
    "largest over start": ("largest distance ÷ first", ".3g"),
    "late least over start": ("least late distance ÷ first", ".3g"),
}


class Results:
    """The numbers of a claim's arms. ``results(arm, quantity)`` is the mean over the seeds, NaN if none.

    A comparison with NaN is false, so a rule never holds by a number that is missing.
    """

    def __init__(self, arms: Mapping[str, list[dict[str, Any]]]):
        self.arms = arms

    def values(self, arm: str, quantity: str) -> list[float]:
        return [seed[quantity] for seed in self.arms[arm] if quantity in seed]

    def __call__(self, arm: str, quantity: str) -> float:
        values = self.values(arm, quantity)
        return statistics.fmean(values) if values else math.nan

    def spread(self, arm: str, quantity: str) -> float:
        """The standard deviation over the seeds; NaN of one seed, which says nothing about others."""
        values = self.values(arm, quantity)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def error(self, arm: str, quantity: str) -> float:
        """The standard error of the mean."""
        return self.spread(arm, quantity) / math.sqrt(max(len(self.values(arm, quantity)), 1))


@dataclass(frozen=True)
class Rule:
    """A condition on results, in words and as a function. ``a & b`` holds where both do."""

    words: str
    holds: Callable[[Results], bool]

    def __and__(self, other: Rule) -> Rule:
        return Rule(f"{self.words}; {other.words}", lambda r: self.holds(r) and other.holds(r))


def title(quantity: str) -> str:
    return TITLES.get(quantity, (quantity, ""))[0]


def show(quantity: str, value: float) -> str:
    return format(value, TITLES.get(quantity, ("", ".3g"))[1])


def within(arm: str, quantity: str, low: float = -math.inf, high: float = math.inf) -> Rule:
    """The mean is from ``low`` to ``high``."""
    least, most = (show(quantity, bound) if math.isfinite(bound) else "" for bound in (low, high))
    words = f"{title(quantity)}: {' ≤ '.join(filter(None, (least, f'*{arm}*', most)))}"
    return Rule(words, lambda r: low <= r(arm, quantity) <= high)


def less(arm: str, than: str, quantity: str, factor: float = 1.0) -> Rule:
    """The mean of ``arm`` is less than ``factor`` times that of ``than``."""
    times = "" if factor == 1 else f"{factor:g} × "
    words = f"{title(quantity)}: *{arm}* < {times}*{than}*"
    return Rule(words, lambda r: r(arm, quantity) < factor * r(than, quantity))


def clearly_less(arm: str, than: str, quantity: str) -> Rule:
    """Less, by more than twice the standard error of the difference; of one seed never."""
    words = f"{title(quantity)}: *{arm}* < *{than}* by two standard errors"

    def holds(r: Results) -> bool:
        error = math.hypot(r.error(arm, quantity), r.error(than, quantity))
        return r(than, quantity) - r(arm, quantity) > 2 * error

    return Rule(words, holds)


def rising(arms: Iterable[str], quantity: str, clearly: bool = True) -> Rule:
    """Each arm has more of it than the one before."""
    names, rule = list(arms), clearly_less if clearly else less
    steps = [rule(a, b, quantity) for a, b in zip(names, names[1:])]
    words = f"{title(quantity)}: {' < '.join(f'*{name}*' for name in names)}"
    words += ", each by two standard errors" if clearly else ""
    return Rule(words, lambda r: all(step.holds(r) for step in steps))


@dataclass(frozen=True)
class Claim:
    """What a source says, what is measured to see whether it is so, and the rule that decides."""

    name: str
    source: str  # the paper or article, and the place in it
    says: str  # in one sentence, with its numbers
    arms: Mapping[str, Arm]  # what is measured
    reproduced: Rule
    direction: Rule | None = None  # the weaker rule of "in direction only"
    shows: tuple[str, ...] = ("frechet",)  # the quantities that the page prints
    needs: str = ""  # what a re-run needs beyond minutes of a core
    remark: str = ""  # what else one should know

    @property
    def minutes(self) -> float:
        """Minutes of one core, for one seed."""
        return sum(arm.minutes for arm in self.arms.values())

    def verdict(self, results: Results) -> str:
        if not self.arms or not all(results.arms[name] for name in self.arms):
            return NOT_TRIED
        if self.reproduced.holds(results):
            return REPRODUCED
        return DIRECTION if self.direction and self.direction.holds(results) else NOT
