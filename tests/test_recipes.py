"""Every recipe plays on faces and on points, with what its paper says switched on, and resumes to the bit."""

import io
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import torch
from runs import every_pair, run_of
from torch import nn
from toys import same

from gan_ref import layers, recipes
from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.loop import play_round
from gan_ref.run import Run
from gan_ref.techniques import KINDS, build, choices
from gan_ref.techniques.combinations import refuse_contradictions
from gan_ref.watch.pages import draw_sample_page

ADAM, RMSPROP, SGD = torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD


class Published(NamedTuple):
    """What a reader of the paper would look for in a run; written from the papers, not from the recipes."""

    techniques: str = "NonSaturating"
    optimizer: type = ADAM
    lr: tuple[float, float] = (2e-4, 2e-4)  # of D and of G
    decay: tuple[float, ...] = (0.5, 0.999)  # Adam's β, RMSprop's α or SGD's momentum
    steps: str = "DG"  # the players' moves in one round
    d_layers: tuple[type, ...] = (nn.BatchNorm2d,)  # on images
    g_layers: tuple[type, ...] = (nn.BatchNorm2d,)


FACE_2015 = {"optimizer": RMSPROP, "lr": (1e-3, 1e-3), "decay": (0.9,)}
FACE_2015 |= {"g_layers": (nn.Upsample, nn.BatchNorm2d)}
WARM_UP_AND_DECAY = "Ramp Exponential"
POOLED = (nn.MaxPool2d, layers.SpatialDropout, layers.Dropout)
DENSE = (layers.WeightNormLinear, layers.GaussianNoise)
VIRTUAL = (layers.VirtualBatchNorm2d,)
ALL = (nn.BatchNorm2d, *VIRTUAL, layers.WeightNormConv2d, layers.SpectralNorm, layers.SpatialDropout,
       layers.MinibatchDiscrimination, nn.Upsample, nn.MaxPool2d, nn.ConvTranspose2d,
       layers.EqualisedConv2d, layers.PixelNorm, layers.MinibatchDeviation)  # fmt: skip

PAPERS = {
    "baseline": Published("Hinge Ramp", ADAM, (16e-4, 16e-4), (0.0, 0.99), "DG", (layers.SpectralNorm,)),
    "dcgan": Published(),
    "face-2015-bn": Published(
        f"NonSaturating {WARM_UP_AND_DECAY}", **FACE_2015, d_layers=(*POOLED, nn.BatchNorm2d)
    ),
    "face-2015-margin": Published(
        f"NonSaturating Margin {WARM_UP_AND_DECAY}", **FACE_2015, steps="", d_layers=POOLED
    ),
    "face-2015-l2": Published(f"NonSaturating AdaptiveL2 {WARM_UP_AND_DECAY}", **FACE_2015, d_layers=POOLED),
    "feature-matching": Published(
        "FeatureMatching", lr=(3e-4, 3e-4), d_layers=(layers.WeightNormConv2d, layers.SpatialDropout)
    ),
    "feature-matching-sum": Published("NonSaturating FeatureMatchingTerm"),
    "improved": Published(
        "NonSaturating HistoricalAveraging",
        lr=(3e-4, 3e-4),
        d_layers=(layers.WeightNormConv2d, layers.SpatialDropout, layers.MinibatchDiscrimination),
        g_layers=VIRTUAL,
    ),
    "label-smoothing": Published(),
    "historical-averaging": Published("NonSaturating HistoricalAveraging"),
    "ttur": Published(lr=(4e-4, 1e-4)),
    "lsgan": Published("LeastSquares", lr=(1e-3, 1e-3)),
    "wgan": Published("Wasserstein WeightClip", RMSPROP, (5e-5, 5e-5), (0.99,), "DDDDDG"),
    "wgan-gp": Published("Wasserstein GradientPenalty", ADAM, (1e-4, 1e-4), (0.0, 0.9), "DDDDDG", ()),
    "progressive": Published(
        "Wasserstein GradientPenalty Drift Stages",
        ADAM,
        (1e-3, 1e-3),
        (0.0, 0.99),
        d_layers=(layers.EqualisedConv2d, layers.MinibatchDeviation),
        g_layers=(layers.EqualisedConv2d, layers.PixelNorm),
    ),
    "dragan": Published("NonSaturating DRAGAN", ADAM, (1e-4, 1e-4), (0.5, 0.9), d_layers=()),
    "sngan": Published("Hinge", ADAM, (2e-4, 2e-4), (0.0, 0.9), "DDDDDG", (layers.SpectralNorm,)),
    "sngan-points": Published("Hinge Ramp", ADAM, (1e-3, 1e-3), (0.0, 0.9), "DG", (layers.SpectralNorm,)),
    "r1": Published("NonSaturating R1", RMSPROP, (1e-4, 1e-4), (0.99,), d_layers=()),
    "r3gan": Published("Relativistic R1 R2 Cosine", ADAM, (2e-4, 2e-4), (0.0, 0.9), d_layers=()),
    "ebgan": Published("EnergyBased", lr=(1e-3, 1e-3), d_layers=(nn.BatchNorm2d, nn.ConvTranspose2d)),
    "fisher": Published("Fisher", steps="DDG"),
    "unrolled": Published("NonSaturating Unrolled", lr=(1e-4, 1e-4)),
    "consensus": Published(
        "NonSaturating Consensus", RMSPROP, (1e-4, 1e-4), (0.9,), d_layers=(), g_layers=()
    ),
    "local-stability": Published("NonSaturating LocalStability", lr=(1e-4, 1e-4)),
    "instance-noise": Published("NonSaturating InstanceNoise"),
    "pacgan": Published(),
    "projection": Published(
        "Hinge Ramp",
        ADAM,
        (16e-4, 16e-4),
        (0.0, 0.99),
        "DG",
        (layers.SpectralNorm,),
        (nn.BatchNorm2d, layers.ConditionalBatchNorm2d),
    ),
    "acgan": Published("NonSaturating AuxiliaryClassifier", d_layers=(nn.BatchNorm2d, layers.SpatialDropout)),
    "cgan": Published(),
    "semi-supervised": Published(
        "SemiSupervised", lr=(1e-3, 3e-4), d_layers=DENSE, g_layers=(nn.BatchNorm1d,)
    ),
    "semi-supervised-conv": Published(
        "SemiSupervised",
        lr=(3e-4, 3e-4),
        d_layers=(layers.WeightNormConv2d, layers.WeightNormLinear, layers.Dropout),
    ),
    "semi-supervised-minibatch": Published(
        "SemiSupervisedMinimax",
        lr=(3e-4, 3e-4),
        steps="DGGG",
        d_layers=(
            layers.WeightNormConv2d,
            layers.WeightNormLinear,
            layers.GaussianNoise,
            layers.MinibatchDiscrimination,
        ),
    ),
    "lapgan": Published(
        optimizer=SGD,
        lr=(0.02, 0.02),
        decay=(0.5,),
        d_layers=(layers.Dropout,),
        g_layers=(layers.UniformLatent,),
    ),
    "improved-imagenet": Published(
        lr=(4e-4, 4e-4),
        d_layers=(nn.BatchNorm2d, layers.GaussianNoise, layers.MinibatchDiscrimination),
        g_layers=VIRTUAL,
    ),
}


POINTS_PAPERS = {  # on points: what a reader of the authors' script, if they have one, would look for
    "wgan": PAPERS["wgan"]._replace(decay=(0.9,)),
    "wgan-gp": PAPERS["wgan-gp"]._replace(decay=(0.5, 0.9)),
    "unrolled": Published("Minimax Unrolled", lr=(1e-4, 1e-3)),
    "lsgan": Published("LeastSquares Simultaneous", lr=(1e-4, 1e-3)),
    "local-stability": Published("Minimax LocalStability", lr=(1e-4, 1e-4)),
    "pacgan": Published("NonSaturating Simultaneous", lr=(1e-4, 1e-4), decay=(0.8, 0.999)),
    "ebgan": Published("EnergyBased Ramp", lr=(1e-3, 1e-3)),
}


def play(run: Run, rounds: int) -> None:
    for _ in range(rounds):
        d, g = play_round(run)
        assert torch.isfinite(d.loss) and torch.isfinite(g.loss)


@every_pair
def test_thirty_steps_resumed_in_the_middle_are_thirty_steps(name, data):
    straight = run_of(name, data)
    start = [p.detach().clone() for p in straight.game.d.parameters]
    play(straight, 15)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    play(straight, 15)
    assert not all(torch.equal(a, b) for a, b in zip(start, straight.game.d.parameters))

    file.seek(0)
    resumed = run_of(name, data)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    play(resumed, 15)
    assert same(straight.state_dict(), resumed.state_dict())


@pytest.mark.full
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_it_plays_on_a_folder_of_images(name, images):
    labelled = {"labels_per_class": 5} if "labels_per_class" in recipes.RECIPES[name].settings else {}
    run = run_of(name, images, **labelled)
    play(run, 2)
    page = draw_sample_page(run.game, run.dataset, run.sampling_generator(), run.numbered_z(64))
    assert run.dataset.shape == (3, 16, 16) and page.shape == (128, 128, 3)


@every_pair
def test_its_techniques_are_really_on(name, data):
    run, paper = run_of(name, data), PAPERS[name]
    paper = POINTS_PAPERS.get(name, paper) if data == "grid25" else paper
    called, moves = Counter(), []
    objective = run.game.objective

    def spy(on: object, method: str) -> None:
        original = getattr(on, method)

        def wrapped(*args):
            called[type(on).__name__] += 1
            return original(*args)

        setattr(on, method, wrapped)

    for method in ("d_loss", "g_loss"):
        spy(objective, method)
    spy(run.game.balance, "who_moves")
    hook = nn.modules.module.register_module_forward_hook(lambda on, *_: called.update([type(on).__name__]))
    for player, letter in ((run.game.d, "D"), (run.game.g, "G")):
        player.optimizer.register_step_post_hook(lambda *_, letter=letter: moves.append(letter))
    try:
        play(run, 2)
    finally:
        hook.remove()

    usual = {"Alternating", "Fixed"}
    known = {kind for group in KINDS for kind in choices(group)}
    assert (called.keys() & known) - usual == set(paper.techniques.split())
    assert not paper.steps or "".join(moves) == paper.steps * 2
    if data == "faces":
        for player, expected in ((run.game.d, paper.d_layers), (run.game.g, paper.g_layers)):
            present = {kind for kind in ALL for module in player.module.modules() if isinstance(module, kind)}
            wanted = {kind for kind in expected if kind in ALL}
            without = {nn.Upsample, nn.BatchNorm1d, layers.PixelNorm, layers.UniformLatent}
            if player is run.game.g and not without & set(expected):
                wanted.add(nn.ConvTranspose2d)
            assert present == wanted
            assert all(called[kind.__name__] for kind in expected)
    for player, lr in zip((run.game.d, run.game.g), paper.lr):
        (group,) = player.optimizer.param_groups
        assert type(player.optimizer) is paper.optimizer and group["lr"] == lr
        decay = {ADAM: "betas", RMSPROP: "alpha", SGD: "momentum"}[paper.optimizer]
        assert (group[decay] if paper.optimizer is ADAM else (group[decay],)) == paper.decay


def test_points_have_the_settings_of_the_authors_scripts_and_flags_win_over_them():
    run, images = run_of("pacgan", "grid25", width=400, d_width=200), run_of("pacgan", "faces")
    kinds = [type(module) for module in run.game.g.module.layers]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU] * 4 and kinds.count(nn.Linear) == 4
    first, *_, last = (layer for layer in run.game.d.module.trunk if isinstance(layer, nn.Linear))
    assert (first.in_features, first.out_features) == (4, 1000) and last.in_features == 200
    assert [type(m) for m in run.game.d.module.trunk] == [nn.Linear, layers.Maxout] * 3
    assert images.config.network == "dcgan" and images.config.beta1 == 0.5
    assert recipes.settings("wgan-gp")["penalties"] == ("GradientPenalty(weight=10.0)",)
    toy = run_of("wgan-gp", "ring8", points_std=0.0)
    assert toy.config.penalties == ("GradientPenalty(weight=0.1)",) and toy.config.points_std == 0
    assert isinstance(run_of("unrolled", "ring8").game.g.module.layers[1], nn.Tanh)


def test_the_authors_wgan_gp_sees_points_of_standard_deviation_1():
    run = run_of("wgan-gp", "swissroll")
    assert abs(float(np.sqrt(run.dataset.means.var(axis=0).mean())) - 1) < 1e-9
    play(run, 1)


def test_what_a_call_does_not_show():
    assert build("objectives", recipes.settings("label-smoothing")["objective"]).real_label == 0.9
    assert build("objectives", recipes.settings("improved")["objective"]).real_label == 0.9
    clipped = run_of("wgan", "grid25")
    play(clipped, 1)
    assert max(p.abs().max() for p in clipped.game.d.parameters) <= 0.01
    fisher = run_of("fisher", "grid25")
    play(fisher, 1)
    assert fisher.game.objective.multiplier != 0


def test_every_recipe_is_listed_with_its_paper():
    assert recipes.RECIPES.keys() == PAPERS.keys()
    lines = recipes.listing().splitlines()
    assert len(lines) == len(recipes.RECIPES)
    for line, (name, recipe) in zip(lines, recipes.RECIPES.items()):
        assert line.split()[0] == name and recipe.line in line and line.endswith(f"({recipe.paper})")
    with pytest.raises(UserError, match="--recipes"):
        recipes.settings("dcgam")


IMAGES, POINTS = (3, 16, 16), (2,)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"objective": "EnergyBased"}, "autoencoder"),
        ({"network": "maxout"}, "points"),
        ({"points_std": 1.0}, "points"),
        ({"autoencoder": True}, "EnergyBased"),
        ({"objective": "Wasserstein"}, "slope"),
        ({"objective": "Wasserstein", "penalties": ("L2",)}, "slope"),
        ({"penalties": ("GradientPenalty",)}, "batch norm"),
        ({"penalties": ("R1",)}, "batch norm"),
        ({"penalties": ("L2", "DRAGAN")}, "DRAGAN: .* batch norm"),
        ({"penalties": ("R1",), "norm_d": "none", "minibatch_discrimination": True}, "whole batch"),
        ({"penalties": ("R1",), "objective": "EnergyBased", "autoencoder": True}, "batch norm"),
        ({"penalties": ("R1",), "network": "face2015"}, "batch norm"),
        (
            {"penalties": ("GradientPenalty",), "norm_d": "none", "minibatch_discrimination": True},
            "whole batch",
        ),
        ({"objective": "Hinge", "balance": "Margin"}, "cross entropies"),
        ({"objective": "LeastSquares", "balance": "Dynamic"}, "cross entropies"),
        ({"objective": "LeastSquares", "penalties": ("AdaptiveL2",)}, "cross entropies"),
        ({"update": "Unrolled", "balance": "Fixed(d_steps=5)"}, "same moment"),
        ({"update": "Consensus", "balance": "Dynamic"}, "same moment"),
        ({"update": "Simultaneous", "balance": "CriticWarmUp"}, "same moment"),
        ({"update": "Unrolled", "penalties": ("WeightClip",)}, "WeightClip"),
        ({"penalties": ("R1",), "norm_d": "none", "precision": "bfloat16"}, "bfloat16"),
        ({"update": "Consensus", "precision": "bfloat16"}, "bfloat16"),
        ({"objective": "EnergyBased", "autoencoder": True, "minibatch_discrimination": True}, "pulling-away"),
        ({"objective": "EnergyBased", "autoencoder": True, "norm_d": "virtual"}, "virtual norm"),
        ({"objective": "EnergyBased", "autoencoder": True, "d_noise": 0.1}, "noise layers"),
        ({"objective": "EnergyBased", "autoencoder": True, "d_dropout": 0.1}, "dropout"),
        ({"objective": "EnergyBased", "autoencoder": True, "batch_size": 1}, "2 or more"),
        ({"network": "face2015", "d_noise": 0.1}, "noise layers"),
        ({"network": "face2015", "upsample": "nearest"}, "dcgan"),
        ({"match_layers": ("1",)}, "feature matching"),
        ({"penalties": ("R2",)}, "batch norm"),
        (recipes.settings("semi-supervised") | {"pack": 2}, "--pack"),
        ({"instance_noise": "R1"}, "noise"),
        ({"penalties": ("R1", "Nothing")}, "penalties"),
        (recipes.settings("semi-supervised") | {"penalties": ("LocalStability",)}, "labels"),
    ],
    ids=str,
)
def test_a_combination_that_makes_no_sense_says_why(changes, why):
    with pytest.raises(UserError, match=why) as refused:
        refuse_contradictions(Config(**changes), IMAGES)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"objective": "Wasserstein", "norm_d": "spectral"}, IMAGES),
        ({"objective": "Fisher"}, IMAGES),
        ({"objective": "Wasserstein", "penalties": ("GradientPenalty",)}, POINTS),  # no batch norm there
        ({"update": "Unrolled", "balance": "Margin"}, POINTS),
        ({"objective": "FeatureMatching", "balance": "Margin", "penalties": ("AdaptiveL2",)}, IMAGES),
        ({"network": "face2015", "d_noise": 0.1}, POINTS),
        (
            recipes.settings("semi-supervised") | {"penalties": ("GradientPenalty",)},
            IMAGES,
        ),  # no batch norm there
    ],
    ids=str,
)
def test_a_combination_that_makes_sense_is_let_through(changes, shape):
    refuse_contradictions(Config(**changes), shape)
