"""Signs that a game is lost, told while there is time, and that the machine starves the run.

The signs of a lost game are those of Larsen & Sønderby (2015, the three curves of ``measure_round``) and of
ganhacks (Chintala et al. 2016, no. 10): D's loss near 0, scores pinned at one end, gradient norms over 100.
"""

from collections import deque

import numpy as np

from gan_ref.config import Config
from gan_ref.techniques.game import Objective
from gan_ref.techniques.objectives import FeatureMatching, Hinge

Row = dict[str, float]

ROUNDS, ROWS = 200, 10  # a sign counts once it has lasted so many rounds, and so many rows
SURE = 0.97  # the share of a batch from which scores are pinned
NOTHING = 0.05  # a hinge loss under it: all samples are outside the margins, where D has no gradient
NORM = 100.0  # ganhacks: gradients of larger norm mean that things go wrong
SLOW, SECONDS, SLOW_ROWS = 1 / 3, 30.0, 3  # of the best rate, for how long, in how many rows


class Signs:
    """``look(row)`` after each new row of metrics.jsonl returns the lines to print, most often none.

    A lost game is told once in a run: the rows from before a resume, ``rows``, are looked at again in
    silence. The rate is compared within this process, since the run may have come from another machine.
    """

    def __init__(self, config: Config, objective: Objective, rows: list[Row]):
        self.config = config
        # The loss bounds these scores, so that their ends mean something. G plays for them in the first.
        self.beliefs = objective.log_odds and not isinstance(objective, FeatureMatching)
        self.margins = isinstance(objective, Hinge)
        self.recent: deque[Row] = deque()
        self.told = self.starved = False
        self.best, self.slow, self.last = 0.0, 0.0, rows[-1]["step"] if rows else 0
        self.slow_rows = 0
        for row in rows:
            self._lost(row)

    def look(self, row: Row) -> list[str]:
        lines = [self._lost(row), self._starves(row)]
        return [f"warning: step {row['step']}: {line}" for line in lines if line]

    # ---------------------------------------------------------------- the game

    def _lost(self, row: Row) -> str:
        """What is wrong with the game and what to try; "" if nothing is, or if it has been said."""
        self.recent.append(row)
        while len(self.recent) > ROWS + 1 and self.recent[1]["step"] <= row["step"] - ROUNDS:
            self.recent.popleft()
        lasted = row["step"] - self.recent[0]["step"]
        if self.told or len(self.recent) <= ROWS or lasted < ROUNDS:
            return ""
        line = self._too_good() or self._too_weak() or self._too_steep()
        self.told = bool(line)
        return f"for {lasted} steps {line}" if line else ""

    def _mean(self, name: str) -> float:
        """Over the recent rows that have it; NaN, which no comparison holds for, if none has."""
        values = [row[name] for row in self.recent if name in row]
        return sum(values) / len(values) if values else float("nan")

    def _too_good(self) -> str:
        fakes, reals, loss = map(self._mean, ("sees_fakes", "sees_reals", "d_loss"))
        sure = self.beliefs and min(fakes, reals) >= SURE
        if not sure and not (self.margins and loss < NOTHING):
            return ""
        return (
            f"D has been too good: it saw {fakes:.0%} of fakes and {reals:.0%} of reals, its loss was "
            f"{loss:.2f}, and G learns little from it; {self._try()}"
        )

    def _too_weak(self) -> str:
        fooled = self._mean("fools")
        if not self.beliefs or fooled < SURE or self._mean("sees_fakes") > 1 - SURE:
            return ""
        more = "try a higher --lr-d, a larger --d-width or --balance 'Fixed(d_steps=2)'"
        return f"D has been too weak: G fooled it {fooled:.0%} of the time, with whatever it draws; {more}"

    def _too_steep(self) -> str:
        norms = {f"{p}_norm_{end}": p.upper() for p in "dg" for end in ("first", "last")}
        name = max(norms, key=lambda name: np.nan_to_num(self._mean(name)))
        if not (self.beliefs or self.margins) or not self._mean(name) > NORM:
            return ""
        what = f"the gradient of {norms[name]}'s {name.rpartition('_')[2]} layer has had a norm of"
        norm = f"{self._mean(name):.0f}, over {NORM:.0f}"
        return f"{what} {norm}; try half of --lr-d and --lr-g, or {self._try()}"

    def _try(self) -> str:
        """What holds D back and the run does not have yet."""
        config = self.config
        ideas = {
            "--recipe baseline": config.recipe != "baseline",
            "--balance Fixed": config.balance != "Fixed",
            "--norm-d spectral": config.norm_d != "spectral" and config.network == "dcgan",
            f"--lr-d {config.lr_d / 4:.2g}": True,
            "--instance-noise 'InstanceNoise(sigma=0.1)'": not config.instance_noise,
        }
        return "try " + ", ".join(idea for idea, new in ideas.items() if new)

    # ---------------------------------------------------------------- the machine

    def _starves(self, row: Row) -> str:
        """That the rate has been under a third of its best for half a minute, said once."""
        rate, played = row["images_per_second"], row["step"] - self.last
        self.last, self.best = row["step"], max(self.best, rate)
        if rate >= SLOW * self.best:
            self.slow = self.slow_rows = 0
            return ""
        self.slow += played * self.config.batch_size / max(rate, 1e-9)
        self.slow_rows += 1
        if self.starved or self.slow < SECONDS or self.slow_rows < SLOW_ROWS:
            return ""
        self.starved = True
        cure = "end what else runs there"
        if self.config.device == "cpu" and self.config.threads > 1:
            cure = "stop this run, and --resume it with --threads 1"
            cure = f"two programs on all cores slow each other: {cure}"
        return (
            f"the machine starves this run: {rate:.0f} samples a second for {self.slow:.0f} s, "
            f"{self.best:.0f} at its best; {cure}"
        )
