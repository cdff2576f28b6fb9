"""What each player minimises, given D's scores s(x) = D(x) before any sigmoid (larger is more real).

An objective is an nn.Module so that one with state of its own (Fisher's multiplier) travels in a checkpoint.
``threshold`` is the score from which D "calls" a sample real, for the monitoring curves only: a number, or
None for critics whose scores have no absolute meaning (the midpoint of the two means is used).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.networks.output import Output


class Objective(nn.Module):
    """The two losses of a GAN; both are means over the batch, float32 scalars."""

    g_sees_reals = False  # whether g_loss needs D's output on a batch of reals
    threshold: float | None = 0.0

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        raise NotImplementedError

    def probability(self, scores: Tensor) -> Tensor:
        """D's belief that a sample is real where the objective gives scores that meaning, else the score."""
        return torch.sigmoid(scores) if self.threshold == 0.0 else scores


class NonSaturating(Objective):
    """The original game with the generator's practical loss (Goodfellow et al. 2014, §3).

    L_D = −E log σ(s(x)) − E log(1 − σ(s(G(z)))),   L_G = −E log σ(s(G(z))).

    ``real_label`` below 1 is one-sided label smoothing (Salimans et al. 2016, §3.4: 0.9): D's target for
    reals alone becomes α, so that its optimum is α·p_data / (p_data + p_model). Targets for fakes stay 0 (a
    positive one would add p_model to the numerator and reward G's mistakes), and so does G's target of 1.
    """

    def __init__(self, real_label: float = 1.0):
        super().__init__()
        self.real_label = real_label

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        # cross entropy with target α: softplus(−s) + (1 − α)·s
        on_reals = F.softplus(-real.scores) + (1 - self.real_label) * real.scores
        return on_reals.mean() + F.softplus(fake.scores).mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return F.softplus(-fake.scores).mean()


class Minimax(NonSaturating):
    """The zero-sum game (Goodfellow et al. 2014, eq. 1): L_G = E log(1 − σ(s(G(z)))), which saturates."""

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return -F.softplus(fake.scores).mean()


class Hinge(Objective):
    """L_D = E max(0, 1 − s(x)) + E max(0, 1 + s(G(z))),   L_G = −E s(G(z))  (Miyato et al. 2018, eqs. 16–17)."""

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor:
        return F.relu(1 - real.scores).mean() + F.relu(1 + fake.scores).mean()

    def g_loss(self, real: Output | None, fake: Output) -> Tensor:
        return -fake.scores.mean()

    def probability(self, scores: Tensor) -> Tensor:
        return scores
