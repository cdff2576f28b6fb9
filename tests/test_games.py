"""The small games do what the papers prove, and the command that draws them keeps its promises."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gan_ref.commands import games
from gan_ref.errors import PassingTrouble
from gan_ref.toy_games import dynamics, picture
from gan_ref.toy_games.dynamics import DYNAMICS, GAMES, field, judge, play

POINT, DIRAC, BILINEAR, RPS = GAMES
η = 0.1


def some_states(game, count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dim = len(game.equilibrium[0])
    return torch.randn(2, count, dim, generator=generator, dtype=torch.float64).unbind(0)


def ratios(run):
    """(steps, S): by how much each step multiplies each start's own distance to the equilibrium."""
    distance = run.game.distance(run.θ, run.ψ)
    return distance[1:] / distance[:-1]


# ------------------------------------------------------------------------------------------------ games


@pytest.mark.parametrize(
    "game, closed_form",
    [
        (POINT, lambda θ, ψ: (ψ, dynamics.DATA - θ)),
        (BILINEAR, lambda x, y: (-y, x)),
        (DIRAC, lambda θ, ψ: (-ψ * torch.sigmoid(-ψ * θ), θ * torch.sigmoid(-ψ * θ))),
    ],
)
def test_the_field_is_the_closed_form_of_the_paper(game, closed_form):
    θ, ψ = some_states(game)
    for found, expected in zip(field(game.loss, θ, ψ), closed_form(θ, ψ)):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_the_field_is_the_numerical_derivative_of_the_loss(game):
    for loss in {game.loss, game.wasserstein, game.blurred} - {dynamics.undefined}:
        θ, ψ = some_states(game, count=1)
        v_θ, v_ψ = field(loss, θ, ψ)
        for i in range(θ.shape[1]):
            h = torch.zeros_like(θ)
            h[0, i] = 1e-5
            down = -(loss(θ + h, ψ) - loss(θ - h, ψ)) / 2e-5
            up = (loss(θ, ψ + h) - loss(θ, ψ - h)) / 2e-5
            assert v_θ[0, i].item() == pytest.approx(down.item(), abs=1e-9)
            assert v_ψ[0, i].item() == pytest.approx(up.item(), abs=1e-9)


def test_paper_beats_rock_scissors_beat_paper_and_rock_beats_scissors():
    rock, paper, scissors = 50 * torch.eye(3, dtype=torch.float64)
    for loser, winner in ((rock, paper), (paper, scissors), (scissors, rock)):
        assert dynamics.rock_paper_scissors(loser, winner).item() == pytest.approx(3)
        assert dynamics.rock_paper_scissors(winner, loser).item() == pytest.approx(-3)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_every_way_of_playing_but_wgan_gp_rests_at_the_equilibrium(game):
    θ, ψ = (torch.tensor([x], dtype=torch.float64) for x in game.equilibrium)
    for name, step in DYNAMICS.items():
        if name not in game.blank and name != "WGAN-GP":
            moved = step(game, θ, ψ, η)
            torch.testing.assert_close(moved, (θ, ψ), rtol=0, atol=1e-15, msg=name)


def test_the_noisy_dirac_gan_is_its_expectation():
    rng = np.random.default_rng(0)
    ε, other = 0.7 * rng.standard_normal((2, 400_000))
    θ, ψ = 0.8, -1.1
    sampled = -np.log1p(np.exp(-ψ * (θ + ε))).mean() - np.log1p(np.exp(ψ * other)).mean()
    exact = dynamics.dirac_blurred(torch.tensor([[θ]]).double(), torch.tensor([[ψ]]).double()).item()
    assert exact == pytest.approx(sampled, abs=4e-3)


# --------------------------------------------------------------------------------------------- dynamics


@pytest.mark.parametrize("game", [BILINEAR, POINT], ids=lambda game: game.name)
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_simultaneous_steps_grow_a_bilinear_game_by_exactly_sqrt_one_plus_rate_squared(game, rate):
    found = ratios(play(game, "simultaneous", 50, rate))
    torch.testing.assert_close(found, torch.full_like(found, math.sqrt(1 + rate**2)), rtol=1e-12, atol=0)


def test_simultaneous_steps_grow_the_dirac_gan_by_its_slope():
    run = play(DIRAC, "simultaneous", 200, η)
    slope = torch.sigmoid(-run.ψ * run.θ)[:-1, :, 0]  # f′(ψθ)
    torch.testing.assert_close(ratios(run), (1 + (η * slope) ** 2).sqrt(), rtol=1e-12, atol=0)


def test_alternating_steps_keep_the_symplectic_invariant_of_the_bilinear_game():
    run = play(BILINEAR, "alternating", 2000, 0.3)
    kept = (run.θ**2 + run.ψ**2 + 0.3 * run.θ * run.ψ)[..., 0]
    torch.testing.assert_close(kept, kept[:1].expand_as(kept), rtol=1e-11, atol=0)


@pytest.mark.parametrize("γ", [0.2, 0.5, 1.0])
def test_consensus_contracts_the_bilinear_game_at_its_closed_form_rate(γ):
    θ, ψ = some_states(BILINEAR)
    before, after = BILINEAR.distance(θ, ψ), BILINEAR.distance(*dynamics.consensus(BILINEAR, θ, ψ, η, γ))
    rate = math.sqrt((1 - η * γ) ** 2 + η**2)
    assert rate < 1
    torch.testing.assert_close(after, rate * before, rtol=1e-12, atol=0)


@pytest.mark.parametrize("game", [DIRAC, RPS], ids=lambda game: game.name)
def test_consensus_is_the_field_less_its_transposed_jacobian_times_itself(game):
    θ, ψ = some_states(game, count=1)
    dim = θ.shape[1]

    def v(state):
        return torch.cat(field(game.loss, state[None, :dim], state[None, dim:]), -1)[0]

    state = torch.cat([θ, ψ], -1)[0]
    step = 1e-5 * torch.eye(2 * dim, dtype=torch.float64)
    jacobian = torch.stack([(v(state + h) - v(state - h)) / 2e-5 for h in step], 1)
    expected = state + η * (v(state) - 0.7 * jacobian.T @ v(state))
    found = torch.cat(dynamics.consensus(game, θ, ψ, η, γ=0.7), -1)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_the_unrolled_gradient_is_the_numerical_derivative_through_the_discriminators_steps(game):
    θ, ψ = some_states(game, count=1)

    def after_three_steps(θ):
        ahead = ψ
        for _ in range(3):
            ahead = ahead + 0.3 * field(game.loss, θ, ahead)[1]
        return game.loss(θ, ahead).item()

    moved, answered = dynamics.unrolled(game, θ, ψ, 0.3, k=3)
    for i in range(θ.shape[1]):
        h = torch.zeros_like(θ)
        h[0, i] = 1e-5
        slope = (after_three_steps(θ + h) - after_three_steps(θ - h)) / 2e-5
        assert ((θ - moved)[0, i] / 0.3).item() == pytest.approx(slope, abs=1e-8)
    torch.testing.assert_close(answered, ψ + 0.3 * field(game.loss, θ, ψ)[1])  # D itself takes one step


@pytest.mark.parametrize("k", [1, 5])
def test_unrolling_turns_the_bilinear_games_growth_into_decay(k):
    θ, ψ = BILINEAR.starts([1.0], seed=0)
    start = BILINEAR.distance(θ, ψ).item()
    for _ in range(300):
        θ, ψ = dynamics.unrolled(BILINEAR, θ, ψ, η, k)
    mean_rate = (BILINEAR.distance(θ, ψ).item() / start) ** (1 / 300)
    assert mean_rate == pytest.approx(math.sqrt(1 - (2 * k - 1) * η**2), abs=2e-3)


def test_the_dirac_gan_converges_with_r1_or_instance_noise_and_not_without():
    names = "simultaneous", "R1", "instance noise"
    plain, penalised, noisy = (play(DIRAC, name, 1000, η) for name in names)
    assert plain.distance[-1] > plain.distance[0]
    assert penalised.distance[-1] < 1e-4
    assert noisy.distance[-1] < 1e-4


@pytest.mark.parametrize(
    "name, real_part", [("simultaneous", 0.0), ("R1", -0.3 / 2), ("instance noise", -(0.7**2) / 4)]
)
def test_the_dirac_gan_has_the_eigenvalues_of_the_paper(name, real_part):
    """f′(0) = ½, f″(0) = −¼: ±i/2 alone, −γ/2 ± √(γ²/4 − ¼) with R1, −σ²/4 ± √(σ⁴/16 − ¼) with noise."""
    h = 1e-6 * torch.eye(2, dtype=torch.float64)
    θ, ψ = h[:, :1], h[:, 1:]
    moved = torch.cat(DYNAMICS[name](DIRAC, θ, ψ, 1.0), -1) - h
    eigenvalues = np.linalg.eigvals((moved / 1e-6).numpy().T)
    imaginary = math.sqrt(0.25 - real_part**2)
    assert sorted(eigenvalues.imag) == pytest.approx([-imaginary, imaginary], abs=1e-5)
    assert eigenvalues.real == pytest.approx(real_part, abs=1e-5)


def turns(x, y):
    angle = np.unwrap(np.arctan2(y, x), axis=0)
    return np.abs(angle[-1] - angle[0]) / (2 * math.pi)


@pytest.mark.parametrize("name", ["WGAN", "WGAN-GP"])
def test_the_wasserstein_dirac_gans_circle_and_do_not_converge(name):
    run = play(DIRAC, name, 600, η)
    assert run.verdict == "circles"
    assert run.distance[-200:].min() > 0.2
    assert (turns(run.θ[..., 0].numpy(), run.ψ[..., 0].numpy()) > 3).all()


def test_the_clipped_critic_stays_in_its_box():
    assert play(POINT, "WGAN", 200, η).ψ[1:].abs().max() <= 0.5


def test_under_wgan_gp_the_point_of_the_plane_orbits_the_data_with_a_critic_of_slope_one():
    run = play(POINT, "WGAN-GP", 300, η)
    slope = run.ψ[-100:].norm(dim=-1)
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=0, atol=0.1)
    assert ((run.θ[-100:] - dynamics.DATA).norm(dim=-1) > 0.3).all()


def test_a_stiffer_wgan_gp_stalls_the_dirac_gan_two_lambda_off_the_data():
    θ, ψ = DIRAC.starts([1.0, 0.7, 0.4], seed=0)
    for _ in range(400):
        θ, ψ = dynamics.wgan_gp(DIRAC, θ, ψ, η, λ=0.6)
    assert θ.abs().flatten().tolist() == pytest.approx([1.2] * 3, abs=1e-3)
    assert ψ.abs().max() < 1e-3


def test_gradient_play_of_rock_paper_scissors_circles_and_never_comes_nearer():
    θ, ψ = RPS.starts([1e-4], seed=0)
    for _ in range(300):  # near uniform play its eigenvalues are ±i/√3
        moved = dynamics.simultaneous(RPS, θ, ψ, η)
        growth = (RPS.distance(*moved) / RPS.distance(θ, ψ)).item()
        assert growth == pytest.approx(math.sqrt(1 + η**2 / 3), abs=2e-5)
        θ, ψ = moved

    run = play(RPS, "simultaneous", 1000, η, radii=[0.4, 0.3, 0.2])
    distance = RPS.distance(run.θ, run.ψ)
    assert (distance[-1] > 1.5 * distance[0]).all() and (distance >= 0.9 * distance[0]).all()
    too_much_rock = run.θ.softmax(-1)[..., 0] > 1 / 3
    assert ((too_much_rock[1:] != too_much_rock[:-1]).sum(0) >= 6).all()  # three turns and more


def test_in_the_limit_of_small_steps_gradient_play_of_rock_paper_scissors_neither_gains_nor_loses():
    run = play(RPS, "simultaneous", 2200, 0.01, radii=[0.2])  # two turns
    assert run.distance[-1] == pytest.approx(run.distance[0], rel=0.06)
    assert run.distance.min() > 0.9 * run.distance[0]


# -------------------------------------------------------------------------------------------- the verdict


def test_the_verdict_follows_from_the_distances():
    t = np.arange(601)
    assert judge(0.99**t, η) == "converges"
    assert judge(1.01**t, η) == "diverges"
    assert judge(1 + 0.3 * np.sin(t / 10), η) == "circles"
    assert judge(np.array([1.0, 2.0, 1.0]), η) == "too short"
    assert judge(np.array([1.0, np.inf]), η) == "diverges"


@pytest.mark.parametrize(
    "game",
    [DIRAC, *(pytest.param(game, marks=pytest.mark.full) for game in (POINT, BILINEAR))],
    ids=lambda game: game.name,
)
def test_every_play_ends_as_theory_says(game):
    converging = dict.fromkeys(("unrolled", "consensus", "instance noise", "R1"), "converges")
    expected = {"simultaneous": "diverges", "alternating": "circles", "WGAN": "circles", "WGAN-GP": "circles"}
    expected |= converging
    for name in DYNAMICS:
        if name not in game.blank:
            assert play(game, name, 510, η).verdict == expected[name], name


# -------------------------------------------------------------------------------------------- the command


def test_the_command_leaves_a_picture_a_table_and_its_data_and_nothing_else(tmp_path, capsys):
    out = tmp_path / "new" / "games"
    assert games.main(["--out", str(out), "--steps", "12"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["games.gif", "games.json", "games.txt"]

    with Image.open(out / "games.gif") as movie:
        assert movie.n_frames == 13
        movie.seek(12)
        assert len(movie.convert("RGB").getcolors(maxcolors=1 << 16)) > 20

    data = json.loads((out / "games.json").read_text())
    drawn = {(each["game"], each["dynamics"]) for each in data["plays"]}
    left_out = {(each["game"], each["dynamics"]) for each in data["left_out"]}
    assert drawn | left_out == {(game.name, name) for game in GAMES for name in DYNAMICS}
    assert not drawn & left_out
    assert all(each["why"] for each in data["left_out"])
    distance = {(each["game"], each["dynamics"]): each["distance"] for each in data["plays"]}
    growth = distance["bilinear", "simultaneous"]
    assert growth[-1] == pytest.approx(growth[0] * (1 + η**2) ** 6, rel=1e-5)

    printed = capsys.readouterr()
    assert (out / "games.txt").read_text(encoding="utf-8") in printed.out
    assert printed.err == ""


def test_a_play_that_overflows_is_still_drawn_and_called_divergent(tmp_path):
    steps, rate = 2100, 1.0  # √2²¹⁰⁰ is more than float64 holds
    run = play(BILINEAR, "simultaneous", steps, rate)
    assert run.verdict == "diverges" and np.isinf(run.distance[-1])
    with np.errstate(all="raise"):
        picture.draw([run], rate, tmp_path / "one.gif", frames=3)
    assert (tmp_path / "one.gif").stat().st_size > 0
    assert games.report([run], rate, 0)["plays"][0]["distance"][-1] is None
    json.dumps(games.report([run], rate, 0), allow_nan=False)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--steps", "0"], ["--steps", "-5"], ["--steps", "1000000"], ["--lr", "0"], ["--lr", "-0.1"],
        ["--lr", "nan"], ["--lr", "inf"], ["--lr", "1e9"], ["--seed", "-1"], ["--seed", str(2**64)],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_number_that_makes_no_sense_is_refused_in_one_line(tmp_path, capsys, wrong):
    assert games.main(["--out", str(tmp_path / "out"), *wrong]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: " + wrong[0]) and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_gets_one_line_and_status_2(tmp_path, capsys):
    assert games.main(["--out", str(tmp_path), "--stepz", "3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert games.main(["--out", str(tmp_path / "file"), "--steps", "1"]) == 2
    assert games.main(["--out", str(tmp_path / "file" / "below"), "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == error.count("\n") == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_that_fails_leaves_the_old_files_whole(tmp_path, monkeypatch, capsys):
    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    (tmp_path / "games.gif").write_bytes(b"old")
    monkeypatch.setattr(games, "draw", full_disk)
    assert games.main(["--out", str(tmp_path), "--steps", "1"]) == PassingTrouble.status
    assert [path.name for path in tmp_path.iterdir()] == ["games.gif"]
    assert (tmp_path / "games.gif").read_bytes() == b"old"
    assert "No space left" in capsys.readouterr().err
