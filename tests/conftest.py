"""What the whole suite shares: quiet threads, a cache of its own, a folder of images."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other: two pools on two cores crawl

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Decoded data and trained classifiers of the tests go to a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("GAN_REF_CACHE")
    os.environ["GAN_REF_CACHE"] = str(folder)
    yield folder
    os.environ.pop("GAN_REF_CACHE")
    if before is not None:
        os.environ["GAN_REF_CACHE"] = before


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Forty noisy coloured squares in two class folders."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for k in range(40):
        (folder / "ab"[k % 2]).mkdir(exist_ok=True)
        pixels = np.clip(rng.normal(60 + 120 * (k % 2), 30, (20, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[k % 2] / f"{k}.png")
    return str(folder)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a GPU, and this machine's torch sees none")
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(skip)
