"""The game itself: two networks, what each of them minimises, and one step of either.

Everything else in this folder plugs in here. An objective turns D's outputs into two losses, penalties are
added to a player's loss, instance noise is added to whatever D sees; an update rule (updates.py) decides in
which order, and a balance (balance.py) how often, the two players move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

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
from gan_ref.networks.output import Output


@dataclass
class Turn:
    """One evaluation of a player's loss: what it saw, and what came out. Penalties read it, metrics too."""

    player: str  # whose loss it is, "D" or "G"
    real: Tensor  # (N, C, H, W) or (N, 2); of several processes, this one's part
    fake: Tensor  # the same shape
    real_output: Output | None  # None in a G turn in which nothing looks at reals
    fake_output: Output
    objective: Tensor  # (), the objective's loss alone
    loss: Tensor  # (), with the penalties added
    parameters: Mapping[str, Tensor] | None = None  # what D was evaluated at, where not at its own
    terms: dict[str, Tensor] = field(default_factory=dict)  # each penalty's value by its name


@dataclass
class Player:
    """A network, its optimizer, and the rules that hold after each of its steps."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    rules: list[nn.Module] = field(default_factory=list)  # techniques with an ``after_step``

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.module.parameters() if p.requires_grad]

    def differentiate(self, loss: Tensor, retain_graph: bool = False) -> None:
        """Set ``.grad`` of this player's parameters, and of no other's, to the gradient of ``loss``.

        Naming the inputs is what keeps the players apart: D's step leaves G's gradients untouched, and in
        G's step the weight gradients of D, a third of its backward pass, are never computed.
        """
        for parameter in self.parameters:  # optimizer.zero_grad() takes three times as long to do this
            parameter.grad = None
        loss.backward(inputs=self.parameters, retain_graph=retain_graph)
        distributed.average_gradients(self.parameters)

    def step(self, turn: Turn) -> None:
        """The step that the gradients of ``turn`` ask for, and what follows every step."""
        self.optimizer.step()
        for rule in self.rules:
            rule.after_step(self, turn)

    def descend(self, turn: Turn) -> None:
        self.differentiate(turn.loss)
        self.step(turn)


class Game:
    """G, D, and the two losses of one GAN.

    d_loss and g_loss are pure in the networks' parameters: an update rule may differentiate them in any order
    and as often as it likes, and may evaluate D at other parameters than its own (unrolling does).
    """

    def __init__(
        self,
        generator: Player,
        discriminator: Player,
        objective: nn.Module,
        penalties: Iterable[nn.Module] = (),
        instance_noise: nn.Module | None = None,
        rng: torch.Generator | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        reference: tuple[Tensor, Tensor] | None = None,
    ):
        self.g, self.d = generator, discriminator
        self.objective = objective
        self.penalties = list(penalties)
        self.d_penalties = [p for p in self.penalties if "D" in p.players]
        self.g_penalties = [p for p in self.penalties if "G" in p.players]
        self.instance_noise = instance_noise
        self.rng = rng  # for the penalties' and the instance noise's random draws
        self.autocast = autocast  # makes the context both networks run in: mixed precision or none
        self.reference = reference  # (reals, z), fixed: what virtual batch norm compares with
        self.step = 0  # rounds played so far
        self._g_compares, self._d_compares = (_has_virtual_norm(player.module) for player in (self.g, self.d))

    def prepare(self) -> None:
        """Before the first step, and before a checkpoint is loaded: what needs sight of networks and data."""
        if any(isinstance(layer, (WeightNormConv2d, WeightNormLinear)) for layer in self.d.module.modules()):
            with data_dependent_init(self.d.module):
                self.d.module(self.reference[0])
        for penalty in self.penalties:
            penalty.prepare(self)
        self.d.rules, self.g.rules = [self.objective, *self.d_penalties], self.g_penalties

    def end_round(self, d: Turn, g: Turn) -> None:
        """Count a round, and let coefficients follow its losses."""
        self.step += 1
        for penalty in self.penalties:
            penalty.after_round(d, g)

    # ---------------------------------------------------------------- the networks

    def generate(self, z: Tensor) -> Tensor:
        """z (N, Z) → fake (N, C, H, W), float32."""
        with self.autocast():
            if self._g_compares:
                set_reference(self.g.module, self.reference[1])
            return _full(self.g.module(z))

    def discriminate(self, x: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Output:
        """x (N, C, H, W) → Output in float32. ``parameters`` stand in for D's own where they are given.

        Of several processes each gives its part of x and gets the whole batch's Output.
        """
        if self.instance_noise is not None:
            x = self.instance_noise(x, self.step, self.rng)
        with self.autocast():
            output = self._call_d(x, parameters)
        return Output(*(None if value is None else distributed.gather(_full(value)) for value in output))

    def _discriminate_both(
        self, real: Tensor, fake: Tensor, parameters: Mapping[str, Tensor] | None
    ) -> tuple[Output, Output]:
        """Reals and fakes: in one pass, if D says of itself that it judges each sample separately."""
        if not getattr(self.d.module, "separate", False) or real.requires_grad:
            return self.discriminate(real, parameters), self.discriminate(fake, parameters)
        both, reals = self.discriminate(torch.cat([real, fake]), parameters), len(real) * distributed.world()
        parts = [(None, None) if value is None else value.split(reals) for value in both]
        return Output(*(part[0] for part in parts)), Output(*(part[1] for part in parts))

    def see_reference(self, parameters: Mapping[str, Tensor] | None = None) -> None:
        """Let D's virtual batch norm, if any, see the reference batch at the weights about to be used."""
        if self._d_compares:
            with self.autocast(), reference_pass(self.d.module):
                self._call_d(self.reference[0], parameters)

    def _call_d(self, x: Tensor, parameters: Mapping[str, Tensor] | None) -> Output:
        if parameters is None:
            return self.d.module(x)
        return torch.func.functional_call(self.d.module, dict(parameters), (x,))

    # ---------------------------------------------------------------- the losses

    def d_loss(
        self,
        real: Tensor,
        fake: Tensor,
        labels: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Turn:
        """What D minimises on a batch of reals and one of fakes: detached, unless G is differentiated too."""
        self.see_reference(parameters)
        if any(p.differentiates_real for p in self.d_penalties):
            real = real.detach().requires_grad_()
        real_output, fake_output = self._discriminate_both(real, fake, parameters)
        labels = None if labels is None else distributed.gather(labels)
        loss = self.objective.d_loss(real_output, fake_output, labels)
        return self._with_penalties(Turn("D", real, fake, real_output, fake_output, loss, loss, parameters))

    def g_loss(self, real: Tensor, fake: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Turn:
        """What G minimises; its gradient comes through ``fake``, and ``parameters`` if they depend on G."""
        self.see_reference(parameters)
        if any(part.g_sees_reals for part in (self.objective, *self.g_penalties)):
            real = real[: len(fake)]  # after those come the labelled ones, which are D's affair
            real_output, fake_output = self._discriminate_both(real, fake, parameters)
        else:
            real_output, fake_output = None, self.discriminate(fake, parameters)
        loss = self.objective.g_loss(real_output, fake_output)
        return self._with_penalties(Turn("G", real, fake, real_output, fake_output, loss, loss, parameters))

    def _with_penalties(self, turn: Turn) -> Turn:
        for penalty in self.d_penalties if turn.player == "D" else self.g_penalties:
            value = penalty(self, turn)
            if value is not None:
                turn.terms[type(penalty).__name__] = value
                turn.loss = turn.loss + value
        return turn

    def weights(self, turn: Turn) -> list[Tensor]:
        """What the loss of ``turn`` is a function of: its player's parameters, or those in their place."""
        if turn.player == "G" or turn.parameters is None:
            return (self.g if turn.player == "G" else self.d).parameters
        own = self.d.module.named_parameters()
        return [turn.parameters[name] for name, parameter in own if parameter.requires_grad]


def _has_virtual_norm(network: nn.Module) -> bool:
    return any(isinstance(layer, VirtualBatchNorm2d) for layer in network.modules())


def _full(x: Tensor) -> Tensor:
    """Losses and statistics are computed in float32, whatever the networks run in (or in float64)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
