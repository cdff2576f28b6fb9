"""Terms added to a player's loss, and rules that hold after its steps.

A penalty names its ``players`` ("D", "G" or "DG") and is called as ``penalty(game, turn)`` for each
evaluation of such a player's loss. What it remembers between steps lives in buffers, and so in checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.techniques.game import Game, Player, Turn
from gan_ref.techniques.objectives import feature_distance


class Penalty(nn.Module):
    players = "D"
    g_sees_reals = False  # whether it needs D's output on reals in G's turn
    differentiates_real = False  # whether the gradient of D at the reals is wanted
    second_order = False  # whether it differentiates a gradient: such runs keep float32 throughout
    by_round = ""  # what it does anew each round, for which a recorded round cannot stand: gan_ref/replay.py

    def prepare(self, game: Game) -> None:
        """Called once, before a checkpoint is loaded: shape the buffers after the players' parameters."""

    def forward(self, game: Game, turn: Turn) -> Tensor | None:
        """The term, a float32 scalar on the graph of ``turn``; None where there is only a rule."""

    def after_step(self, player: Player, turn: Turn) -> None:
        """Called after each of a player's optimizer steps with the turn that it took."""

    def after_round(self, d: Turn, g: Turn) -> None:
        """Called with the round's last turns, for coefficients that follow the losses."""


# ---------------------------------------------------------------- how steep D may be


class WeightClip(Penalty):
    """Clamp D's parameters to [−c, c] after its steps (Arjovsky et al. 2017, Algorithm 1: c = 0.01)."""

    def __init__(self, limit: float = 0.01):
        super().__init__()
        self.limit = limit

    @torch.no_grad()
    def after_step(self, player: Player, turn: Turn) -> None:
        torch._foreach_clamp_min_(player.parameters, -self.limit)
        torch._foreach_clamp_max_(player.parameters, self.limit)


def gradient_norm(output: Tensor, x: Tensor) -> Tensor:
    """‖∂ Σ output / ∂x‖₂ of each sample, (N,), on the graph so that it can be minimised."""
    (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    return distributed.gather(norms / distributed.world())  # K processes: K times too large, see distributed


def uniform(like: Tensor, rng: torch.Generator | None, per_sample: bool = False) -> Tensor:
    """U[0, 1], a number for each of ``like``'s, or one for each sample (N, 1, …)."""
    shape = distributed.whole((len(like), *[1] * (like.dim() - 1)) if per_sample else like.shape)
    return distributed.part(torch.rand(shape, generator=rng, device=like.device, dtype=like.dtype))


class GradientPenalty(Penalty):
    """λ·E (‖∇ₓ̂ D(x̂)‖₂ − 1)² between reals and fakes (Gulrajani et al. 2017, eq. 3; λ = 10).

    x̂ = εx + (1 − ε)G(z) with ε ~ U[0, 1] a sample. Each sample's own gradient norm is meant, so D must not
    mix the samples of a batch: no batch norm (their §4).
    """

    second_order = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        between = torch.lerp(turn.fake, turn.real, uniform(turn.real, game.rng, per_sample=True))
        if not between.requires_grad:  # it does where the gradient is to reach G through D's loss
            between.requires_grad_()
        scores = game.discriminate(between, turn.parameters).scores
        return self.weight * (gradient_norm(scores, between) - 1).square().mean()


class DRAGAN(Penalty):
    """λ·E (‖∇ₓ̂ D(x̂)‖₂ − 1)² around the data (Kodali et al. 2017; λ = 10).

    As in the authors' code: x' = x + c·std(x)·u with c = 0.5, std over all numbers of the batch and
    u ~ U[0, 1] a pixel; x̂ = x + α(x' − x) with α ~ U[0, 1] a sample. (The later paper writes x + δ with
    δ ~ N(0, cI).)
    """

    second_order = True

    def __init__(self, weight: float = 10.0, scale: float = 0.5):
        super().__init__()
        self.weight, self.scale = weight, scale

    def perturbation(self, real: Tensor, rng: torch.Generator | None) -> Tensor:
        """x' − x, the shape of ``real``."""
        return self.scale * distributed.gather(real).std(correction=0) * uniform(real, rng)

    def forward(self, game: Game, turn: Turn) -> Tensor:
        real = turn.real.detach()
        around = real + uniform(real, game.rng, per_sample=True) * self.perturbation(real, game.rng)
        around.requires_grad_()
        scores = game.discriminate(around, turn.parameters).scores
        return self.weight * (gradient_norm(scores, around) - 1).square().mean()


class R1(Penalty):
    """(γ/2)·E ‖∇ₓ D(x)‖² at the reals (Mescheder, Geiger & Nowozin 2018, eq. 9; γ = 10).

    The authors' code has γ = 10 too, but not the ½: ``weight=20`` is what it computes.
    """

    differentiates_real = True
    second_order = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        return self.weight / 2 * gradient_norm(turn.real_output.scores, turn.real).square().mean()


# ---------------------------------------------------------------- how large D's weights may be


def squared_norm(tensors: list[Tensor]) -> Tensor:
    """Σ t² over every number of every tensor, ()."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()


class L2(Penalty):
    """(w/2)·‖θ_D‖², whose gradient w·θ_D is weight decay (Krogh & Hertz 1992)."""

    def __init__(self, weight: float = 1e-4):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight))

    def forward(self, game: Game, turn: Turn) -> Tensor:
        return self.weight.clone() / 2 * squared_norm(game.weights(turn))


class AdaptiveL2(L2):
    """L2 with w following G's error (Larsen & Sønderby 2015, "Generating faces with Torch", panel C).

    The error is e = −E log σ(s(G(z))). After each round w rises by ``change`` = 1e-5 if e > ``high`` = 1.3
    and falls by it if e < ``low`` = 0.9, never below 0, where it starts: D is held just a little better than
    G (at e = log 2 ≈ 0.69 it could only guess). The article's text says 1.2, its code 1.3.
    """

    def __init__(self, change: float = 1e-5, high: float = 1.3, low: float = 0.9):
        super().__init__(weight=0.0)
        self.change, self.high, self.low = change, high, low

    @torch.no_grad()
    def after_round(self, d: Turn, g: Turn) -> None:
        error = distributed.mean(F.softplus(-g.fake_output.scores).mean())  # of one mind, to the last bit
        self.weight += self.change * ((error > self.high).float() - (error < self.low).float())
        self.weight.clamp_(min=0)


# ---------------------------------------------------------------- where the players are going


class HistoricalAveraging(Penalty):
    """‖θ − (1/t) Σ_{i=1}^t θ[i]‖² in the loss of both players (Salimans et al. 2016, §3.3).

    θ[1] is where the player starts and θ[i + 1] where its i-th step led. The mean is kept up to date after
    each step, θ̄ ← θ̄ + (θ − θ̄)/t, so that memory does not grow with time; it is a constant of the loss.
    """

    players = "DG"

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def prepare(self, game: Game) -> None:
        for player, name in ((game.d, "D"), (game.g, "G")):
            self.register_buffer(f"{name}_count", torch.ones((), device=player.parameters[0].device))
            for k, parameter in enumerate(player.parameters):
                self.register_buffer(f"{name}_mean_{k}", parameter.detach().clone())

    def mean(self, player: str) -> list[Tensor]:
        """θ̄ of "D" or "G", in the order of the player's parameters."""
        return [buffer for name, buffer in self.named_buffers() if name.startswith(f"{player}_mean_")]

    def forward(self, game: Game, turn: Turn) -> Tensor:
        away = [now - mean for now, mean in zip(game.weights(turn), self.mean(turn.player))]
        return self.weight * squared_norm(away)

    @torch.no_grad()
    def after_step(self, player: Player, turn: Turn) -> None:
        count = getattr(self, f"{turn.player}_count")
        count += 1
        for now, mean in zip(player.parameters, self.mean(turn.player)):
            mean += (now - mean) / count


class LocalStability(Penalty):
    """η·‖∇_{θ_D} V(θ_D, θ_G)‖² in G's loss (Nagarajan & Kolter 2017, §4; η = 0.5 in their code).

    V = −L_D is what D maximises. G looks one step of D ahead: it goes where D would have little left to do.
    """

    players = "G"
    second_order = True

    def __init__(self, weight: float = 0.5):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        # at D's own parameters: it is the size of D's real step that is penalised
        d_loss = game.objective.d_loss(game.discriminate(turn.real), game.discriminate(turn.fake))
        gradients = torch.autograd.grad(d_loss, game.d.parameters, create_graph=True)
        return self.weight * squared_norm(distributed.means(gradients))


class FeatureMatching(Penalty):
    """w_t·‖E f(x) − E f(G(z))‖²₂ added to G's adversarial loss (after Salimans et al. 2016, §3.1).

    In place of that loss (the objective of the same name) it can leave D without resistance, its loss falling
    to zero at once; added to it, it steadies G. w_t rises linearly from 0 to ``weight`` over the first
    ``rounds`` rounds; with 0 it is ``weight`` from the start.
    """

    players = "G"
    g_sees_reals = True

    def __init__(self, weight: float = 1.0, rounds: int = 0):
        super().__init__()
        self.weight, self.rounds = weight, rounds
        self.by_round = "raises its weight each round" if rounds else ""

    def forward(self, game: Game, turn: Turn) -> Tensor:
        grown = min(1.0, game.step / self.rounds) if self.rounds else 1.0
        return self.weight * grown * feature_distance(turn.real_output.features, turn.fake_output.features)
