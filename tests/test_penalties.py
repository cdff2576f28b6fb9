"""Penalties against closed forms: mostly on linear critics, whose gradient is w everywhere."""

import pytest
import torch
from torch import Tensor, nn
from toys import Critic, Linear, Points, Spy, batches, normal, play, play_round, seeded

from gan_ref.networks.output import Output
from gan_ref.techniques import penalties
from gan_ref.techniques.game import Turn
from gan_ref.techniques.objectives import Wasserstein
from gan_ref.techniques.updates import Alternating

W = (3.0, -4.0)  # of norm 5


def d_turn(game, count: int = 6) -> Turn:
    return game.d_loss(normal(count, 2), normal(count, 2, seed=1))


def g_turn(game) -> Turn:
    return game.g_loss(normal(6, 2), game.generate(normal(6, 3)))


class Quadratic(nn.Module):
    """D(x) = ½a‖x‖², whose gradient at x is a·x."""

    def __init__(self, a: float = 1.0):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, x: Tensor) -> Output:
        return Output(0.5 * self.a * x.square().sum(1), x)


# ---------------------------------------------------------------- slopes


@pytest.mark.parametrize("kind", [penalties.GradientPenalty, penalties.DRAGAN])
def test_a_linear_critics_gradient_penalty_is_its_norms_distance_from_one(kind):
    game = play(Linear(*W), penalties=[kind(weight=10.0)])
    turn = d_turn(game)
    assert turn.terms[kind.__name__].item() == pytest.approx(10 * (5 - 1) ** 2, rel=1e-12)
    objective = game.objective.d_loss(turn.real_output, turn.fake_output).item()
    assert turn.loss.item() == pytest.approx(objective + 160, rel=1e-12)
    (gradient,) = torch.autograd.grad(turn.terms[kind.__name__], game.d.module.w)
    expected = 10 * 2 * (5 - 1) * torch.tensor(W).double() / 5  # d/dw λ(‖w‖ − 1)² = 2λ(‖w‖ − 1)·w/‖w‖
    assert torch.allclose(gradient, expected, rtol=1e-12)


def test_wgan_gp_looks_between_reals_and_fakes():
    d = Spy(*W)
    game = play(d, penalties=[penalties.GradientPenalty()])
    real, fake = normal(200, 2), normal(200, 2, seed=1)
    game.d_loss(real, fake)
    share = (d.seen[2] - fake) / (real - fake)
    assert torch.allclose(share[:, 0], share[:, 1]), "one ε a sample"
    assert share.min() >= 0 and share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=0.06)
    assert share.std().item() == pytest.approx(12**-0.5, abs=0.03)


def test_each_samples_gradient_has_its_own_norm():
    game = play(Quadratic(), penalties=[penalties.R1(weight=10.0)])
    real = normal(6, 2)
    turn = game.d_loss(real, normal(6, 2, seed=1))
    assert turn.terms["R1"].item() == pytest.approx(5 * real.square().sum(1).mean().item(), rel=1e-12)
    assert not real.requires_grad, "the caller's batch is left as it was"


def test_r2_is_r1_at_the_fakes():
    game = play(Quadratic(), penalties=[penalties.R1(weight=10.0), penalties.R2(weight=4.0)])
    real, fake = normal(6, 2), normal(6, 2, seed=1)
    turn = game.d_loss(real, fake)
    found = {name: term.item() for name, term in turn.terms.items()}
    assert found == pytest.approx({
        "R1": 5 * real.square().sum(1).mean().item(), "R2": 2 * fake.square().sum(1).mean().item()
    })  # fmt: skip
    (gradient,) = torch.autograd.grad(turn.terms["R2"], game.d.module.a)
    assert gradient.item() == pytest.approx(4 * fake.square().sum(1).mean().item()), "d/da (γ/2)a²‖x‖²"
    assert not fake.requires_grad, "the caller's batch is left as it was"


def test_r2_reaches_g_where_d_is_unrolled():
    game = play(Quadratic(), penalties=[penalties.R2(weight=4.0)])
    z = normal(6, 3)
    fake = game.generate(z)
    turn = game.d_loss(normal(6, 2), fake)
    found = torch.autograd.grad(turn.terms["R2"], game.g.parameters, retain_graph=True)
    expected = torch.autograd.grad(2 * fake.square().sum(1).mean(), game.g.parameters)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(found, expected))


def test_dragans_perturbation_is_half_the_batchs_deviation_at_most():
    real = 3 * normal(500, 2) + 7
    off = penalties.DRAGAN(scale=0.5).perturbation(real, seeded())
    deviation = (real - real.mean()).square().mean().sqrt()  # over all numbers, as NumPy's std
    assert off.shape == real.shape and off.min() >= 0 and off.max() <= 0.5 * deviation
    assert off.mean().item() == pytest.approx(0.25 * deviation.item(), rel=0.05)
    assert off.max().item() == pytest.approx(0.5 * deviation.item(), rel=0.01)


def test_penalties_differentiate_the_d_they_are_asked_about():
    terms = [penalties.GradientPenalty(), penalties.R1(), penalties.DRAGAN(), penalties.L2(2.0)]
    game = play(Linear(*W), penalties=terms)
    other = {"w": torch.tensor([0.0, 2.0]).double()}
    turn = game.d_loss(normal(4, 2), normal(4, 2, seed=1), parameters=other)
    found = {name: term.item() for name, term in turn.terms.items()}
    assert found == pytest.approx({"GradientPenalty": 10.0, "R1": 20.0, "DRAGAN": 10.0, "L2": 8.0})


def test_weights_are_clipped_after_each_step_of_d_alone():
    clip = penalties.WeightClip(limit=0.01)
    game = play(Critic(batch_norm=True), penalties=[clip], objective=Wasserstein())
    d, g = play_round(game, Alternating(), batches())
    assert max(p.abs().max() for p in game.d.parameters) == 0.01
    assert min(p.abs().max() for p in game.g.parameters) > 0.01
    assert not d.terms and not g.terms


class Flat(nn.Module):
    """D(x) = w·relu(x): wherever x < 0 its gradient is exactly zero."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.7, -0.2], dtype=torch.float64))

    def forward(self, x: Tensor) -> Output:
        return Output(torch.relu(x) @ self.w, x)


@pytest.mark.parametrize("kind", [penalties.GradientPenalty, penalties.DRAGAN, penalties.R1, penalties.R2])
def test_at_a_zero_gradient_every_derivative_is_finite(kind):
    """The first two derivatives of the loss of D differentiate the gradient's norm twice and three times."""
    game = play(Flat(), penalties=[kind(weight=10.0)])
    turn = game.d_loss(-normal(6, 2).abs() - 9, -normal(6, 2, seed=1).abs() - 9)
    expected = 0.0 if issubclass(kind, penalties.R1) else 10.0  # λ(0 − 1)²
    assert turn.terms[kind.__name__].item() == expected
    (first,) = torch.autograd.grad(turn.loss, game.d.module.w, create_graph=True, materialize_grads=True)
    assert torch.isfinite(first).all()
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.square().sum(), game.d.module.w, materialize_grads=True)
        assert torch.isfinite(second).all()


# ---------------------------------------------------------------- sizes


def test_l2_has_the_ratio_to_the_objective_of_the_articles_code():
    """There, D descends the mean error of a batch that is half real and half fake, plus w/2·‖θ‖²."""
    game, w = play(Linear(*W), penalties=[penalties.L2(weight=0.5)]), 0.5
    turn = d_turn(game)
    scores = torch.cat([turn.real_output.scores, turn.fake_output.scores])
    targets = torch.cat([torch.ones(6), torch.zeros(6)]).double()
    article = nn.functional.binary_cross_entropy_with_logits(scores, targets)
    article = article + w / 2 * game.d.module.w.square().sum()
    assert turn.loss.item() == pytest.approx(2 * article.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(turn.terms["L2"], game.d.module.w)
    assert gradient.tolist() == pytest.approx([2 * w * 3.0, 2 * w * -4.0])


def test_the_adaptive_coefficient_follows_gs_error():
    penalty = penalties.AdaptiveL2().double()

    def after(error: float) -> float:
        score = -torch.tensor([error], dtype=torch.float64).expm1().log()  # softplus(−score) = error
        output = Output(score, score[:, None])
        penalty.after_round(None, Turn("G", score, score, None, output, score.sum()))
        return penalty.weight.item()

    coefficients = [after(error) for error in (0.5, 1.4, 1.4, 1.2, 1.31, 0.91, 0.89, 0.2, 0.2, 0.2, 1.5)]
    steps = [0, 1, 2, 2, 3, 3, 2, 1, 0, 0, 1]
    assert coefficients == pytest.approx([1e-5 * k for k in steps], abs=1e-9)


# ---------------------------------------------------------------- histories


def test_historical_averaging_equals_its_stored_history():
    penalty = penalties.HistoricalAveraging(weight=0.7)
    game = play(penalties=[penalty])
    history = {"D": [], "G": []}
    draw = batches()

    def remember() -> None:
        for name, player in (("D", game.d), ("G", game.g)):
            history[name].append([p.detach().clone() for p in player.parameters])

    def expected(name: str, player) -> float:
        past = history[name]
        means = [sum(step[k] for step in past) / len(past) for k in range(len(past[0]))]
        return 0.7 * sum((p - m).square().sum().item() for p, m in zip(player.parameters, means))

    remember()
    for t in range(12):
        want_d = expected("D", game.d)
        real, _, z = draw()
        fake = game.generate(z)
        d = game.d_loss(real, fake.detach())
        game.d.descend(d)
        g = game.g_loss(real, fake)
        want_g = expected("G", game.g)
        game.g.descend(g)
        remember()
        assert d.terms["HistoricalAveraging"].item() == pytest.approx(want_d, rel=1e-9, abs=1e-15)
        assert g.terms["HistoricalAveraging"].item() == pytest.approx(want_g, rel=1e-9, abs=1e-15)
        assert t == 0 or want_d > 0 < want_g


def test_a_history_loads_before_the_first_step():
    old, new = penalties.HistoricalAveraging(), penalties.HistoricalAveraging()
    game, update, draw = play(penalties=[old]), Alternating(), batches()
    for _ in range(3):
        play_round(game, update, draw)
    other = play(penalties=[new])
    new.load_state_dict(old.state_dict())
    other.d.module.load_state_dict(game.d.module.state_dict())
    assert d_turn(other).terms["HistoricalAveraging"] == d_turn(game).terms["HistoricalAveraging"] > 0


# ---------------------------------------------------------------- what G adds


def test_local_stability_is_the_squared_gradient_of_d():
    game = play(Linear(0.6, -0.3), penalties=[penalties.LocalStability(weight=0.5)])
    real, z = normal(6, 2), normal(6, 3)
    fake = game.generate(z)
    turn = game.g_loss(real, fake)
    w = game.d.module.w.detach()
    # ∇_w L_D = −E (1 − σ(w·x)) x + E σ(w·x̃) x̃
    sigma = torch.sigmoid
    gradient = (sigma(fake @ w)[:, None] * fake).mean(0) - ((1 - sigma(real @ w))[:, None] * real).mean(0)
    expected = 0.5 * gradient.square().sum()
    assert turn.terms["LocalStability"].item() == pytest.approx(expected.item(), rel=1e-12)
    mine = torch.autograd.grad(turn.terms["LocalStability"], game.g.parameters, retain_graph=True)
    theirs = torch.autograd.grad(expected, game.g.parameters)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(mine, theirs))


def test_local_stability_leaves_d_without_gradients():
    game = play(penalties=[penalties.LocalStability()])
    game.g.descend(g_turn(game))
    assert all(p.grad is None for p in game.d.parameters)


def test_feature_matching_grows_over_its_rounds():
    game = play(Linear(*W), Points(), penalties=[penalties.FeatureMatchingTerm(weight=2.0, rounds=10)])
    sizes = []
    for game.round in (0, 5, 10, 40):
        turn = g_turn(game)
        # D's features are the points themselves
        distance = (normal(6, 2).mean(0) - turn.fake.mean(0)).square().sum().item()
        sizes.append(turn.terms["FeatureMatchingTerm"].item() / distance)
    assert sizes == pytest.approx([0, 1, 2, 2])
    assert penalties.FeatureMatchingTerm(weight=2.0).rounds == 0
