"""What the whole suite shares: quiet threads, two tiers, a cache of its own, a folder of images."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other: two pools on two cores crawl

import numpy as np
import pytest
import torch
from PIL import Image


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="run the full tier too: subprocesses, sanitizers, every pair"
    )


def pytest_collection_modifyitems(config, items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a GPU, and this machine's torch sees none")
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(skip)
    if config.option.markexpr:
        return  # python -m pytest -m … chooses by itself
    left_out = ("slow",) if config.option.full else ("full", "slow")
    chosen, others = [], []
    for item in items:
        (others if any(map(item.get_closest_marker, left_out)) else chosen).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Decoded data and trained classifiers of the tests go to a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_REF_CACHE", str(folder))
        yield folder


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
