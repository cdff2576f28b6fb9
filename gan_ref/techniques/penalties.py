"""Terms added to a player's loss, and rules that hold after its steps.

A penalty names its ``players`` ("D", "G" or "DG"), and is called as ``penalty(game, turn)`` for each
evaluation of the loss of such a player. What it remembers between steps is in its buffers, and so in
checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.techniques.game import Game, Penalty, Player, Turn
from gan_ref.techniques.numerics import safe_root, squared_norm
from gan_ref.techniques.objectives import feature_distance

# ---------------------------------------------------------------- how steep D may be


class WeightClip(nn.Module, Penalty):
    """Clamp D's parameters to [−c, c] after its steps (Arjovsky et al. 2017, Algorithm 1: c = 0.01)."""

    def __init__(self, limit: float = 0.01):
        super().__init__()
        self.limit = limit

    def forward(self, game: Game, turn: Turn) -> None:
        """Nothing is added to the loss."""

    @torch.no_grad()
    def after_step(self, player: Player, turn: Turn) -> None:
        torch._foreach_clamp_min_(player.parameters, -self.limit)
        torch._foreach_clamp_max_(player.parameters, self.limit)


def squared_slope(output: Tensor, x: Tensor) -> Tensor:
    """‖∂ Σ output / ∂x‖² of each sample, (N,), on the graph so that it can be minimised."""
    (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    gradient = gradient / distributed.world()  # of K processes it is K times too large: see distributed.py
    return distributed.gather(gradient.flatten(1).square().sum(dim=1))


def slope(output: Tensor, x: Tensor) -> Tensor:
    """‖∂ Σ output / ∂x‖₂ of each sample, (N,), whose derivatives at a zero gradient are 0."""
    return safe_root(squared_slope(output, x))


def uniform(like: Tensor, rng: torch.Generator | None, per_sample: bool = False) -> Tensor:
    """Numbers from U[0, 1) in the shape of ``like``, or one for each sample, (N, 1, …)."""
    shape = distributed.whole((len(like), *[1] * (like.dim() - 1)) if per_sample else like.shape)
    return distributed.part(torch.rand(shape, generator=rng, device=like.device, dtype=like.dtype))


class GradientPenalty(nn.Module, Penalty):
    """λ·E (‖∇ₓ̂ D(x̂)‖₂ − 1)² between reals and fakes (Gulrajani et al. 2017, eq. 3; λ = 10).

    x̂ = εx + (1 − ε)G(z), with one ε ~ U[0, 1] for each sample. Each sample's own gradient is meant, so D
    must not mix the samples of a batch, as batch norm does (their §4).
    """

    second_order = True
    each_sample_alone = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        real = turn.real[: len(turn.fake)]  # labelled samples may follow
        between = torch.lerp(turn.fake, real, uniform(real, game.rng, per_sample=True))
        if not between.requires_grad:  # it already does where the gradient has to reach G through D's loss
            between.requires_grad_()
        scores = game.discriminate(between, turn.parameters, turn.labels).scores
        return self.weight * (slope(scores, between) - 1).square().mean()


class DRAGAN(nn.Module, Penalty):
    """λ·E (‖∇ₓ̂ D(x̂)‖₂ − 1)² around the data (Kodali et al. 2017; λ = 10).

    As in the authors' code, x' = x + c·std(x)·u with c = 0.5, std over all numbers of the batch and one u ~
    U[0, 1] for each pixel, and x̂ = x + α(x' − x) with one α ~ U[0, 1] for each sample. (The later paper
    writes x + δ with δ ~ N(0, cI).)
    """

    second_order = True
    each_sample_alone = True

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
        scores = game.discriminate(around, turn.parameters, turn.labels).scores
        return self.weight * (slope(scores, around) - 1).square().mean()


class R1(nn.Module, Penalty):
    """(γ/2)·E ‖∇ₓ D(x)‖² at the reals (Mescheder, Geiger & Nowozin 2018, eq. 9; γ = 10).

    The authors' code has γ = 10 too, but not the ½, so ``weight=20`` is what it computes.
    """

    differentiates_real = True
    second_order = True
    each_sample_alone = True

    def __init__(self, weight: float = 10.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        return self.weight / 2 * squared_slope(turn.real_scores, turn.real).mean()


class R2(R1):
    """(γ/2)·E ‖∇ₓ D(G(z))‖² at the fakes (Mescheder, Geiger & Nowozin 2018, eq. 10).

    Beside R1 it keeps the game of Relativistic local to its solution (Huang et al. 2024, §2.3).
    """

    differentiates_real = False
    differentiates_fake = True

    def forward(self, game: Game, turn: Turn) -> Tensor:
        return self.weight / 2 * squared_slope(turn.fake_output.scores, turn.fake).mean()


class Drift(nn.Module, Penalty):
    """ε·E s(x)² at the reals (Karras et al. 2018, appendix A.1; ε = 0.001).

    All scores of a Wasserstein critic may rise or fall together, which changes no loss. This holds them near
    0.
    """

    def __init__(self, weight: float = 1e-3):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        return self.weight * turn.real_scores.square().mean()


# ---------------------------------------------------------------- how large D's weights may be


class L2(nn.Module, Penalty):
    """w·‖θ_D‖², weight decay in the loss (Krogh & Hertz 1992).

    Larsen & Sønderby (2015) add (w/2)·‖θ_D‖² to D's mean error over reals and fakes together. Our losses are
    the sum of the two means, twice that error, so the same ratio needs w·‖θ_D‖².
    """

    weight: Tensor

    def __init__(self, weight: float = 1e-4):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight))

    def forward(self, game: Game, turn: Turn) -> Tensor:
        return self.weight.clone() * squared_norm(game.weights(turn))


class AdaptiveL2(L2):
    """L2 whose w follows G's error (Larsen & Sønderby 2015, "Generating faces with Torch", panel C).

    The error is e = −E log σ(s(G(z))). After each round w rises by ``change`` = 1e-5 if e > ``high`` = 1.3,
    and falls by it if e < ``low`` = 0.9. It starts at 0 and never falls below. So D is held just a little
    better than G (at e = log 2 ≈ 0.69 it could only guess). The article's text says 1.2 and its code 1.3.
    """

    def __init__(self, change: float = 1e-5, high: float = 1.3, low: float = 0.9):
        super().__init__(weight=0.0)
        self.change, self.high, self.low = change, high, low

    @torch.no_grad()
    def after_round(self, d: Turn, g: Turn) -> None:
        error = distributed.mean(F.softplus(-g.fake_output.scores).mean())  # identical on every rank
        self.weight += self.change * ((error > self.high).float() - (error < self.low).float())
        self.weight.clamp_(min=0)


# ---------------------------------------------------------------- where the players are going


class HistoricalAveraging(nn.Module, Penalty):
    """‖θ − (1/t) Σ_{i=1}^t θ[i]‖² in the loss of both players (Salimans et al. 2016, §3.3).

    The player starts at θ[1], and its i-th step leads to θ[i + 1]. The mean is updated after each step,
    θ̄ ← θ̄ + (θ − θ̄)/t, so memory does not grow with time. In the loss it is a constant.
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


class LocalStability(nn.Module, Penalty):
    """η·‖∇_{θ_D} V(θ_D, θ_G)‖² in G's loss (Nagarajan & Kolter 2017, §4; η = 0.5 in their code).

    V = −L_D is what D maximises. G looks one step of D ahead, and goes where D would have little left to do.
    """

    players = "G"
    second_order = True

    def __init__(self, weight: float = 0.5):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        if turn.parameters is not None:  # the penalty is on D's real step, from its own parameters
            game.see_reference()
        real, fake = (game.discriminate(x, labels=turn.labels) for x in (turn.real, turn.fake))
        d_loss = game.objective.d_loss(real, fake)
        gradients = torch.autograd.grad(d_loss, game.d.parameters, create_graph=True, materialize_grads=True)
        return self.weight * squared_norm(distributed.means(gradients))


class FeatureMatchingTerm(nn.Module, Penalty):
    """w_t·‖E f(x) − E f(G(z))‖²₂ added to G's adversarial loss (after Salimans et al. 2016, §3.1).

    Without the adversarial loss (the objective FeatureMatching), D can meet no resistance and its loss can
    fall to zero at once. Added to that loss, the term steadies G. w_t rises linearly from 0 to ``weight``
    over the first ``rounds`` rounds; with 0 rounds it is ``weight`` from the start.
    """

    players = "G"
    g_sees_reals = True

    def __init__(self, weight: float = 1.0, rounds: int = 0):
        super().__init__()
        self.weight, self.rounds = weight, rounds
        self.changes_each_round = "raises its weight each round" if rounds else ""

    def forward(self, game: Game, turn: Turn) -> Tensor:
        grown = min(1.0, game.round / self.rounds) if self.rounds else 1.0
        assert turn.real_output is not None
        return self.weight * grown * feature_distance(turn.real_output.features, turn.fake_output.features)


# ---------------------------------------------------------------- what the samples are


class AuxiliaryClassifier(nn.Module, Penalty):
    """w·L_C in both players' losses: the classes that were asked for are to be seen (Odena et al. 2017, §4).

    L_C = −E log P(y|x) − E log P(y|G(z, y)) in D's loss, by the logits that ``--conditional auxiliary`` gives
    it (their eq. 3), and −E log P(y|G(z, y)) in G's, since the part on reals does not depend on G.
    """

    players = "DG"

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def forward(self, game: Game, turn: Turn) -> Tensor:
        seen = [turn.fake_output, *([turn.real_output] if turn.player == "D" else [])]
        assert turn.labels is not None
        labels = distributed.gather(turn.labels)
        return self.weight * sum(F.cross_entropy(o.logits, labels) for o in seen)  # type: ignore
