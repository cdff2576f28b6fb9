"""Networks that grow (Karras et al. 2018): layers, blocks that fade in, the schedule, resume, pictures."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from runs import config_of, run_of
from test_cuda_graph import reason_on_a_gpu
from toys import Linear, normal, play, same

from gan_ref import checkpoint
from gan_ref.checkpoint import load_discriminator, load_generator
from gan_ref.commands import evaluate, export, film, sample, train, walk
from gan_ref.errors import UserError
from gan_ref.latents.samples import draw_samples
from gan_ref.layers import EqualisedConv2d, EqualisedLinear, MinibatchDeviation, PixelNorm
from gan_ref.loop import play_round
from gan_ref.networks.progressive import Discriminator, Generator, enlarge, fade, growing, shrink
from gan_ref.techniques import build
from gan_ref.techniques.penalties import Drift
from gan_ref.watch.pages import draw_sample_page

# ---------------------------------------------------------------- the layers


@pytest.mark.parametrize("gain", [math.sqrt(2), 1.0])
def test_equalised_weights_have_hes_scale_at_run_time_and_none_when_stored(gain):
    torch.manual_seed(0)
    dense, planes = EqualisedLinear(400, 300, gain), EqualisedConv2d(40, 300, 3, gain)
    for layer, inputs in ((dense, 400), (planes, 40 * 9)):
        assert layer.weight.std().item() == pytest.approx(1, rel=0.02) and not layer.bias.any()
        assert layer.scale == pytest.approx(gain / math.sqrt(inputs))
    effective = dense(torch.eye(400)).T  # what the layer multiplies with
    assert torch.allclose(effective, dense.weight * dense.scale)
    assert effective.std().item() == pytest.approx(gain / 20, rel=0.02)
    x = torch.randn(2, 40, 5, 5)
    assert torch.allclose(planes(x), F.conv2d(x, planes.weight * planes.scale, padding=1), atol=1e-6)


def test_a_step_of_adam_changes_all_equalised_layers_by_the_same_share():
    """§4.1: the learning speed is the same for all weights, whatever their layer's inputs."""
    shares = []
    for inputs in (10, 1000):
        torch.manual_seed(0)
        layer = EqualisedLinear(inputs, 5)
        before = layer(torch.eye(inputs)).detach()
        optimizer = torch.optim.Adam([layer.weight], 0.01)
        layer(torch.randn(3, inputs)).square().sum().backward()
        optimizer.step()
        shares.append(((layer(torch.eye(inputs)) - before).square().mean().sqrt() / before.std()).item())
    assert shares == pytest.approx([0.01, 0.01], rel=0.15)


def test_pixel_norm_gives_each_pixel_length_one_in_the_mean():
    x = normal(3, 7, 2, 4)
    y = PixelNorm()(x)
    assert torch.allclose(y.square().mean(1), torch.ones(3, 2, 4).double(), atol=1e-6)
    assert torch.allclose(y * x.norm(dim=1, keepdim=True), x * y.norm(dim=1, keepdim=True), atol=1e-6)
    z = PixelNorm()(normal(3, 16))
    assert torch.allclose(z.norm(dim=1), torch.full((3,), 4.0).double(), atol=1e-6)
    assert torch.isfinite(PixelNorm()(torch.zeros(1, 3, 1, 1))).all()


@pytest.mark.parametrize(("count", "size"), [(8, 4), (4, 4), (6, 3), (2, 2), (7, 1), (1, 1)])
def test_the_deviation_feature_is_numpys(count, size):
    x = normal(count, 3, 4, 5)
    y = MinibatchDeviation()(x)
    assert y.shape == (count, 4, 4, 5) and torch.equal(y[:, :3], x)
    for i in range(count):
        group = x.numpy()[i % (count // size) :: count // size]
        assert len(group) == size
        expected = np.sqrt(group.var(axis=0) + 1e-8).mean()
        assert np.allclose(y[i, 3].numpy(), expected, rtol=1e-12, atol=0)


def test_samples_that_are_alike_have_no_deviation_and_finite_derivatives():
    x = torch.ones(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    y = MinibatchDeviation()(x)
    assert y[:, 2].max() < 2e-4
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_drift_is_the_mean_square_of_the_scores_of_reals():
    game = play(Linear(3.0, -4.0), penalties=[Drift(weight=0.5)])
    turn = game.d_loss(normal(6, 2), normal(6, 2, seed=1))
    assert turn.terms["Drift"].item() == pytest.approx(0.5 * turn.real_scores.square().mean().item())


# ---------------------------------------------------------------- the networks


def pair(cls, *more: int):
    """A network for 24×32 and one for 12×16 that has the weights of its lower levels; both in float64."""
    torch.manual_seed(0)
    large, small = cls((24, 32), 3, 2, *more).double(), cls((12, 16), 3, 4, *more).double()
    small.load_state_dict({name: large.state_dict()[name] for name in small.state_dict()})
    return large, small


def near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and (a - b).abs().max().item() < 1e-6 * max(1.0, b.abs().max().item())


BARELY = 1e-9  # of α


def test_g_at_alpha_0_is_the_smaller_g_enlarged_and_at_alpha_1_the_larger():
    large, small = pair(Generator, 10)
    z = normal(4, 10)
    whole = large(z)
    assert whole.shape == (4, 3, 24, 32)
    large.level = 2.0
    assert near(large(z), enlarge(small(z)))
    large.level = 2 + BARELY
    assert near(large(z), enlarge(small(z)))
    large.level = 3 - BARELY
    assert near(large(z), whole) and not near(whole, enlarge(small(z)))
    large.level = 2.25
    assert near(large(z), 0.75 * enlarge(small(z)) + 0.25 * whole)
    large.level = 0.0
    assert near(large(z), enlarge(shrink(large(z), 8), 8)), "3×4 pixels, each repeated"


def test_d_at_alpha_0_is_the_smaller_d_on_the_image_shrunk_and_at_alpha_1_the_larger():
    large, small = pair(Discriminator)
    x = normal(8, 3, 24, 32)
    whole = large(x)
    assert whole.scores.shape == (8,) and whole.features.shape == (8, 16)
    for level, expected in ((2.0, small(shrink(x))), (2 + BARELY, small(shrink(x))), (3 - BARELY, whole)):
        large.level = level
        assert near(large(x).scores, expected.scores) and near(large(x).features, expected.features)
    large.level = 2.5
    assert not near(large(x).scores, whole.scores) and not near(large(x).scores, small(shrink(x)).scores)


def test_reals_fade_as_fakes_do():
    large, _ = pair(Discriminator)
    x = normal(2, 3, 24, 32)
    assert torch.equal(fade(x, large), x) and torch.equal(fade(x, Linear(1.0)), x)
    large.level = 2.0
    assert near(fade(x, large), enlarge(shrink(x)))
    large.level = 2.25
    assert near(fade(x, large), 0.75 * enlarge(shrink(x)) + 0.25 * x)
    large.level = 1.5
    assert near(fade(x, large), 0.5 * enlarge(shrink(x, 4), 4) + 0.5 * enlarge(shrink(x)))


def test_what_d_sees_in_both_turns_is_as_sharp_as_the_level():
    run = run_of("progressive", "faces", penalties=("GradientPenalty", "LocalStability"))
    d, g = play_round(run)  # at level 0 of 16×16
    for turn in (d, g):
        for x in (turn.real, turn.fake):
            assert near(x, enlarge(shrink(x, 4), 4))


# ---------------------------------------------------------------- the schedule


def test_stages_hold_and_fade_in_turn():
    """The paper's figure: a phase for 4×4, then for each size a phase to fade it in and one to train it."""
    stages = build("growth", "Stages(end=0.6)")
    level = [stages(round, 100, 3) for round in range(101)]  # phases of 10 rounds
    assert level[:11] == [0.0] * 11 and level[20:31] == [1.0] * 11 and level[40:51] == [2.0] * 11
    assert level[60:] == [3.0] * 41
    for begin in (10, 30, 50):
        fading = [level[begin] + k / 10 for k in range(11)]
        assert level[begin : begin + 11] == pytest.approx(fading, abs=1e-12)
    assert level == sorted(level)


def test_stages_follow_the_run_or_a_number_of_rounds():
    assert build("growth", "Stages")(25, 100, 2) == build("growth", "Stages")(50, 200, 2) == 1.0
    fixed = build("growth", "Stages(rounds=100)")
    assert [fixed(37, steps, 2) for steps in (10, 1000)] == [fixed(37, 100, 2)] * 2
    assert build("growth", "Stages")(99, 100, 0) == 0.0  # a network for points has no levels
    for wrong in ("Stages(end=0.0)", "Stages(end=1.5)", "Stages(rounds=-1)", "Grow"):
        with pytest.raises(UserError):
            build("growth", wrong)


def test_parameters_of_blocks_that_do_not_run_stay_and_then_move():
    run = run_of("progressive", "faces")  # 16×16 in 30 rounds: at level 1 from round 7.5, at level 2 from 15
    last = [*run.game.g.module.blocks[2].parameters(), *run.game.d.module.from_image[2].parameters()]
    before = [p.detach().clone() for p in last]
    for _ in range(12):
        play_round(run)
    assert same(before, [p.detach() for p in last])
    for _ in range(5):
        play_round(run)
    assert not any(map(torch.equal, before, last))


def test_a_run_that_stops_in_the_middle_of_a_fade_goes_on_to_the_bit():
    straight, resumed = run_of("progressive", "faces"), run_of("progressive", "faces")
    for _ in range(13):
        play_round(straight)
    assert straight.game.g.module.level == pytest.approx(1.2)
    state = copy.deepcopy(straight.state_dict())
    assert not any("level" in name for name in (*state["generator"], *state["discriminator"]))
    resumed.load_state_dict(state)
    for run in (straight, resumed):
        page = draw_sample_page(run.game, run.dataset, run.sampling_generator(), run.numbered_z(64))
        assert run.average.module.level == run.game.g.module.level == pytest.approx(1 + 7 / 15)
        for _ in range(6):
            play_round(run)
    assert page.shape == (128, 128, 3)
    assert same(straight.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("told", ["projection", "concatenation"])
def test_networks_within_others_grow_too(told):
    run = run_of("progressive", "faces", conditional=told, latent="uniform")
    run.game.round = 5  # in which the networks fade from 4×4 to 8×8
    d, _ = play_round(run)
    parts = growing([run.game.g.module, run.game.d.module, run.average.module])
    assert [part.level for part in parts] == pytest.approx([1 / 3] * 3)
    assert near(d.real, enlarge(shrink(d.real, 2))) and near(d.fake, enlarge(shrink(d.fake, 2)))


def test_a_graph_of_it_is_refused_with_the_reason():
    assert reason_on_a_gpu(run_of("progressive", "faces")) == "Stages fades in blocks of the networks"
    assert reason_on_a_gpu(run_of("progressive", "faces", growth="")) == ""


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"norm_d": "spectral"}, "--norm none"),
        ({"norm_g": "batch"}, "--norm none"),
        ({"weights": "normal"}, "--weights"),
        ({"network": "dcgan"}, "dcgan cannot grow"),
        ({"minibatch_discrimination": True}, "whole batch"),
        ({"d_dropout": 0.1}, "own D"),
    ],
)
def test_what_it_has_no_place_for_is_refused(settings, why):
    with pytest.raises(UserError, match=why) as refused:
        run_of("progressive", "faces", **settings)
    assert "\n" not in str(refused.value)


# ---------------------------------------------------------------- what is drawn on the way


@pytest.mark.parametrize("round", [0, 6, 10, 13, 30])
def test_a_checkpoint_draws_and_judges_at_the_size_that_it_had_reached(tmp_path, round):
    run = run_of("progressive", "faces")
    for _ in range(2):
        play_round(run)
    run.game.round = round
    checkpoint.save(tmp_path / "checkpoint.pt", run.state_dict())
    page = draw_sample_page(run.game, run.dataset, run.sampling_generator(), run.numbered_z(64))
    generator, d = load_generator(tmp_path), load_discriminator(tmp_path)
    assert generator.module.level == d.level == run.game.growth(round, 30, 2)
    drawn = draw_samples(generator, 64, run.config.seed)
    assert np.array_equal(page, drawn.reshape(8, 8, 16, 16, 3).swapaxes(1, 2).reshape(128, 128, 3))
    finished = checkpoint.finished(tmp_path)
    checkpoint.save(tmp_path / "g.pt", finished)
    assert np.array_equal(draw_samples(load_generator(tmp_path / "g.pt"), 64, run.config.seed), drawn)


@pytest.mark.full
def test_every_command_works_in_the_middle_of_a_fade(tmp_path):
    run = tmp_path / "run"
    small = "--recipe progressive --image-size 16 --width 4 --batch-size 8 --latent-dim 8 --device cpu"
    often = "--steps 40 --sample-every 4 --checkpoint-every 13 --log-every 4 --growth".split()
    assert train.main([*small.split(), *often, "Stages(rounds=100)", "--out", str(run)]) == 0
    assert load_generator(run).module.level == pytest.approx(1.2)
    for command, out in ((sample, "page.png"), (walk, "walk.gif"), (film, "film.gif"), (export, "g.pt")):
        more = ["--frames", "8"] if command is walk else []
        assert command.main([str(run), "--out", str(tmp_path / out), *more]) in (0, None)
        assert (tmp_path / out).stat().st_size > 0
    assert evaluate.main([str(run), "--samples", "200", "--pixels"]) in (0, None)


def test_minutes_are_measured_on_rounds_of_all_sizes(monkeypatch):
    from gan_ref.commands import minutes

    run, levels = run_of("progressive", "faces", steps=1000), []
    turn = play_round(run)
    monkeypatch.setattr(minutes, "play_round", lambda run: (levels.append(run.game.round), turn)[1])
    *_, rounds = minutes._play(run, 0.05)
    assert rounds == len(levels) > 20
    assert np.quantile(levels, [0.25, 0.5, 0.75]) == pytest.approx([250, 500, 750], abs=60)


def test_the_recipe_is_the_papers():
    config = config_of("progressive", "faces")
    assert (config.latent_dim, config.lr_g, config.lr_d, config.beta1, config.beta2, config.ema) == (
        512, 1e-3, 1e-3, 0.0, 0.99, 0.999,
    )  # fmt: skip
