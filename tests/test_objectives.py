"""Each objective is its paper's equation, on numbers worked out by hand."""

import copy
import itertools
import math

import pytest
import torch
from runs import run_of
from toys import Linear, batches, normal, play, play_round, seeded

from gan_ref import loop
from gan_ref.networks.output import Output
from gan_ref.techniques import objectives
from gan_ref.techniques.updates import Alternating


def outputs(*scores: float, features=None) -> Output:
    scores = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    return Output(scores, torch.zeros(len(scores), 1).double() if features is None else features)


REAL, FAKE = (0.5, -1.0, 2.0), (-0.25, 1.5)


def log_sigmoid(s: float) -> float:
    return -math.log(1 + math.exp(-s))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def test_the_original_game_is_a_pair_of_cross_entropies():
    objective = objectives.NonSaturating()
    expected = -mean(log_sigmoid(s) for s in REAL) - mean(log_sigmoid(-s) for s in FAKE)
    assert objective.d_loss(outputs(*REAL), outputs(*FAKE)).item() == pytest.approx(expected, rel=1e-12)
    expected = -mean(log_sigmoid(s) for s in FAKE)
    assert objective.g_loss(None, outputs(*FAKE)).item() == pytest.approx(expected, rel=1e-12)


def test_minimax_is_zero_sum():
    objective = objectives.Minimax()
    on_reals, on_fakes = mean(log_sigmoid(s) for s in REAL), mean(log_sigmoid(-s) for s in FAKE)
    value = pytest.approx(on_reals + on_fakes, rel=1e-12)
    assert objective.g_loss(outputs(*REAL), outputs(*FAKE)).item() == value
    assert -objective.d_loss(outputs(*REAL), outputs(*FAKE)).item() == value


def test_label_smoothing_never_touches_fakes_or_the_generators_target():
    hard, soft = objectives.NonSaturating(), objectives.NonSaturating(real_label=0.9)
    for objective in (hard, soft):
        objective.real, objective.fake = outputs(*REAL), outputs(*FAKE)
        objective.d_loss(objective.real, objective.fake).backward()
    assert torch.equal(hard.fake.scores.grad, soft.fake.scores.grad)
    assert not torch.allclose(hard.real.scores.grad, soft.real.scores.grad)
    assert torch.equal(hard.g_loss(None, outputs(*FAKE)), soft.g_loss(None, outputs(*FAKE)))


def test_label_smoothing_moves_the_optimum_to_the_label():
    # alone with reals, D is best at σ(s) = 0.9
    best = outputs(math.log(0.9 / 0.1))
    loss = objectives.NonSaturating(real_label=0.9).d_loss(best, outputs(0.0))
    (gradient,) = torch.autograd.grad(loss, best.scores)
    assert gradient.item() == pytest.approx(0, abs=1e-15)


def test_gs_target_below_1_is_where_it_stops():
    at = outputs(math.log(0.375 / 0.625))
    loss = objectives.NonSaturating(g_label=0.375).g_loss(None, at)
    assert torch.autograd.grad(loss, at.scores)[0].item() == pytest.approx(0, abs=1e-15)


def test_flipped_labels_make_d_as_unsure_as_they_are_wrong():
    """Of labels of which a share p is exchanged, σ(s) = 1 − p is the best that D can say of reals."""
    objective, n = objectives.NonSaturating(flip=0.2), 40_000
    objective.rng = seeded(3)
    best = outputs(*[math.log(0.8 / 0.2)] * n)
    loss = objective.d_loss(best, outputs(*[-math.log(0.8 / 0.2)] * n))
    (gradient,) = torch.autograd.grad(loss, best.scores)
    assert abs(gradient.sum().item()) < 4 * math.sqrt(0.2 * 0.8 / n)  # standard errors
    targets = 1 / (1 + math.exp(-math.log(4))) - n * gradient
    assert sorted(targets.round(decimals=6).unique().abs().tolist()) == [0, 1]


def test_spread_labels_stay_between_0_and_1_on_their_own_side():
    objective = objectives.NonSaturating(real_label=0.9, spread=0.3)
    objective.rng = seeded(1)
    reals, fakes = objective.target(torch.zeros(9000), 0.9), objective.target(torch.zeros(9000), 0.0)
    for targets, low, high in ((reals, 0.6, 0.9), (fakes, 0.0, 0.3)):
        assert low <= targets.min() < low + 0.01 and high - 0.01 < targets.max() <= high
        assert targets.mean().item() == pytest.approx((low + high) / 2, abs=0.005)


def test_least_squares():
    objective = objectives.LeastSquares(a=-1.0, b=1.0, c=0.0)
    d = 0.5 * mean((s - 1) ** 2 for s in REAL) + 0.5 * mean((s + 1) ** 2 for s in FAKE)
    assert objective.d_loss(outputs(*REAL), outputs(*FAKE)).item() == pytest.approx(d, rel=1e-12)
    g = 0.5 * mean(s**2 for s in FAKE)
    assert objective.g_loss(None, outputs(*FAKE)).item() == pytest.approx(g, rel=1e-12)
    assert objective.threshold == 0.0
    assert objectives.LeastSquares().threshold == 0.5


def test_hinge_and_wasserstein():
    hinge, wasserstein = objectives.Hinge(), objectives.Wasserstein()
    d = mean(max(0, 1 - s) for s in REAL) + mean(max(0, 1 + s) for s in FAKE)
    assert hinge.d_loss(outputs(*REAL), outputs(*FAKE)).item() == pytest.approx(d, rel=1e-12)
    assert wasserstein.d_loss(outputs(*REAL), outputs(*FAKE)).item() == pytest.approx(mean(FAKE) - mean(REAL))
    for objective in (hinge, wasserstein):
        assert objective.g_loss(None, outputs(*FAKE)).item() == pytest.approx(-mean(FAKE), rel=1e-12)


def test_relativistic_losses_are_of_the_differences_within_pairs():
    objective, fakes = objectives.Relativistic(), (-0.25, 1.5, 0.75)
    pairs = list(zip(REAL, fakes))
    d = mean(-log_sigmoid(real - fake) for real, fake in pairs)
    assert objective.d_loss(outputs(*REAL), outputs(*fakes)).item() == pytest.approx(d, rel=1e-12)
    g = mean(-log_sigmoid(fake - real) for real, fake in pairs)
    assert objective.g_loss(outputs(*REAL), outputs(*fakes)).item() == pytest.approx(g, rel=1e-12)
    assert g - d == pytest.approx(mean(REAL) - mean(fakes)), "softplus(u) − softplus(−u) = u"


def test_d_gains_nothing_by_moving_all_relativistic_scores_and_starts_at_log_2():
    game = play(Linear(0.0, 0.0), objective=objectives.Relativistic())
    real, fake = normal(6, 2), normal(6, 2, seed=1)
    turn = game.d_loss(real, fake)
    assert turn.loss.item() == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(turn.loss, game.d.module.w)
    assert torch.allclose(gradient, -(real - fake).mean(0) / 2)  # σ(0) = ½ of each pair's difference
    score, moved = outputs(*REAL), outputs(*(s + 7 for s in REAL))
    for loss in (game.objective.d_loss, game.objective.g_loss):
        assert loss(moved, moved).item() == pytest.approx(loss(score, score).item(), rel=1e-12)


def test_feature_matching_compares_mean_features():
    real = outputs(0.0, 0.0, features=torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    fake = outputs(0.0, features=torch.tensor([[0.5, 7.0]], dtype=torch.float64))
    # means (2, 3) and (0.5, 7)
    assert objectives.FeatureMatching().g_loss(real, fake).item() == pytest.approx(1.5**2 + 4**2)


def test_only_cross_entropies_give_scores_the_meaning_of_a_probability():
    scores = torch.tensor([math.log(3.0)])
    assert objectives.FeatureMatching().probability(scores).item() == pytest.approx(0.75)
    for kind in (objectives.Hinge, objectives.Wasserstein, objectives.LeastSquares, objectives.EnergyBased):
        assert torch.equal(kind().probability(scores), scores)


# ---------------------------------------------------------------- energies


def test_energies_push_fakes_only_up_to_the_margin():
    objective = objectives.EnergyBased(margin=2.0, pulling_away=0.0)
    real, fake = outputs(-0.5, -1.5), outputs(-3.0, -1.2)  # energies 0.5, 1.5 and 3, 1.2
    assert objective.d_loss(real, fake).item() == pytest.approx(1.0 + (0 + 0.8) / 2)
    assert objective.g_loss(None, fake).item() == pytest.approx((3 + 1.2) / 2)


def test_the_pulling_away_term_is_the_mean_squared_cosine_of_pairs():
    codes = normal(5, 7)
    pairs = itertools.permutations(codes, 2)
    cosines = [torch.nn.functional.cosine_similarity(a, b, dim=0) ** 2 for a, b in pairs]
    assert objectives.pulling_away(codes).item() == pytest.approx(sum(cosines).item() / 20, rel=1e-12)
    fake = outputs(-1.0, -1.0, -1.0, -1.0, -1.0, features=codes)
    loss = objectives.EnergyBased(pulling_away=0.1).g_loss(None, fake)
    assert loss.item() == pytest.approx(1 + 0.1 * sum(cosines).item() / 20, rel=1e-12)


# ---------------------------------------------------------------- Fisher


def test_fishers_losses_and_its_multipliers_step():
    objective = objectives.Fisher(rho=0.1).double()
    objective.multiplier.fill_(0.3)
    real, fake = outputs(*REAL), outputs(*FAKE)
    omega = 0.5 * mean(s**2 for s in REAL) + 0.5 * mean(s**2 for s in FAKE)
    gained = mean(REAL) - mean(FAKE) + 0.3 * (1 - omega) - 0.05 * (1 - omega) ** 2
    assert objective.d_loss(real, fake).item() == pytest.approx(-gained, rel=1e-12)
    game = play(Linear(1.0, 0.0), objective=objective)
    turn = game.d_loss(normal(4, 2), normal(4, 2, seed=1))
    slack = objective.slack(turn.real_output, turn.fake_output).item()
    game.d.descend(turn)
    assert objective.multiplier.item() == pytest.approx(0.3 - 0.1 * slack, rel=1e-12)
    game.g.descend(game.g_loss(normal(4, 2), game.generate(normal(4, 3))))
    assert objective.multiplier.item() == pytest.approx(0.3 - 0.1 * slack, rel=1e-12), "G's step moved λ"


def test_fishers_constraint_tends_to_one():
    # a linear critic of two fixed distributions: w stops where the Lagrangian does, on the ellipsoid Ω = 1
    objective = objectives.Fisher(rho=0.05).double()
    game = play(Linear(3.0, -2.0), objective=objective)
    real, fake = normal(64, 2) + torch.tensor([1.0, 0.5]), normal(64, 2, seed=1)
    before = 1 - objective.slack(*(game.discriminate(x) for x in (real, fake))).item()
    for _ in range(800):
        game.d.descend(game.d_loss(real, fake))
    turn = game.d_loss(real, fake)
    assert before > 5
    assert objective.slack(turn.real_output, turn.fake_output).item() == pytest.approx(0, abs=1e-6)
    # there the mean difference is the Fisher distance √(δᵀ S⁻¹ δ), S the mean second moment
    second = 0.5 * (real.T @ real + fake.T @ fake) / 64
    delta = real.mean(0) - fake.mean(0)
    distance = (delta @ torch.linalg.solve(second, delta)).sqrt()
    found = turn.real_output.scores.mean() - turn.fake_output.scores.mean()
    assert found.item() == pytest.approx(distance.item(), rel=1e-6)


def test_fishers_multiplier_travels_with_a_state_dict():
    game = play(Linear(1.0, 0.0), objective=objectives.Fisher(rho=0.5).double())
    play_round(game, Alternating(), batches())
    other = objectives.Fisher(rho=0.5).double()
    other.load_state_dict(game.objective.state_dict())
    assert other.multiplier == game.objective.multiplier != 0


def test_a_resumed_run_draws_the_same_labels():
    flipped = {"objective": "NonSaturating(flip=0.2, spread=0.1)"}
    straight, resumed = run_of("dcgan", "grid25", **flipped), run_of("dcgan", "grid25", **flipped)
    loop.play_round(straight)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    losses = [[float(turn.loss.detach()) for turn in loop.play_round(run)] for run in (straight, resumed)]
    assert losses[0] == losses[1]
