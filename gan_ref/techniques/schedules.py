"""Settings that change over a run: the learning rates, β₂, the weight of a penalty, the σ of the noise.

A schedule multiplies one setting by a factor, which is a function of the round alone. When a round begins,
each scheduled setting gets its value, and when the round ends, it is again what the Config says. So no
checkpoint holds a scheduled number, and a resumed run needs nothing to go on.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


class Ramp(nn.Module):
    """The factor first + (last − first)·u, with u = (t − start)/(end − start) clipped to [0, 1].

    t = round/rounds, where ``rounds`` = 0 stands for the length of the run: from 0 in its first round to
    nearly 1 in its last. ``of`` names what is multiplied: "lr" is the rates of both players, "lr_g" and
    "lr_d" that of one, "beta2" is Adam's β₂ or RMSProp's decay, and "R1.weight" is that number of a technique
    in play. Schedules of the same setting multiply each other.

    ``start`` = 0.5 keeps the rate for half of the run and lets it fall to 0 over the rest (Zhu et al. 2017,
    CycleGAN, §7.1). ``first`` = 0, ``last`` = 1 and a small ``end`` are a warm-up (Goyal et al. 2017, §2.2).
    """

    def __init__(
        self,
        of: str = "lr",
        start: float = 0.0,
        end: float = 1.0,
        first: float = 1.0,
        last: float = 0.0,
        rounds: int = 0,
    ):
        super().__init__()
        if not 0 <= start < end <= 1:
            raise ValueError(f"0 ≤ start < end ≤ 1 is needed, not start={start}, end={end}")
        if min(first, last, rounds) < 0:
            raise ValueError("first, last and rounds are at least 0")
        self.of, self.start, self.end = of, start, end
        self.first, self.last, self.rounds = first, last, rounds
        replayed = of in ("lr", "lr_g", "lr_d") or of.endswith((".weight", ".p"))  # may be tensors
        self.changes_each_round = "" if replayed else f"changes {of} each round"

    def forward(self, round: int, steps: int) -> float:
        """The factor in ``round`` of a run of ``steps`` rounds."""
        t = round / (self.rounds or steps)
        return self.between(min(max((t - self.start) / (self.end - self.start), 0.0), 1.0))

    def between(self, u: float) -> float:
        return self.first + (self.last - self.first) * u


class Cosine(Ramp):
    """A Ramp along half a cosine, u ← ½(1 − cos πu) (Loshchilov & Hutter 2017, eq. 5, without restarts)."""

    def between(self, u: float) -> float:
        return super().between((1 - math.cos(math.pi * u)) / 2)


class Exponential(Ramp):
    """A Ramp of the logarithm, first^(1 − u)·last^u: each round multiplies the setting by the same number.

    1% an epoch down to a thousandth, as Larsen & Sønderby (2015) have it in their code, takes
    ln 0.001/ln 0.99 = 687 epochs. A ValueError unless ``first`` and ``last`` are above 0.
    """

    def __init__(
        self,
        of: str = "lr",
        start: float = 0.0,
        end: float = 1.0,
        first: float = 1.0,
        last: float = 0.01,
        rounds: int = 0,
    ):
        super().__init__(of, start, end, first, last, rounds)
        if min(first, last) <= 0:
            raise ValueError("first and last are above 0")

    def between(self, u: float) -> float:
        return self.first ** (1 - u) * self.last**u


# ---------------------------------------------------------------- where the settings are

Place = tuple[dict[str, Any], str]  # a setting is holder[key]


def settings(g: dict[str, Any], d: dict[str, Any], techniques: Iterable[Any]) -> dict[str, list[Place]]:
    """What may be scheduled, by name: rates and β₂ of the optimizers' groups, and the techniques' numbers."""
    found: dict[str, list[Place]] = {"lr": [(g, "lr"), (d, "lr")], "lr_g": [(g, "lr")], "lr_d": [(d, "lr")]}
    if decays := [(group, key) for group in (g, d) for key in ("betas", "alpha") if key in group]:
        found["beta2"] = decays
    for technique in techniques:
        for key, value in vars(technique).items():
            if type(value) is float:
                found.setdefault(f"{type(technique).__name__}.{key}", []).append((vars(technique), key))
    return found


@dataclass
class Scheduled:
    """One setting, what it is without schedules, and those that it follows."""

    place: Place
    own: Any
    schedules: list[Ramp] = field(default_factory=list)
    tensor: Tensor | None = None  # where a recorded round reads it

    def set(self, round: int, steps: int) -> None:
        factor = math.prod(schedule(round, steps) for schedule in self.schedules)
        holder, key = self.place
        if self.tensor is not None:
            holder[key] = self.tensor.fill_(self.own * factor)
        elif key == "betas":
            holder[key] = (self.own[0], self.own[1] * factor)
        else:
            holder[key] = self.own * factor


class Schedules:
    """The schedules of a run of ``steps`` rounds. A KeyError if ``known`` lacks the setting of one."""

    def __init__(self, schedules: Sequence[Ramp], steps: int, known: dict[str, list[Place]]):
        self.all, self.steps = list(schedules), steps
        by_place: dict[tuple[int, str], Scheduled] = {}
        for schedule in schedules:
            for holder, key in known[schedule.of]:
                setting = by_place.setdefault((id(holder), key), Scheduled((holder, key), holder[key]))
                setting.schedules.append(schedule)
        self.scheduled = list(by_place.values())

    def begin_round(self, round: int) -> None:
        for setting in self.scheduled:
            setting.set(round, self.steps)

    def end_round(self) -> None:
        for setting in self.scheduled:
            holder, key = setting.place
            holder[key] = setting.own

    def use_tensors(self, device: torch.device) -> None:
        """Keep the scheduled numbers in tensors, which a recorded round reads anew at each replay."""
        for setting in self.scheduled:
            if not any(schedule.changes_each_round for schedule in setting.schedules):
                setting.tensor = torch.zeros((), device=device)
