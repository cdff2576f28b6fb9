"""Terms added to a player's loss, and rules that hold after its steps.

A penalty names its ``players`` ("D", "G" or "DG") and is called as ``penalty(game, turn, player)`` for each
evaluation of such a player's loss. What it remembers between steps lives in buffers, and so in checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_ref.techniques.game import Game, Turn


class Penalty(nn.Module):
    players = "D"
    differentiates_real = False  # whether the gradient of D at the reals is wanted
    second_order = False  # whether it differentiates a gradient: such runs keep float32 throughout

    def prepare(self, game: Game) -> None:
        """Called once, before a checkpoint is loaded: shape the buffers after the players' parameters."""

    def forward(self, game: Game, turn: Turn, player: str) -> Tensor:
        """The term, a float32 scalar on the graph of ``turn``."""
        return turn.loss.new_zeros(())

    def after_step(self, module: nn.Module) -> None:
        """Called with a player's network after each of its optimizer's steps."""

    def after_round(self, d: Turn, g: Turn) -> None:
        """Called with the round's last turns, for coefficients that follow the losses."""


def gradient_norm(output: Tensor, x: Tensor) -> Tensor:
    """‖∂ Σ output / ∂x‖₂ of each sample, (N,), on the graph so that it can be minimised."""
    (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return gradient.flatten(1).norm(dim=1)


class R1(Penalty):
    """(γ/2)·E ‖∇ₓ D(x)‖² at the reals (Mescheder, Geiger & Nowozin 2018, eq. 9; γ = 10)."""

    differentiates_real = True
    second_order = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn, player: str) -> Tensor:
        return self.weight / 2 * gradient_norm(turn.real_output.scores, turn.real).square().mean()
