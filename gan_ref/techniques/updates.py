"""How a round is played: the order of the two players' steps, and through what they differentiate.

An update rule is called as ``rule(game, balance, draw)``; ``draw()`` gives a fresh (real, labels, z). It
returns the last evaluation of each player's loss, which the monitor reads.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gan_ref.techniques.balance import Fixed
from gan_ref.techniques.game import Game, Turn

Draw = Callable[[], tuple[Tensor, Tensor | None, Tensor]]


class Alternating(nn.Module):
    """D's steps, then G's against the new D (Goodfellow et al. 2014, Algorithm 1)."""

    second_order = False

    def forward(self, game: Game, balance: Fixed, draw: Draw) -> tuple[Turn, Turn]:
        d_steps, g_steps = balance.steps(game.step)
        for _ in range(d_steps):
            real, labels, z = draw()
            fake = game.generate(z)
            d = game.d_loss(real, fake.detach(), labels)
            d_moves, g_moves = balance.allows(d)
            if d_moves:
                game.d.descend(d.loss)
        for k in range(g_steps):
            if k > 0:  # the first step reuses D's last batch: G has not moved since it made it
                real, _, z = draw()
                fake = game.generate(z)
            g = game.g_loss(real, fake)
            if g_moves:
                game.g.descend(g.loss)
        return d, g


class Simultaneous(nn.Module):
    """Both gradients at the same point, then both steps: the game the theory of its dynamics speaks of."""

    second_order = False

    def forward(self, game: Game, balance: Fixed, draw: Draw) -> tuple[Turn, Turn]:
        real, labels, z = draw()
        fake = game.generate(z)
        d = game.d_loss(real, fake.detach(), labels)
        d_moves, g_moves = balance.allows(d)
        g = game.g_loss(real, fake)
        if d_moves:
            game.d.differentiate(d.loss)
        if g_moves:
            game.g.differentiate(g.loss)
        if d_moves:
            game.d.step()
        if g_moves:
            game.g.step()
        return d, g
