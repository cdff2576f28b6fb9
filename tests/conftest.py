"""What the whole suite shares: quiet threads, a cache of its own, and where real data may be found."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other: two pools on two cores crawl

import pytest
import torch


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


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a GPU, and this machine's torch sees none")
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(skip)
