"""Labels that steer: what G is told, what D makes of it, and that the class asked for is the class drawn."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from toys import Critic, Linear, normal, play

from gan_ref.checkpoint import load_generator
from gan_ref.commands import evaluate, sample, walk
from gan_ref.commands.train import main
from gan_ref.config import Config
from gan_ref.data import by_factor, open_dataset
from gan_ref.errors import UserError
from gan_ref.evaluation.classes import score_classes
from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.latents import paths
from gan_ref.latents.classes import (
    classes_in_turn,
    find_class,
    labels_like,
    of_class,
    walk_classes,
    with_class,
)
from gan_ref.latents.directions import layer_directions, strongest_dimensions
from gan_ref.latents.samples import draw_samples, iterate_samples
from gan_ref.layers import ConditionalBatchNorm2d
from gan_ref.loop import draw
from gan_ref.networks import build_generator, conditional
from gan_ref.networks.conditional import one_hot
from gan_ref.run import Run, choose_settings
from gan_ref.techniques import penalties

LABELS = torch.tensor([2, 0, 1, 2])

# ---------------------------------------------------------------- what G is told


def test_a_class_scales_and_shifts_what_the_whole_batch_has_normalised():
    """Dumoulin et al. 2017, eq. 5: z = γ_s (x − μ)/σ + β_s, with μ and σ of each channel."""
    norm = ConditionalBatchNorm2d(5, 3).double()
    norm.weight.data, norm.bias.data = normal(3, 5), normal(3, 5, seed=1)
    x = normal(4, 5, 3, 2, seed=2)
    y = norm(x, one_hot(LABELS, 3).double())
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    for k, label in enumerate(LABELS):
        scale, shift = norm.weight[label, :, None, None], norm.bias[label, :, None, None]
        assert torch.allclose(y[k], (scale * (x - mean) / (var + 1e-5).sqrt() + shift)[k])


def test_a_class_between_two_has_numbers_between_theirs():
    norm = ConditionalBatchNorm2d(5, 3).double().eval()
    norm.weight.data, norm.bias.data = normal(3, 5), normal(3, 5, seed=1)
    x, between = normal(1, 5, 2, 2), torch.tensor([[0.25, 0.0, 0.75]]).double()
    a, c = (norm(x, one_hot(torch.tensor([k]), 3).double()) for k in (0, 2))
    assert torch.allclose(norm(x, between), 0.25 * a + 0.75 * c)


@pytest.mark.parametrize(
    ("how", "shape"), [("projection", (3, 16, 16)), ("projection", (2,)), ("concatenation", (3, 16, 16))]
)
def test_the_class_changes_what_g_draws_and_is_the_end_of_its_input(how, shape):
    config = Config(conditional=how, width=8, latent_dim=6, image_size=16 if shape[1:] else None)
    generator = build_generator(config, shape, 3)
    for layer in generator.modules():  # as if they had been trained
        if isinstance(layer, ConditionalBatchNorm2d):
            nn.init.normal_(layer.weight)
    z = normal(1, 6).float().expand(3, -1)
    told = with_class(z, torch.arange(3), 3)
    assert told.shape == (3, 9) and told[:, 6:].equal(torch.eye(3))
    x = generator.eval()(told)
    assert x.shape == (3, *shape) and min((x[0] - x[1]).abs().max(), (x[1] - x[2]).abs().max()) > 1e-4
    assert with_class(z, None, 0) is z


def test_fakes_have_the_labels_of_the_reals():
    run = Run(*choose_settings(Config(data="ring8", conditional="projection", batch_size=16, width=8)))
    for _ in range(3):
        x, labels, z = draw(run)
        assert z.shape == (16, 2 + 8) and z[:, 2:].argmax(1).equal(labels)
        assert torch.cdist(x, torch.from_numpy(run.dataset.means).float()).argmin(1).equal(labels)


# ---------------------------------------------------------------- how D sees it


def test_projection_adds_the_inner_product_with_the_embedded_class():
    """Miyato & Koyama 2018, eq. 3: f(x, y) = yᵀVφ(x) + ψ(φ(x))."""
    critic = Critic()
    d, x = conditional.Projection(critic, features=5, num_classes=3).double(), normal(4, 2)
    plain, (scores, features, logits) = critic(x), d(x, LABELS)
    v = d.embed.weight.T  # (K, F)
    assert torch.allclose(scores, plain.scores + torch.stack([v[y] @ f for y, f in zip(LABELS, features)]))
    assert features.equal(plain.features) and logits is None


def test_projection_is_the_log_odds_of_gaussians_that_move_with_the_class():
    """Their §3: log q(y|x)/p(y|x) + log q(x)/p(x) is linear in φ. Of N(μ_y, 1) against N(0, 1), with φ = x,
    it is μ_y·x − μ_y²/2: an embedding μ_y, and a constant that the feature 1 carries."""
    means = normal(3, 2)
    critic = Linear(0.0, 0.0, 0.0)  # φ = (x, 1), ψ = 0
    d = conditional.Projection(critic, features=3, num_classes=3).double()
    d.embed.weight.data = torch.cat([means.T, -0.5 * means.square().sum(1)[None]])
    x = normal(4, 2, seed=1)
    odds = torch.distributions.Normal(means[LABELS], 1.0).log_prob(x) - torch.distributions.Normal(
        torch.zeros(2).double(), 1.0
    ).log_prob(x)
    assert torch.allclose(d(F.pad(x, (0, 1), value=1.0), LABELS).scores, odds.sum(1))


def test_the_auxiliary_classifier_rewards_both_players_for_classes_that_are_seen():
    """Odena et al. 2017, eq. 3: L_C = E log P(C = c | X_real) + E log P(C = c | X_fake)."""
    d = conditional.Auxiliary(Critic(), features=5, num_classes=3).double()
    game = play(d, penalties=[penalties.AuxiliaryClassifier(weight=0.5)])
    real, fake = normal(4, 2), normal(4, 2, seed=1).requires_grad_()

    def surprise(x: Tensor) -> Tensor:
        return -d(x, LABELS).logits.softmax(1)[torch.arange(4), LABELS].log().mean()

    turn = game.d_loss(real, fake, LABELS)
    assert torch.allclose(turn.terms["AuxiliaryClassifier"], 0.5 * (surprise(real) + surprise(fake)))
    turn = game.g_loss(real, fake, LABELS)
    assert torch.allclose(turn.terms["AuxiliaryClassifier"], 0.5 * surprise(fake))


def test_concatenated_labels_are_planes_of_ones():
    seen = []

    class Sees(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    x = normal(4, 2, 3, 3)
    conditional.Concatenation(Sees(), 3)(x, LABELS)
    assert seen[0][:, :2].equal(x)
    assert seen[0][:, 2:].equal(one_hot(LABELS, 3)[:, :, None, None].double().expand(-1, -1, 3, 3))


@pytest.mark.parametrize("term", [penalties.GradientPenalty, penalties.DRAGAN, penalties.LocalStability])
def test_penalties_ask_d_about_the_class_that_the_samples_have(term):
    told = []

    class Told(conditional.Projection):
        def forward(self, x, labels):
            told.append(labels)
            return super().forward(x, labels)

    game = play(Told(Critic(), 5, 3).double(), penalties=[term()])
    real, fake = normal(4, 2), normal(4, 2, seed=1)
    loss = game.g_loss if term.players == "G" else game.d_loss
    loss(real, fake.requires_grad_(), LABELS)
    assert len(told) >= 3 and all(labels.equal(LABELS) for labels in told)


# ---------------------------------------------------------------- which class is which


def test_classes_are_found_by_name_part_or_number():
    names = ("10", "cat", "cattle", "dog, wet")
    assert [find_class(text, names) for text in ("10", "cat", "catt", "WET", "1", "3")] == [0, 1, 2, 3, 1, 3]
    for text in ("c", "cow", "4", ""):
        with pytest.raises(UserError, match="cattle") as refused:
            find_class(text, names)
        assert "\n" not in str(refused.value)


def test_a_walk_passes_through_its_classes_and_returns():
    plain = paths.walks("slerp", 4, 1, 2, keyframes=2)
    walk = walk_classes(plain, [[0, 2, 1]] * 2, 3)
    t = torch.tensor([0, 1 / 6, 1 / 3, 2 / 3, 5 / 6], dtype=torch.float64)
    z = walk(t)
    assert z.shape == (5, 2, 4 + 3) and z[..., :4].equal(plain(t))
    expected = [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1], [0, 1, 0], [0.5, 0.5, 0]]
    for w in range(2):
        assert torch.allclose(z[:, w, 4:], torch.tensor(expected).double(), atol=1e-9)


@pytest.mark.parametrize("loop", [True, False])
def test_a_walk_of_one_z_or_one_class_stays_there(loop):
    still = dataclasses.replace(paths.walks("slerp", 4, 1, 2, keyframes=1), loop=loop)
    t = paths.instants(0, 7, 7, loop)
    z = walk_classes(still, [[4], [2]], 3)(t)
    assert torch.allclose(z[..., :4], still.stops[:, 0].expand(7, -1, -1), atol=1e-12)
    assert z[:, 0, 4:].argmax(-1).eq(1).all() and z[:, 1, 4:].argmax(-1).eq(2).all()


def test_labels_are_as_frequent_as_in_the_data_and_in_turn_otherwise():
    labels = np.repeat([0, 1], [900, 100])
    assert 60 < int(labels_like(labels, 900).sum()) < 100 + 1
    assert classes_in_turn(range(7), 3).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_one_factor_of_faces_makes_the_classes():
    faces = open_dataset("faces", 16)
    hair = by_factor(faces, "hair_style")
    assert hair.classes[1] == "hair_style short" and len(hair.classes) == 7
    assert np.array_equal(hair.labels, faces.factors["hair_style"])
    with pytest.raises(UserError, match="hair_style, .*hat"):
        by_factor(faces, "nose")


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def thirds(tmp_path_factory):
    """A run on three classes, a bright third each: 300 rounds are enough to know them."""
    folder = tmp_path_factory.mktemp("thirds")
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    bright = np.arange(16) // 5 == labels[:, None]  # (300, 16)
    images = np.clip(40 + 150 * bright[:, None] + rng.normal(0, 20, (300, 16, 16)), 0, 255).astype(np.uint8)
    np.savez(folder / "thirds.npz", images=images, labels=labels)
    flags = ["--data", str(folder / "thirds.npz"), "--image-size", "16", "--width", "8", "--latent-dim", "8"]
    flags += ["--batch-size", "32", "--steps", "300", "--ema", "0.95", "--no-walk", "--conditional"]
    flags += ["--lr-g", "2e-3", "--lr-d", "2e-3"]
    assert main([*flags, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_class_that_is_asked_for_is_the_class_that_is_drawn(thirds):
    generator = load_generator(thirds)
    asked = np.arange(60) % 3
    images = draw_samples(generator, 60, seed=1, labels=asked).astype(float)
    third = images[..., :15, 0].mean(1).reshape(60, 3, 5).mean(2).argmax(1)
    assert (third == asked).mean() > 0.9


def test_a_page_has_a_row_for_each_class_of_the_same_z(thirds, tmp_path):
    generator = load_generator(thirds)
    assert generator.classes == ("0", "1", "2")
    sample.write(generator, tmp_path / "each.png", label="each", count=4)
    page = np.array(Image.open(tmp_path / "each.png"))
    assert page.shape == (3 * 18 - 2, 4 * 18 - 2)
    for k in range(3):
        for i, image in enumerate(iterate_samples(generator, range(4), 0, [k] * 4)):
            assert (page[18 * k : 18 * k + 16, 18 * i : 18 * i + 16] == image[..., 0]).all()
    sample.write(generator, tmp_path / "two.png", label="2", count=4, columns=4)
    assert (np.array(Image.open(tmp_path / "two.png")) == page[36:]).all()
    still = {"classes": ["0", "2"], "keyframes": 1, "captions": True}
    walk.render(generator, tmp_path / "walk.gif", frames=4, grid=(1, 2), **still)
    for more in ({}, {"path": "circle"}, {"path": "dimension"}, {"loop": False, "through": (3, 5)}):
        walk.render(generator, tmp_path / "plain.gif", frames=4, keyframes=None, **more)


def test_a_walk_shows_at_its_stops_what_a_page_shows_under_those_numbers(thirds, tmp_path):
    generator = load_generator(thirds)
    flags = {"frames": 3, "ease": "hold", "frames_dir": tmp_path / "frames"}
    walk.render(generator, through=(4, 8, 3), **flags)
    for frame, image in enumerate(iterate_samples(generator, (4, 8, 3), 0)):
        assert (np.array(Image.open(tmp_path / "frames" / f"{frame:06}.png")) == image[..., 0]).all()


@pytest.mark.parametrize(
    "flags",
    ["--conditional --data {images}", "--conditional labels --data ring8", "--recipe semi-supervised "
     "--conditional", "--recipe ebgan --conditional", "--recipe acgan --penalties", "--conditional auxiliary",
     "--label-factor nose", "--label-factor hat --data ring8"],
)  # fmt: skip
def test_what_has_no_room_for_labels_says_so(tmp_path, capsys, flags):
    (tmp_path / "images").mkdir()
    for k in range(4):
        Image.new("L", (16, 16), 60 * k).save(tmp_path / "images" / f"{k}.png")
    given = flags.format(images=tmp_path / "images").split()
    assert main([*given, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


# ---------------------------------------------------------------- its scores


def test_accuracy_is_the_share_of_points_at_the_mode_asked_for():
    ring = open_dataset("ring8")
    metrics = SampleMetrics(ring, open_dataset("ring8", split="test"), 80)
    asked = np.arange(80) % 8
    points = ring.means[asked].astype(np.float32)
    points[asked == 3] = ring.means[4]
    points[0] = np.nan
    scores = score_classes(metrics, points, asked)
    assert scores["accuracy"] == pytest.approx((80 - 10 - 1) / 80)
    own = [scores["by_class"][name] for name in ring.classes]
    assert own[0] == {"samples": 10, "accuracy": 0.9} and own[3]["accuracy"] == 0 and own[5]["accuracy"] == 1


def test_real_images_score_as_what_they_are_and_swapped_ones_as_what_they_are_not(thirds):
    data = open_dataset(str(thirds.parent / "thirds.npz"), 16)
    metrics = SampleMetrics(data, count=60)
    right = score_classes(metrics, data.samples[:60], data.labels[:60])
    swapped = score_classes(metrics, data.samples[:60], (data.labels[:60] + 1) % 3)
    assert right["accuracy"] == right["accuracy_real"] == 1 and swapped["accuracy"] == 0
    for name in data.classes:
        alike, other = right["by_class"][name], swapped["by_class"][name]
        assert alike["frechet"] < 3 * alike["frechet_real"] < other["frechet"]


def test_evaluate_asks_for_classes_and_reports_what_came(thirds, tmp_path, capsys):
    assert evaluate.main([str(thirds), "--samples", "60", "--out", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())["asked"]
    assert report["accuracy"] > 0.9 and sum(own["samples"] for own in report["by_class"].values()) == 60
    assert "asked for a class" in capsys.readouterr().out


def test_what_looks_at_z_alone_takes_the_first_class(thirds):
    generator, z = load_generator(thirds), torch.randn(4, 8)
    first = of_class(generator).module(z)
    assert torch.allclose(first, generator.module(with_class(z, torch.zeros(4).long(), 3)))
    assert len(strongest_dimensions(of_class(generator), 2, 0, (-3, 3))) == 2
    assert layer_directions(of_class(generator)).shape == (8, 8)
