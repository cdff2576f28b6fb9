"""Update rules: who is differentiated through what, against numerical derivatives and quadratic games."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from toys import Critic, Points, batches, normal, play, play_round, seeded

from gan_ref.networks.output import Output
from gan_ref.techniques import differentiable_optimizers, penalties, updates
from gan_ref.techniques.balance import Fixed
from gan_ref.techniques.game import Batch, Penalty
from gan_ref.techniques.objectives import FeatureMatching, Wasserstein

OPTIMIZERS = {
    "adam": lambda module: torch.optim.Adam(module.parameters(), 0.05, (0.5, 0.9)),
    "fused adam": lambda module: torch.optim.Adam(module.parameters(), 0.05, (0.5, 0.999), fused=True),
    "rmsprop": lambda module: torch.optim.RMSprop(module.parameters(), 0.01, alpha=0.9),
    "sgd": lambda module: torch.optim.SGD(module.parameters(), 0.1),
    "momentum": lambda module: torch.optim.SGD(module.parameters(), 0.1, momentum=0.9),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


# ---------------------------------------------------------------- the players are kept apart


def test_a_step_of_one_player_leaves_the_others_gradients_none():
    for mover in "DG":
        game = play()
        real, labels, z = batches()()
        fake = game.generate(z)
        if mover == "D":
            game.d.descend(game.d_loss(real, fake, labels))
        else:
            game.g.descend(game.g_loss(real, fake))
        moved, still = (game.d, game.g) if mover == "D" else (game.g, game.d)
        assert all(p.grad is not None for p in moved.parameters)
        assert all(p.grad is None for p in still.parameters)


def test_alternating_is_the_loop_everybody_writes():
    game, draw = play(), batches()
    d_module, g_module = copy.deepcopy(game.d.module), copy.deepcopy(game.g.module)
    play_round(game, updates.Alternating(), draw, Fixed(d_steps=2))

    draw = batches()
    d_optimizer, g_optimizer = (torch.optim.SGD(m.parameters(), 0.1) for m in (d_module, g_module))
    bce = nn.functional.binary_cross_entropy_with_logits
    for _ in range(2):
        real, _, z = draw()
        on_real, on_fake = d_module(real).scores, d_module(g_module(z).detach()).scores
        d_optimizer.zero_grad()
        (bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))).backward()
        d_optimizer.step()
    g_optimizer.zero_grad()
    fools = d_module(g_module(z)).scores
    bce(fools, torch.ones_like(fools)).backward()
    g_optimizer.step()
    for mine, theirs in ((game.d.module, d_module), (game.g.module, g_module)):
        for a, b in zip(mine.parameters(), theirs.parameters()):
            assert torch.allclose(a, b, rtol=1e-12)


# ---------------------------------------------------------------- optimizers as functions


@every_optimizer
def test_a_step_as_a_function_is_the_optimizers_own(optimizer):
    module = Points()
    real = optimizer(module)
    parameters = [p.detach().clone() for p in module.parameters()]
    states = differentiable_optimizers.copy_states(real, list(module.parameters()))
    for k in range(6):
        gradients = [normal(*p.shape, seed=10 * k + j) for j, p in enumerate(parameters)]
        if k == 3:  # join an optimizer in the middle of its life
            states = differentiable_optimizers.copy_states(real, list(module.parameters()))
        parameters, states = differentiable_optimizers.step(real, parameters, gradients, states)
        for p, gradient in zip(module.parameters(), gradients):
            p.grad = gradient.clone()
        real.step()
        for mine, theirs in zip(parameters, module.parameters()):
            assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-14)


@every_optimizer
def test_a_weight_without_gradient_asks_for_none_through_the_step(optimizer):
    module = nn.Linear(2, 1, bias=False).double()
    gradient = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)  # a dead unit's, on its first step
    rule, weight = optimizer(module), [module.weight]
    (after,), _ = differentiable_optimizers.step(
        rule, weight, [gradient], differentiable_optimizers.copy_states(rule, weight)
    )
    (through,) = torch.autograd.grad(after.sum(), gradient)
    assert torch.isfinite(through).all()


def test_what_cannot_be_differentiated_through_is_refused():
    module = Points()
    for rule in (
        torch.optim.Adagrad(module.parameters()),
        torch.optim.Adam(module.parameters(), weight_decay=0.1),
        torch.optim.RMSprop(module.parameters(), momentum=0.5),
    ):
        with pytest.raises(ValueError, match="cannot differentiate"):
            differentiable_optimizers.step(rule, [], [], [])


# ---------------------------------------------------------------- unrolling


class Recorded(updates.Unrolled):
    """Unrolling whose G step can be looked at: D and G stand still afterwards."""

    def gradient(self, game, real: Tensor, z: Tensor) -> list[Tensor]:
        fake = game.generate(z)
        turn = game.g_loss(real, fake, None, self.look_ahead(game, real, fake, None))
        return [*torch.autograd.grad(turn.loss, game.g.parameters)]


def warmed(game) -> None:
    """Give D's optimizer moments of its own."""
    draw = batches(seed=9)
    for _ in range(3):
        play_round(game, updates.Alternating(), draw)


@every_optimizer
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {
            "objective": Wasserstein(),
            "penalties": [penalties.GradientPenalty(0.1), penalties.R1(0.1), penalties.L2(0.1)],
        },
        {"objective": FeatureMatching()},
    ],
    ids=["plain", "penalised", "features"],
)
def test_the_unrolled_gradient_is_the_derivative_through_ds_steps(optimizer, parts):
    game = play(Critic(), optimizer=optimizer, **parts)
    warmed(game)
    real, _, z = batches(seed=5)()
    depth = 3

    def f_k() -> float:
        """G's loss after ``depth`` real steps of a copy of D with a copy of its optimizer."""
        module = copy.deepcopy(game.d.module)
        rule = optimizer(module)
        rule.load_state_dict(copy.deepcopy(game.d.optimizer.state_dict()))
        other = play(module, game.g.module, **parts)
        fake = other.generate(z).detach()
        for _ in range(depth):
            rule.zero_grad()
            other.d_loss(real, fake).loss.backward()
            rule.step()
        return other.g_loss(real, fake).loss.item()

    game.rng = seeded(3)  # the penalties' draws are the same in both, and part of neither derivative
    found = Recorded(depth).gradient(game, real, z)
    plain = torch.autograd.grad(game.g_loss(real, game.generate(z)).loss, game.g.parameters)
    assert not all(torch.allclose(a, b, rtol=1e-2) for a, b in zip(found, plain)), "looking ahead matters"
    ε = 1e-6
    for parameter, gradient in zip(game.g.parameters, found):
        flat = parameter.data.view(-1)
        for k in range(0, len(flat), 3):
            here = flat[k].item()
            flat[k] = here + ε
            above = f_k()
            flat[k] = here - ε
            below = f_k()
            flat[k] = here
            assert gradient.view(-1)[k].item() == pytest.approx((above - below) / (2 * ε), rel=1e-4, abs=1e-7)


@every_optimizer
@pytest.mark.parametrize("critic", [{"batch_norm": True}, {"spectral": True}], ids=str)
def test_unrolling_leaves_d_bit_identical_up_to_its_own_step(optimizer, critic):
    unrolled, plain = (play(Critic(**critic), optimizer=optimizer) for _ in range(2))
    for game in (unrolled, plain):
        warmed(game)

    def of(game) -> list[Tensor]:
        state = game.d.optimizer.state_dict()["state"]
        moments = [value for one in state.values() for value in one.values() if torch.is_tensor(value)]
        return [*game.d.module.state_dict().values(), *moments]

    real, _, z = batches(seed=5)()
    before = [value.clone() for value in of(unrolled)]
    fake = unrolled.generate(z)
    ahead = updates.Unrolled(4).look_ahead(unrolled, real, fake, None)
    unrolled.g_loss(real, fake, None, ahead).loss.backward(inputs=unrolled.g.parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, of(unrolled), strict=True))

    # a whole round moves D as the simultaneous update does
    for game, update in ((unrolled, updates.Unrolled(4)), (plain, updates.Simultaneous())):
        game.g.module.load_state_dict(plain.g.module.state_dict())
        play_round(game, update, batches(seed=5))
    weights = dict(unrolled.d.module.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in plain.d.module.named_parameters())


def test_unrolling_needs_a_step():
    with pytest.raises(ValueError, match="at least 1"):
        updates.Unrolled(0)


# ---------------------------------------------------------------- quadratic games


class Parameter(nn.Module):
    """A player that is a vector: G(z) = θ for every z, D's score at x is xᵀBψ."""

    def __init__(self, value: Tensor, coupling: Tensor | None = None):
        super().__init__()
        self.value, self.coupling = nn.Parameter(value.clone()), coupling

    def forward(self, x: Tensor):
        if self.coupling is None:
            return self.value.expand(len(x), -1)
        return Output(x @ self.coupling @ self.value, x)


class QuadraticTerm(nn.Module, Penalty):
    """½ pᵀ Q p of the moving player's vector p."""

    def __init__(self, players: str, matrix: Tensor):
        super().__init__()
        self.players, self.matrix = players, matrix

    def forward(self, game, turn):
        (p,) = game.weights(turn)
        return 0.5 * p @ self.matrix @ p


A, B, C = normal(3, 3, seed=1), normal(3, 3, seed=2), normal(3, 3, seed=3)
A, C = A + A.T, C + C.T


def quadratic(lr: float, terms: bool = True):
    """L_G = ½θᵀAθ − θᵀBψ,  L_D = ½ψᵀCψ + θᵀBψ."""
    θ, ψ = normal(3, seed=4), normal(3, seed=5)
    game = play(
        Parameter(ψ, B if terms else torch.eye(3).double()),
        Parameter(θ),
        optimizer=lambda module: torch.optim.SGD(module.parameters(), lr),
        objective=Wasserstein(),
        penalties=[QuadraticTerm("G", A), QuadraticTerm("D", C)] if terms else [],
    )
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    return game, θ, ψ, lambda: Batch(zeros, None, zeros)


def test_consensus_equals_its_jacobian_form_on_a_quadratic_game():
    η, γ = 0.01, 10.0
    game, θ, ψ, draw = quadratic(η)
    play_round(game, updates.Consensus(weight=γ), draw)
    x = torch.cat([θ, ψ])
    jacobian = torch.cat([torch.cat([A, -B], 1), torch.cat([B.T, C], 1)])  # of v = (∇_θ L_G, ∇_ψ L_D) = v'x
    v = jacobian @ x
    after = x - η * (v + γ * jacobian.T @ v)
    found = torch.cat([game.g.module.value, game.d.module.value])
    assert torch.allclose(found, after, rtol=1e-12)


def test_consensus_differentiates_real_networks_too():
    game = play(penalties=[penalties.R1(0.1)])
    real, labels, z = batches()()
    weights = [*game.d.parameters, *game.g.parameters]
    before = [p.detach().clone() for p in weights]

    def v() -> list[Tensor]:
        fake = game.generate(z)
        d = torch.autograd.grad(game.d_loss(real, fake).loss, game.d.parameters)
        return [*d, *torch.autograd.grad(game.g_loss(real, game.generate(z)).loss, game.g.parameters)]

    here = v()
    ε, slope = 1e-6, []
    for p in weights[::2]:
        flat = p.data.view(-1)
        old = flat[0].item()
        halves = []
        for sign in (1, -1):
            flat[0] = old + sign * ε
            halves.append(sum(0.5 * part.square().sum().item() for part in v()))
        flat[0] = old
        slope.append((halves[0] - halves[1]) / (2 * ε))
    play_round(game, updates.Consensus(weight=10.0), lambda: Batch(real, labels, z))
    for p, old, gradient, correction in zip(weights[::2], before[::2], here[::2], slope):
        moved = (old - p.detach()).view(-1)[0].item() / 0.1
        assert moved == pytest.approx(gradient.view(-1)[0].item() + 10 * correction, rel=1e-5, abs=1e-7)


def test_simultaneous_steps_on_the_bilinear_game_grow_by_root_one_plus_eta_squared():
    η = 0.1
    game, θ, ψ, draw = quadratic(η, terms=False)
    size = torch.cat([θ, ψ]).norm().item()
    for _ in range(20):
        play_round(game, updates.Simultaneous(), draw)
        now = torch.cat([game.g.module.value, game.d.module.value]).norm().item()
        assert now / size == pytest.approx(math.sqrt(1 + η**2), rel=1e-12)
        size = now


def test_consensus_contracts_the_bilinear_game():
    game, θ, ψ, draw = quadratic(0.05, terms=False)
    for _ in range(200):
        play_round(game, updates.Consensus(weight=1.0), draw)
    assert torch.cat([game.g.module.value, game.d.module.value]).norm() < 1e-3 * torch.cat([θ, ψ]).norm()


def test_rules_that_differentiate_a_gradient_say_so():
    assert updates.Unrolled().second_order and updates.Consensus().second_order
    assert not updates.Alternating().second_order and not updates.Simultaneous().second_order
