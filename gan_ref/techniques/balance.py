"""Who moves, and how often: the balance between the players.

(Two time scales, Heusel et al. 2017, need nothing here: they are the settings lr_d and lr_g.)
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.techniques.game import Balance, Turn


class Fixed(nn.Module, Balance):
    """k_D steps of D, then k_G steps of G, each round (Goodfellow et al. 2014, Algorithm 1, with k_G = 1)."""

    def __init__(self, d_steps: int = 1, g_steps: int = 1):
        super().__init__()
        if d_steps < 1 or g_steps < 1:
            raise ValueError("each player moves at least once a round")
        self.d_steps, self.g_steps = d_steps, g_steps

    def steps(self, round: int) -> tuple[int, int]:
        return self.d_steps, self.g_steps

    def who_moves(self, d: Turn) -> tuple[bool, bool]:
        return True, True


class CriticWarmUp(Fixed):
    """k_D = 5, but 100 in the first 25 rounds and in every 500th (Arjovsky et al. 2017, the authors' code).

    The many steps bring the critic near its optimum, before G's first steps and now and then after them.
    """

    def __init__(self, d_steps: int = 5, warm_steps: int = 100, rounds: int = 25, every: int = 500):
        super().__init__(d_steps)
        if warm_steps < 1 or every < 1:
            raise ValueError("warm_steps and every are at least 1")
        self.warm_steps, self.rounds, self.every = warm_steps, rounds, every

    def steps(self, round: int) -> tuple[int, int]:
        warm = round < self.rounds or round % self.every == 0
        return self.warm_steps if warm else self.d_steps, 1


def errors(d: Turn) -> tuple[float, float]:
    """D's cross entropies, −E log σ(s(x)) on reals and −E log(1 − σ(s(G(z)))) on fakes; a guess has log 2."""
    on_reals, on_fakes = F.softplus(-d.real_scores), F.softplus(d.fake_output.scores)
    # The mean is identical on every rank, so all take the same branch. tolist is one transfer.
    real, fake = distributed.mean(torch.stack([on_reals.mean(), on_fakes.mean()])).tolist()
    return real, fake


class Margin(Fixed):
    """A player that is too far ahead waits (Larsen & Sønderby 2015, "Generating faces with Torch", panel B).

    D waits when either of its errors (see ``errors``) is under the margin, and G when either is over 1 −
    margin. If that would stop both, both move. The optimizer of a player that waits stands still. Their
    margin is 0.3.
    """

    changes_each_round = "looks at D's errors before each step"

    def __init__(self, margin: float = 0.3):
        super().__init__()
        self.margin = margin

    def who_moves(self, d: Turn) -> tuple[bool, bool]:
        low, high = min(errors(d)), max(errors(d))
        d_moves, g_moves = low >= self.margin, high <= 1 - self.margin
        return (d_moves, g_moves) if d_moves or g_moves else (True, True)


class Dynamic(Fixed):
    """k_D : k_G follows the losses: the player that is behind moves ``steps`` times in the next round.

    D is behind while the mean of its two errors (see ``errors``) is over ``high``, where it does little more
    than guess (log 2 ≈ 0.69). G is behind while the mean is under ``low``. This is the loop "while lossD > A:
    train D; while lossG > B: train G", which tip 11 of Chintala et al. 2016, "How to train a GAN?", shows and
    advises against. The numbers are ours.
    """

    changes_each_round = "looks at D's errors after each step"
    error: Tensor

    def __init__(self, low: float = 0.3, high: float = 0.65, steps: int = 3):
        super().__init__()
        if steps < 1:
            raise ValueError("steps is at least 1")
        self.low, self.high, self.most = low, high, steps
        self.register_buffer("error", torch.tensor((low + high) / 2))

    def steps(self, round: int) -> tuple[int, int]:
        error = float(self.error)
        return self.most if error > self.high else 1, self.most if error < self.low else 1

    def who_moves(self, d: Turn) -> tuple[bool, bool]:
        self.error.fill_(math.fsum(errors(d)) / 2)
        return True, True
