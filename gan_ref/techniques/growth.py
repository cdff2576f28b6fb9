"""Networks that grow: which of their blocks run in which round.

The level of a network is a function of the round alone: see networks/progressive.py for what it means. So no
checkpoint holds it, and a run that is resumed in the middle of a fade goes on there.
"""

from collections.abc import Iterable

from torch import nn

from gan_ref.networks.progressive import growing


class Stages(nn.Module):
    """The level of networks that double the first plane n times (Karras et al. 2018, §2 and appendix A).

    The first size is trained for a phase. Then each further size is faded in for a phase, with α from 0 to 1,
    and trained for another, as in the paper. All 2n phases are equally long, and over at the share ``end`` of
    the run, from where on everything is trained at the full size. ``rounds`` > 0 stands in for the length of
    the run.

        u = 2n·(round/rounds)/end,   level = min(n, ⌊u/2⌋ + max(0, u mod 2 − 1))
    """

    changes_each_round = "fades in blocks of the networks"

    def __init__(self, end: float = 0.5, rounds: int = 0):
        super().__init__()
        if not 0 < end <= 1 or rounds < 0:
            raise ValueError("0 < end ≤ 1 and rounds ≥ 0 are needed")
        self.end, self.rounds = end, rounds

    def forward(self, round: int, steps: int, doublings: int) -> float:
        """The level in ``round`` of a run of ``steps`` rounds, from 0 to ``doublings``."""
        sizes, phase = divmod(2 * doublings * round / (self.rounds or steps) / self.end, 2)
        return min(float(doublings), sizes + max(0.0, phase - 1))


def grow(growth: Stages | None, round: int, steps: int, networks: Iterable[nn.Module]) -> None:
    """Let these networks run at their level in ``round``. Those without levels take no notice."""
    if growth is None:
        return
    parts = growing(networks)
    level = growth(round, steps, max((part.doublings for part in parts), default=0))
    for part in parts:
        part.level = level
