"""The game: two networks, what each of them minimises, and one step of either.

Everything else in this folder plugs in here, by one of four protocols. An objective turns D's outputs into
two losses, and penalties are added to a player's loss. A balance decides how often each player moves, and an
update rule plays a round. (Whatever D sees is augmented first, and instance noise is added.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.layers import (
    VirtualBatchNorm2d,
    WeightNormConv2d,
    WeightNormLinear,
    data_dependent_init,
    reference_pass,
    set_reference,
)
from gan_ref.networks.output import Output, join
from gan_ref.networks.progressive import fade
from gan_ref.techniques.augmentation import DiffAugment
from gan_ref.techniques.averaging import Average
from gan_ref.techniques.growth import Stages, grow
from gan_ref.techniques.noise import InstanceNoise
from gan_ref.techniques.schedules import Ramp, Schedules, settings


class Batch(NamedTuple):
    """What a round draws for one step of D: this process's part, where there are several."""

    x: Tensor  # reals (N, C, H, W) in [−1, 1], or points (N, 2)
    labels: Tensor | None  # int64 (N,), where the data has them
    z: Tensor  # (N, Z); of a conditional G (N, Z + K), with the labels at its end


@dataclass
class Turn:
    """One evaluation of a player's loss: what it saw, and what came out. Penalties and the monitor read
    it.
    """

    player: str  # whose loss it is, "D" or "G"
    real: Tensor  # (N, C, H, W) or (N, 2), or packs of them; this process's part
    fake: Tensor  # the same shape
    real_output: Output | None  # None in a turn of G in which nothing looks at reals
    fake_output: Output
    loss: Tensor  # (), the objective's loss with the penalties added
    parameters: Mapping[str, Tensor] | None = None  # what D was evaluated at, if not at its own
    labels: Tensor | None = None  # this process's part, of reals and fakes alike where G is conditional
    terms: dict[str, Tensor] = field(default_factory=dict)  # each penalty's value by its name
    moved: bool = False  # whether its player has taken the step that this loss asks for

    @property
    def real_scores(self) -> Tensor:
        """D's scores of the reals, (N,), in a turn that looked at them."""
        assert self.real_output is not None
        return self.real_output.scores


@dataclass
class Player:
    """A network, its optimizer, and the rules that hold after each of its steps."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    rules: Sequence[Objective | Penalty] = ()  # their ``after_step`` is called

    @cached_property
    def parameters(self) -> list[Tensor]:
        return [p for p in self.module.parameters() if p.requires_grad]

    def differentiate(self, loss: Tensor) -> None:
        """Set ``.grad`` of this player's parameters, and of no other's, to the gradient of ``loss``.

        Naming the inputs keeps the players apart. D's step leaves G's gradients untouched, and in G's step
        the weight gradients of D, a third of its backward pass, are never computed.
        """
        for parameter in self.parameters:  # optimizer.zero_grad() takes three times as long to do this
            parameter.grad = None
        loss.backward(inputs=self.parameters)
        distributed.average_gradients(self.parameters)

    def step(self, turn: Turn) -> None:
        """Take the step that the gradients ask for, and apply the rules that follow every step."""
        self.optimizer.step()
        turn.moved = True
        for rule in self.rules:
            rule.after_step(self, turn)

    def descend(self, turn: Turn) -> None:
        self.differentiate(turn.loss)
        self.step(turn)


# ---------------------------------------------------------------- what plugs into the game


class Objective(Protocol):
    """The two losses of a GAN, each a mean over the batch, float32 (). See objectives.py."""

    g_sees_reals: bool = False  # whether g_loss needs D's output on a batch of reals
    threshold: float | None = (
        0.0  # the score above which D calls a sample real; None: midway between the means
    )
    rng: torch.Generator | None = None  # the game's, for an objective that draws
    log_odds: bool = False  # whether the score is log(p / (1 − p)) of D's belief p that a sample is real

    def d_loss(self, real: Output, fake: Output, labels: Tensor | None = None) -> Tensor: ...

    def g_loss(self, real: Output | None, fake: Output) -> Tensor: ...

    def after_step(self, player: Player, turn: Turn) -> None:
        """Called after each of D's steps with the turn that it took, for state that follows D."""

    def middle(self, real: Tensor, fake: Tensor) -> Tensor | float:
        """The score above which D calls a sample real, given its scores of reals and of fakes."""
        return (real.mean() + fake.mean()) / 2 if self.threshold is None else self.threshold

    def probability(self, scores: Tensor) -> Tensor:
        """D's belief that each sample is real if the scores are log odds, else the scores themselves."""
        return torch.sigmoid(scores) if self.log_odds else scores


class Penalty(Protocol):
    """A term added to a player's loss, or a rule that holds after its steps. See penalties.py."""

    players: str = "D"  # whose loss it joins: "D", "G" or "DG"
    g_sees_reals: bool = False  # whether it needs D's output on reals in G's turn
    differentiates_real: bool = False  # whether it takes the gradient of D at the reals
    differentiates_fake: bool = False  # and at the fakes
    each_sample_alone: bool = (
        False  # whether it means each sample's own gradient, so that D may not mix a batch
    )
    second_order: bool = False  # whether it differentiates a gradient; such runs stay in float32
    changes_each_round: str = (
        ""  # what it does anew each round; a recorded round cannot: gan_ref/cuda_graph.py
    )

    def prepare(self, game: Game) -> None:
        """Called once, before a checkpoint is loaded: shape the buffers like the players' parameters."""

    def __call__(self, game: Game, turn: Turn) -> Tensor | None:
        """The term, float32 () on the graph of ``turn``; None if there is only a rule."""

    def after_step(self, player: Player, turn: Turn) -> None:
        """Called after each of a player's steps with the turn that it took."""

    def after_round(self, d: Turn, g: Turn) -> None:
        """Called with the round's last turns, for coefficients that follow the losses."""


class Balance(Protocol):
    """Who moves, and how often. See balance.py."""

    changes_each_round: str = ""  # as for penalties

    def steps(self, round: int) -> tuple[int, int]:
        """How often each player moves in this round, (k_D, k_G)."""
        ...

    def who_moves(self, d: Turn) -> tuple[bool, bool]:
        """(D moves, G moves), decided from D's evaluation ``d``."""
        ...


class UpdateRule(Protocol):
    """How a round is played. See updates.py."""

    second_order: bool = False  # whether it differentiates a gradient

    def batches(self, game: Game) -> int:
        """How many batches the next round takes."""
        ...

    def __call__(self, game: Game, batches: Sequence[Batch]) -> tuple[Turn, Turn]:
        """Play a round on these batches. Returns the last evaluation of D's and of G's loss."""
        ...


# ---------------------------------------------------------------- the game


class Game:
    """G, D, and the two losses of one GAN.

    d_loss and g_loss are pure in the networks' parameters. So an update rule may differentiate them in any
    order and as often as it likes, and may evaluate D at other parameters than its own (unrolling does).
    """

    def __init__(
        self,
        generator: Player,
        discriminator: Player,
        objective: Objective,
        balance: Balance,
        penalties: Sequence[Penalty] = (),
        instance_noise: InstanceNoise | None = None,
        augmentation: DiffAugment | None = None,
        growth: Stages | None = None,
        schedules: Sequence[Ramp] = (),
        steps: int = 0,
        rng: torch.Generator | None = None,
        reference: Batch | None = None,
        averages: Sequence[Average] = (),
        bfloat16: bool = False,
        pack: int = 1,
        mixed_batches: bool = False,
    ):
        self.g, self.d = generator, discriminator
        self.objective, self.balance = objective, balance
        self.penalties = list(penalties)
        self.d_penalties = [p for p in self.penalties if "D" in p.players]
        self.g_penalties = [p for p in self.penalties if "G" in p.players]
        self.instance_noise, self.augmentation, self.growth = instance_noise, augmentation, growth
        g_group, d_group = (player.optimizer.param_groups[0] for player in (self.g, self.d))
        techniques = filter(None, (objective, balance, *penalties, instance_noise, augmentation))
        self.schedules = Schedules(schedules, steps, settings(g_group, d_group, techniques))
        self.rng = objective.rng = rng  # for the random draws of the techniques
        self.reference = reference  # fixed: what virtual batch norm compares with
        self.averages = averages
        self.bfloat16 = bfloat16  # whether the networks run in mixed precision
        self.pack = pack  # samples that D judges together
        self.mixed_batches = mixed_batches  # whether reals and fakes share a pass, batch norm's included
        self.round = 0  # rounds played so far
        self._g_compares, self._d_compares = (_has_virtual_norm(player.module) for player in (self.g, self.d))

    def prepare(self) -> None:
        """Do what needs sight of the networks and of data, before the first step and before a checkpoint is
        loaded.
        """
        if any(isinstance(layer, (WeightNormConv2d, WeightNormLinear)) for layer in self.d.module.modules()):
            with data_dependent_init(self.d.module):
                reference = self._reference()
                self._call_d(self.packs(reference.x), None, reference.labels)
        for penalty in self.penalties:
            penalty.prepare(self)
        self.d.rules, self.g.rules = [self.objective, *self.d_penalties], self.g_penalties

    def begin_round(self) -> None:
        """Give scheduled settings their values of this round, and networks that grow their size."""
        self.schedules.begin_round(self.round)
        self.grow()

    def end_round(self, d: Turn, g: Turn) -> None:
        """Count the round, let coefficients follow its losses, and move the averages of the weights."""
        self.schedules.end_round()
        self.round += 1
        for penalty in self.penalties:
            penalty.after_round(d, g)
        if self.augmentation is not None:
            middle = self.objective.middle(d.real_scores, d.fake_output.scores)
            self.augmentation.follow(torch.sign(d.real_scores - middle))
        for average in self.averages:
            average.update(self.round)

    # ---------------------------------------------------------------- the networks

    def grow(self) -> None:
        """Let the networks and the averages of their weights, if they grow, run at the size of this round."""
        players = self.g.module, self.d.module
        averages = [average.module for average in self.averages]
        grow(self.growth, self.round, self.schedules.steps, [*players, *averages])

    def generate(self, z: Tensor) -> Tensor:
        """z (N, Z) → fake (N, C, H, W), float32."""
        with self._arithmetic(z):
            if self._g_compares:
                set_reference(self.g.module, self._reference().z)
            return _full(self.g.module(z))

    def packs(self, x: Tensor) -> Tensor:
        """Samples (N, C, …) → packs (N/m, m·C, …), which D sees as one sample each.

        D sees m samples of one side at once, so a G whose samples are alike is found out (Lin et al. 2018,
        "PacGAN", §2.2). From here on a pack takes the place of a sample, in penalties and noise too.
        """
        return x if self.pack == 1 else x.unflatten(0, (-1, self.pack)).flatten(1, 2)

    def reals(self, x: Tensor) -> Tensor:
        """Reals (N, C, …) as D sees them: packed, and as sharp as the fakes of a G that grows."""
        if self.growth is not None:
            x = fade(x, self.d.module)
        return self.packs(x)

    def discriminate(
        self, x: Tensor, parameters: Mapping[str, Tensor] | None = None, labels: Tensor | None = None
    ) -> Output:
        """x (N, C, H, W) → Output in float32. ``parameters`` stand in for D's own where they are given.

        A conditional D is told the ``labels`` of the samples, int64 (N,); another one does not see them.

        With several processes, each gives its part of x and gets the whole batch's Output.
        """
        if self.augmentation is not None:
            x = self.augmentation(x, self.rng, self.pack)
        if self.instance_noise is not None:
            x = self.instance_noise(x, self.round, self.rng)
        with self._arithmetic(x):
            output = self._call_d(x, parameters, labels)
        logits = None if output.logits is None else distributed.gather(_full(output.logits))
        return Output(
            distributed.gather(_full(output.scores)), distributed.gather(_full(output.features)), logits
        )

    def see_reference(self, parameters: Mapping[str, Tensor] | None = None) -> None:
        """Let D's virtual batch norm, if it has any, see the reference batch at the weights about to be
        used.
        """
        if self._d_compares:
            x, labels = self.packs(self._reference().x), self._reference().labels
            with self._arithmetic(x), reference_pass(self.d.module):
                self._call_d(x, parameters, labels)

    def _discriminate_both(
        self, real: Tensor, fake: Tensor, parameters: Mapping[str, Tensor] | None, labels: Tensor | None
    ) -> tuple[Output, Output]:
        """D on reals and on fakes; in one pass, if D says that it judges each sample separately, or if
        batches are mixed.

        In a mixed batch (Larsen & Sønderby 2015, their code) D's batch norm takes the mean and variance of
        reals and fakes together, so that the two are apart in what it returns as they are in what it gets. G
        still shows D its fakes alone, unless its loss looks at reals too.
        """
        separate = getattr(self.d.module, "separate", False) and not real.requires_grad
        if not (self.mixed_batches or separate):
            # labelled samples may follow the reals: a sample is compared with as many others in all parts
            parts = [self.discriminate(x, parameters, labels) for x in (*real.split(len(fake)), fake)]
            return join(parts[:-1]), parts[-1]
        twice = None if labels is None else torch.cat([labels, labels])
        both = self.discriminate(torch.cat([real, fake]), parameters, twice)
        reals = len(real) * distributed.world()
        return both.rows(slice(None, reals)), both.rows(slice(reals, None))

    def _call_d(self, x: Tensor, parameters: Mapping[str, Tensor] | None, labels: Tensor | None) -> Output:
        inputs = (x, labels) if getattr(self.d.module, "sees_labels", False) else (x,)
        if parameters is None:
            return self.d.module(*inputs)
        return torch.func.functional_call(self.d.module, dict(parameters), inputs)

    def _arithmetic(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _reference(self) -> Batch:
        if self.reference is None:
            raise ValueError("a network that compares with a reference batch needs Game(reference=...)")
        return self.reference

    # ---------------------------------------------------------------- the losses

    def d_loss(
        self,
        real: Tensor,
        fake: Tensor,
        labels: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Turn:
        """What D minimises on reals and fakes. Detach the fakes, unless G is differentiated too."""
        self.see_reference(parameters)
        real, fake = self.reals(real), self.packs(fake)
        if any(p.differentiates_real for p in self.d_penalties):
            real = real.detach().requires_grad_()
        if any(p.differentiates_fake for p in self.d_penalties) and not fake.requires_grad:
            fake = fake.detach().requires_grad_()
        real_output, fake_output = self._discriminate_both(real, fake, parameters, labels)
        every = None if labels is None else distributed.gather(labels)
        loss = self.objective.d_loss(real_output, fake_output, every)
        return self._add_penalties(Turn("D", real, fake, real_output, fake_output, loss, parameters, labels))

    def g_loss(
        self,
        real: Tensor,
        fake: Tensor,
        labels: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Turn:
        """What G minimises. Its gradient comes through ``fake``, and through ``parameters`` if they depend on
        G.
        """
        self.see_reference(parameters)
        real, fake = self.reals(real), self.packs(fake)
        real_output = None
        if any(part.g_sees_reals for part in (self.objective, *self.g_penalties)):
            real = real[: len(fake)]  # labelled samples may follow, for D alone
            real_output, fake_output = self._discriminate_both(real, fake, parameters, labels)
        else:
            fake_output = self.discriminate(fake, parameters, labels)
        loss = self.objective.g_loss(real_output, fake_output)
        return self._add_penalties(Turn("G", real, fake, real_output, fake_output, loss, parameters, labels))

    def _add_penalties(self, turn: Turn) -> Turn:
        for penalty in self.d_penalties if turn.player == "D" else self.g_penalties:
            value = penalty(self, turn)
            if value is not None:
                turn.terms[type(penalty).__name__] = value
                turn.loss = turn.loss + value
        return turn

    def weights(self, turn: Turn) -> list[Tensor]:
        """What the loss of ``turn`` is a function of: its player's parameters, or those in their place."""
        if turn.player == "G" or turn.parameters is None:
            return list((self.g if turn.player == "G" else self.d).parameters)
        own = self.d.module.named_parameters()
        return [turn.parameters[name] for name, parameter in own if parameter.requires_grad]


def _has_virtual_norm(network: nn.Module) -> bool:
    return any(isinstance(layer, VirtualBatchNorm2d) for layer in network.modules())


def _full(x: Tensor) -> Tensor:
    """x in float32, as losses and statistics are computed, whatever the networks run in (float64 stays)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
