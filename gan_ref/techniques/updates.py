"""How a round is played: the order of the two players' steps, and through what they differentiate.

An update rule is called as ``rule(game, balance, draw)``; ``draw()`` gives a fresh (real, labels, z). It
returns the last evaluation of each player's loss, which the monitor reads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.techniques import steps
from gan_ref.techniques.balance import Fixed
from gan_ref.techniques.game import Game, Turn
from gan_ref.techniques.penalties import squared_norm

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
                game.d.descend(d)
        for k in range(g_steps):
            if k > 0:  # the first step reuses D's last batch: G has not moved since it made it
                real, _, z = draw()
                fake = game.generate(z)
            g = game.g_loss(real, fake)
            if g_moves:
                game.g.descend(g)
        return d, g


class Simultaneous(nn.Module):
    """Both gradients at the same point, then both steps (Mescheder et al. 2017, Algorithm 1).

    It is the game that the theory of GANs' dynamics speaks of.
    """

    second_order = False

    def forward(self, game: Game, balance: Fixed, draw: Draw) -> tuple[Turn, Turn]:
        real, labels, z = draw()
        fake = game.generate(z)
        d = game.d_loss(real, fake.detach(), labels)
        d_moves, g_moves = balance.allows(d)
        g = game.g_loss(real, fake, self.look_ahead(game, real, fake, labels))
        if d_moves:
            game.d.differentiate(d.loss)
        if g_moves:
            game.g.differentiate(g.loss)
        if d_moves:
            game.d.step(d)
        if g_moves:
            game.g.step(g)
        return d, g

    def look_ahead(
        self, game: Game, real: Tensor, fake: Tensor, labels: Tensor | None
    ) -> dict[str, Tensor] | None:
        """The D that G plays against, as parameters and buffers by name; None is D as it is."""
        return None


class Unrolled(Simultaneous):
    """G plays against the D of K steps later (Metz et al. 2017, "Unrolled generative adversarial networks").

    θ_D^0 = θ_D,  θ_D^{k+1} = the step of D's optimizer from θ_D^k,  f_K(θ_G, θ_D) = f(θ_G, θ_D^K(θ_G, θ_D)),

    and G descends df_K/dθ_G, through the steps: they are made with the optimizer's present moments, on
    this round's batch throughout, as in the authors' code. D then takes its ordinary first step; its
    weights, buffers and optimizer do not see the others. The paper has K from 1 to 10; 5 is its code's.
    """

    second_order = True

    def __init__(self, steps: int = 5):
        super().__init__()
        if steps < 1:
            raise ValueError("steps is at least 1; none is the update Simultaneous")
        self.steps = steps

    def look_ahead(self, game: Game, real: Tensor, fake: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        own = {name: p for name, p in game.d.module.named_parameters() if p.requires_grad}
        buffers = {name: buffer.clone() for name, buffer in game.d.module.named_buffers()}
        weights, states = list(own.values()), steps.states(game.d.optimizer, list(own.values()))
        for _ in range(self.steps):
            turn = game.d_loss(real, fake, labels, dict(zip(own, weights)) | buffers)
            gradients = distributed.means(torch.autograd.grad(turn.loss, weights, create_graph=True))
            weights, states = steps.step(game.d.optimizer, weights, gradients, states)
        return dict(zip(own, weights)) | buffers


class Consensus(nn.Module):
    """Both players also descend ½γ‖v‖²: they look for agreement (Mescheder et al. 2017, Algorithm 2).

    With v = (∇_{θ_G} L_G, ∇_{θ_D} L_D) and v' its Jacobian, each steps along v + γ·v'ᵀv, simultaneously
    (γ = 10 in most experiments of their code): eigenvalues of v' that turn are pushed to contract.
    """

    second_order = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, balance: Fixed, draw: Draw) -> tuple[Turn, Turn]:
        real, labels, z = draw()
        fake = game.generate(z)
        d, g = game.d_loss(real, fake, labels), game.g_loss(real, fake)
        weights = [*game.d.parameters, *game.g.parameters]
        v = distributed.means([
            *torch.autograd.grad(d.loss, game.d.parameters, create_graph=True),
            *torch.autograd.grad(g.loss, game.g.parameters, create_graph=True),
        ])  # fmt: skip
        # a weight may be absent from v altogether: a linear critic's bias is
        towards = distributed.means(
            torch.autograd.grad(0.5 * squared_norm(v), weights, materialize_grads=True)
        )
        for weight, gradient, correction in zip(weights, v, towards):
            weight.grad = gradient.detach() + self.weight * correction
        for player, turn, moves in zip((game.d, game.g), (d, g), balance.allows(d)):
            if moves:
                player.step(turn)
        return d, g
