"""Runs of the recipes, small enough for a test."""

import pytest

from gan_ref import recipes
from gan_ref.config import Config
from gan_ref.data import is_points
from gan_ref.run import Run, choose_settings

SMALL = {"device": "cpu", "precision": "float32", "width": 4, "batch_size": 8, "steps": 30}

of_points = [name for name, recipe in recipes.RECIPES.items() if "labels_per_class" not in recipe.settings]
QUICK = {("dcgan", "faces"), ("improved", "faces"), ("wgan-gp", "grid25"), ("face-2015-margin", "faces"),
         ("fisher", "grid25"), ("r3gan", "grid25"), ("unrolled", "grid25"),
         ("semi-supervised", "faces")}  # fmt: skip
every_pair = pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param(name, data, marks=() if (name, data) in QUICK else pytest.mark.full)
        for data, names in (("faces", recipes.RECIPES), ("grid25", of_points))
        for name in names
    ],
)


def config_of(name: str, data: str, **more) -> Config:
    """The recipe, made small; ``more`` settings win over both."""
    points = is_points(data)
    size = {"d_width": 4} if points else {"image_size": 16}
    own = recipes.settings(name, points)
    return Config(**{**own, "recipe": name, "data": data, **SMALL, **size, **more})


def run_of(name: str, data: str, **more) -> Run:
    return Run(*choose_settings(config_of(name, data, **more)))
