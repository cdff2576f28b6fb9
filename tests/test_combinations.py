"""Random combinations of recipe, network, norm, update, penalties and objective: each trains or is refused in
a line.
"""

import random

import pytest
import torch
from runs import SMALL

from gan_ref import recipes
from gan_ref.config import IMAGE_NETWORKS, NORMS_OF_D, NORMS_OF_G, Config
from gan_ref.errors import UserError
from gan_ref.loop import play_round
from gan_ref.run import Run, choose_settings
from gan_ref.techniques import choices

CHOICES = {
    "network": [*IMAGE_NETWORKS],
    "norm_g": [*NORMS_OF_G],
    "norm_d": [*NORMS_OF_D],
    "objective": [*sorted(choices("objectives")), "NonSaturating(spread=0.2, flip=0.1, g_label=0.9)"],
    "update": sorted(set(choices("updates")) - {"Unrolled"}) + ["Unrolled(steps=2)"],
    "balance": ["Fixed", "Fixed(d_steps=2, g_steps=2)", "CriticWarmUp(warm_steps=2)", "Margin", "Dynamic"],
    "instance_noise": ["", "InstanceNoise"],
    "minibatch_discrimination": [False, True],
    "mixed_batches": [False, True],
    "autoencoder": [False, False, True],
    "match_layers": [(), ("1",), ("1", "2")],
    "d_noise": [0.0, 0.1],
    "d_dropout": [0.0, 0.2],
    "schedules": [
        (),
        ("Ramp(of='lr', start=0.5, last=0.01)",),
        ("Cosine(of='beta2')", "Ramp(of='R1.weight')"),
    ],
    "growth": ["", "Stages", "Stages(rounds=4)"],
    "latent": ["normal", "uniform"],
    "upsample": ["transposed", "nearest", "shuffle"],
    "weights": ["own", "normal", "xavier", "he", "orthogonal", "uniform"],
    "conditional": ["none", "projection", "auxiliary", "concatenation"],
    "label_factor": ["", "hair_style"],
    "optimizer": ["adam", "rmsprop", "sgd"],
    "optimizer_d": [None, "adam", "rmsprop", "sgd"],
    "beta1_d": [None, 0.0, 0.9],
}


def draw_settings(rng: random.Random) -> dict:
    """A recipe with one to four of its settings changed at random, on images or points."""
    name = rng.choice(sorted(recipes.RECIPES))
    points = rng.random() < 0.3
    settings = {**recipes.settings(name, points), "recipe": name, **SMALL}
    settings["data"] = "ring8" if points else "faces"
    settings |= {} if points else {"image_size": 16}
    settings |= {key: rng.choice(CHOICES[key]) for key in rng.sample(sorted(CHOICES), rng.randint(0, 3))}
    if rng.random() < 0.6:
        settings["penalties"] = tuple(rng.sample(sorted(choices("penalties")), rng.randint(1, 2)))
    if settings.get("labels_per_class"):
        settings["labels_per_class"] = 3
    return settings


def play(settings: dict) -> str:
    """Two rounds: "trains", or the reason why they are refused."""
    try:
        run = Run(*choose_settings(Config(**settings)))
    except UserError as error:
        assert "\n" not in str(error) and str(error), settings
        return str(error)
    for _ in range(2):
        d, g = play_round(run)
        assert torch.isfinite(d.loss) and torch.isfinite(g.loss), settings
    for player in (run.game.d, run.game.g):
        assert all(torch.isfinite(p).all() for p in player.parameters), settings
    return "trains"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 15))])
def test_twenty_random_combinations_train_or_are_refused_in_one_line(seed):
    rng = random.Random(seed)
    outcomes = [play(draw_settings(rng)) for _ in range(20)]
    assert 3 <= outcomes.count("trains") <= 19  # neither is everything refused nor anything let through


FACES = SMALL | {"data": "faces", "image_size": 16}
SEMI = (
    recipes.settings("semi-supervised") | FACES | {"labels_per_class": 3, "penalties": ("GradientPenalty",)}
)

PROGRESSIVE = recipes.settings("progressive") | FACES


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        (SEMI, "trains"),  # N fakes, and 2N reals of which N are labelled
        (SEMI | {"norm_d": "none"}, "trains"),
        (SEMI | {"penalties": ("LocalStability",)}, "labels"),
        (FACES | {"penalties": ("LocalStability",), "update": "Unrolled", "norm_g": "virtual",
                  "norm_d": "virtual"}, "trains"),
        (FACES | {"network": "face2015", "norm_d": "none", "width": 8, "penalties": ("R1",),
                  "update": "Unrolled"}, "trains"),  # D's gradient at the reals is exactly zero at first
        (PROGRESSIVE | {"update": "Unrolled(steps=2)"}, "trains"),  # some weights are in no loss yet
        (PROGRESSIVE | {"update": "Consensus"}, "trains"),
    ],
)  # fmt: skip
def test_combinations_that_once_failed(settings, outcome):
    assert outcome in play(settings)
