"""Runs of the recipes, small enough for a test."""

from __future__ import annotations

import pytest

from gan_ref import recipes
from gan_ref.config import Config
from gan_ref.training import Run, settle

SMALL = {"device": "cpu", "precision": "float32", "width": 4, "batch_size": 8, "image_size": 16, "steps": 30}

of_points = [name for name, recipe in recipes.RECIPES.items() if "labels_per_class" not in recipe.settings]
every_pair = pytest.mark.parametrize(
    ("name", "data"),
    [(name, "faces") for name in recipes.RECIPES] + [(name, "grid25") for name in of_points],
)


def config_of(name: str, data: str, **more) -> Config:
    """The recipe, made small; ``more`` settings win over both."""
    return Config(**{**recipes.settings(name), "recipe": name, "data": data, **SMALL, **more})


def run_of(name: str, data: str, **more) -> Run:
    return Run(*settle(config_of(name, data, **more), progress=False))
