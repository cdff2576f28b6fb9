"""Stacked digits: what each channel shows, how modes are counted, and how a run finds them again."""

import math

import numpy as np
import pytest
from test_data_sources import write_idx

from gan_ref.commands.train import main
from gan_ref.data import open_dataset, stacked
from gan_ref.errors import UserError
from gan_ref.evaluation.metrics import SampleMetrics


def bars(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten kinds of 28×28 images that anybody can tell apart: digit d is a bar at height d."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=count).astype(np.uint8)
    images = rng.integers(0, 30, size=(count, 28, 28))
    for image, label in zip(images, labels):
        image[2 + 2 * label : 4 + 2 * label, 4:24] += 200
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    for split, count in (("train", 300), ("t10k", 100)):
        images, labels = bars(count, seed=count)
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "COUNTS", {"train": (6000, 0), "test": (1500, 1)})
        yield f"{stacked.STACKED}{folder}"


def test_each_channel_is_a_digit_and_the_class_their_number(source):
    data = open_dataset(source)
    assert data.samples.shape == (6000, 32, 32, 3) and not data.flip
    assert data.classes[:2] == ("000", "001") and len(data.classes) == 1000
    for image, label in zip(data.samples[:50], data.labels[:50]):
        heights = image[2:-2].astype(int).sum(1).argmax(0)  # the bright row of each channel
        digits = [(height - 2) // 2 for height in heights]
        assert digits == [int(d) for d in data.classes[label]]
    again, test = open_dataset(source), open_dataset(source, split="test")
    assert np.array_equal(again.samples, data.samples) and len(test) == 1500
    assert abs(np.bincount(data.labels % 10) / 6000 - 0.1).max() < 0.05


def test_modes_are_counted_by_the_digits_in_the_channels(source):
    data, test = open_dataset(source), open_dataset(source, split="test")
    metrics = SampleMetrics(data, test, 1500)
    assert metrics.classifier.accuracy["digit"] > 0.95
    drawn = test.samples[np.random.default_rng(0).permutation(1500)]
    right = metrics.labels(drawn) == test.labels[np.random.default_rng(0).permutation(1500)]
    assert right.mean() > 0.9
    assert metrics.reference["modes"] == pytest.approx(len(set(test.labels.tolist())), abs=15)
    collapsed = metrics(np.repeat(data.samples[:1], 1500, axis=0))
    share = np.mean(data.labels == data.labels[0])
    assert collapsed["modes"] == 1 and collapsed["reverse_kl"] == pytest.approx(math.log(1 / share))


def test_a_run_keeps_the_whole_path_and_resumes_from_any_folder(source, tmp_path, monkeypatch):
    prefix, path = source.split(":")
    monkeypatch.chdir(path)
    flags = ["--image-size", "16", "--width", "4", "--batch-size", "8", "--steps", "1", "--no-walk"]
    assert main(["--data", f"{prefix}:.", *flags, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["--resume", "run", "--steps", "2"]) == 0
    assert main(["--resume", "run", "--steps", "3", "--data", source]) == 0


def test_other_data_is_refused(source, images):
    for wrong, why in ((stacked.STACKED + images, "digits"), (stacked.STACKED + "nowhere", "no data")):
        with pytest.raises(UserError, match=why):
            open_dataset(wrong)
    with pytest.raises(UserError, match="--channels"):
        open_dataset(source, channels=1)
