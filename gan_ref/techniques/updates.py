"""How a round is played: the order of the two players' steps, and what they differentiate through.

An update rule is called as ``rule(game, batches)`` with as many batches as ``rule.batches(game)`` says. It
returns the last evaluation of each player's loss.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.techniques import differentiable_optimizers
from gan_ref.techniques.game import Batch, Game, Turn, UpdateRule
from gan_ref.techniques.numerics import squared_norm


class Alternating(nn.Module, UpdateRule):
    """D's steps, then G's against the new D (Goodfellow et al. 2014, Algorithm 1)."""

    def batches(self, game: Game) -> int:
        """One for each step of D; G's first step reuses the last, and each further step takes one more."""
        d_steps, g_steps = game.balance.steps(game.round)
        return d_steps + g_steps - 1

    def forward(self, game: Game, batches: Sequence[Batch]) -> tuple[Turn, Turn]:
        d_steps, _ = game.balance.steps(game.round)
        for x, labels, z in batches[:d_steps]:
            fake = game.generate(z)
            d = game.d_loss(x, fake.detach(), labels)
            d_moves, g_moves = game.balance.who_moves(d)
            if d_moves:
                game.d.descend(d)
        for k, (x, labels, z) in enumerate(batches[d_steps - 1 :]):
            if k > 0:  # for k = 0 the fakes are still those of the present G
                fake = game.generate(z)
            g = game.g_loss(x, fake, labels)
            if g_moves:
                game.g.descend(g)
        return d, g


class Simultaneous(nn.Module, UpdateRule):
    """Both gradients at the same point, then both steps (Mescheder et al. 2017, Algorithm 1).

    The theory of the dynamics of GANs speaks of this game.
    """

    def batches(self, game: Game) -> int:
        return 1

    def forward(self, game: Game, batches: Sequence[Batch]) -> tuple[Turn, Turn]:
        ((x, labels, z),) = batches
        fake = game.generate(z)
        d = game.d_loss(x, fake.detach(), labels)
        d_moves, g_moves = game.balance.who_moves(d)
        g = game.g_loss(x, fake, labels, self.look_ahead(game, x, fake, labels))
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
    ) -> Mapping[str, Tensor] | None:
        """The D that G plays against, as parameters and buffers by name; None is D as it is."""
        return None


class Unrolled(Simultaneous):
    """G plays against the D of K steps later (Metz et al. 2017, "Unrolled generative adversarial networks").

    θ_D^0 = θ_D,  θ_D^{k+1} = the step of D's optimizer from θ_D^k,  f_K(θ_G, θ_D) = f(θ_G, θ_D^K(θ_G, θ_D)),

    and G descends df_K/dθ_G, through the steps. They start from the optimizer's present moments and use this
    round's batch throughout, as in the authors' code. D then takes its ordinary first step; its weights,
    buffers and optimizer do not see the others. The paper has K from 1 to 10, and its code 5.
    """

    second_order = True

    def __init__(self, steps: int = 5):
        super().__init__()
        if steps < 1:
            raise ValueError("steps is at least 1; with none, take the update Simultaneous")
        self.steps = steps

    def look_ahead(
        self, game: Game, real: Tensor, fake: Tensor, labels: Tensor | None
    ) -> Mapping[str, Tensor]:
        own = {name: p for name, p in game.d.module.named_parameters() if p.requires_grad}
        buffers = {name: buffer.clone() for name, buffer in game.d.module.named_buffers()}
        weights: list[Tensor] = list(own.values())
        states = differentiable_optimizers.copy_states(game.d.optimizer, weights)
        for _ in range(self.steps):
            turn = game.d_loss(real, fake, labels, dict(zip(own, weights)) | buffers)
            gradients = torch.autograd.grad(turn.loss, weights, create_graph=True, materialize_grads=True)
            gradients = distributed.means(gradients)
            weights, states = differentiable_optimizers.step(game.d.optimizer, weights, gradients, states)
        return dict(zip(own, weights)) | buffers


class Consensus(nn.Module, UpdateRule):
    """Both players also descend ½γ‖v‖², and so look for agreement (Mescheder et al. 2017, Algorithm 2).

    With v = (∇_{θ_G} L_G, ∇_{θ_D} L_D) and v' its Jacobian, both step at once along v + γ·v'ᵀv (γ = 10 in
    most experiments of their code). Where eigenvalues of v' turn, this makes them contract.
    """

    second_order = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def batches(self, game: Game) -> int:
        return 1

    def forward(self, game: Game, batches: Sequence[Batch]) -> tuple[Turn, Turn]:
        ((x, labels, z),) = batches
        fake = game.generate(z)
        d, g = game.d_loss(x, fake, labels), game.g_loss(x, fake, labels)
        weights = [*game.d.parameters, *game.g.parameters]
        v = distributed.means([
            *torch.autograd.grad(d.loss, game.d.parameters, create_graph=True, materialize_grads=True),
            *torch.autograd.grad(g.loss, game.g.parameters, create_graph=True, materialize_grads=True),
        ])  # fmt: skip
        # A weight may be absent from v altogether, as the bias of a linear critic is.
        towards = torch.autograd.grad(0.5 * squared_norm(v), weights, materialize_grads=True)
        towards = distributed.means(towards)
        for weight, gradient, correction in zip(weights, v, towards):
            weight.grad = gradient.detach() + self.weight * correction
        for player, turn, moves in zip((game.d, game.g), (d, g), game.balance.who_moves(d)):
            if moves:
                player.step(turn)
        return d, g
