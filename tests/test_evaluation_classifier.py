"""The classifier whose features and probabilities the metrics are made of, and the metrics made of them."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_ref.data import open_dataset
from gan_ref.data.dataset import Dataset
from gan_ref.errors import UserError
from gan_ref.evaluation import inception
from gan_ref.evaluation.classifier import default_steps, open_classifier, train_classifier
from gan_ref.evaluation.metrics import SampleMetrics, describe_collapse, merit
from gan_ref.evaluation.report import draw_report, make_report, table, text

STEPS = 25


def stripes(count: int, seed: int = 0, channels: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images of one bright row (class: which of four) on a background that is dark or grey (shade)."""
    rng = np.random.default_rng(seed)
    labels = {"class": rng.integers(4, size=count), "shade": rng.integers(2, size=count)}
    images = rng.integers(0, 40, size=(count, 16, 16, channels)) + 60 * labels["shade"][:, None, None, None]
    for image, row in zip(images, labels["class"]):
        image[4 * row + 1 : 4 * row + 3] += 100
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data():
    images, labels = stripes(400)
    names = ("a", "b", "c", "d")
    factors = {"shade": labels["shade"]}
    return Dataset("stripes", images, labels["class"], names, factors=factors)


@pytest.fixture(scope="module")
def metrics(data, folder):
    short = functools.partial(open_classifier, steps=STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_ref.evaluation.metrics.open_classifier", short)
        patch.setenv("GAN_REF_CACHE", str(folder))
        yield SampleMetrics(data, count=100)


@pytest.mark.full
def test_it_learns_every_labelling_and_says_how_well_on_images_it_never_saw():
    images, labels = stripes(400)
    classifier = train_classifier(images, labels, stripes(100, seed=1), steps=STEPS)
    assert classifier.classes == {"class": 4, "shade": 2} and classifier.held_out == 100
    unseen, truth = stripes(200, seed=2)
    features, probabilities = classifier(unseen)
    assert features.shape == (200, 128) and np.mean(features**2) == pytest.approx(1, rel=0.2)
    for head, p in probabilities.items():
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
        measured = (p.argmax(1) == truth[head]).mean()
        assert measured > 0.95 and classifier.accuracy[head] == pytest.approx(measured, abs=0.05)


def test_the_seed_decides_everything_and_the_global_generator_nothing():
    images, labels = stripes(150)
    before = torch.get_rng_state()
    torch.manual_seed(1)
    one, _ = train_classifier(images, labels, seed=3, steps=3)(images)
    torch.manual_seed(2)
    two, _ = train_classifier(images, labels, seed=3, steps=3)(images)
    other, _ = train_classifier(images, labels, seed=4, steps=3)(images)
    torch.set_rng_state(before)
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


def test_it_leaves_the_global_generator_as_it_was():
    images, labels = stripes(60)
    before = torch.get_rng_state()
    train_classifier(images, labels, steps=1)
    assert torch.equal(before, torch.get_rng_state())


def test_features_of_a_sample_do_not_depend_on_its_batch():
    images, labels = stripes(150)
    classifier = train_classifier(images, labels, steps=3)
    alone, among_others = classifier(images[:7], batch_size=2)[0], classifier(images)[0][:7]
    np.testing.assert_allclose(among_others, alone, rtol=1e-4, atol=1e-5)


def test_it_is_trained_once_and_a_damaged_file_is_made_anew(tmp_path, monkeypatch):
    images, labels = stripes(120)
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path))
    classifier = functools.partial(open_classifier, images, steps=2)
    first = classifier(labels)
    (file,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("gan_ref.evaluation.classifier.train_classifier", None)  # calling it would fail
        again = classifier(labels)
    np.testing.assert_array_equal(first(images)[0], again(images)[0])
    assert (again.accuracy, again.held_out) == (first.accuracy, first.held_out)
    file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(classifier(labels)(images)[0], first(images)[0])
    classifier({**labels, "class": labels["class"][::-1]})
    assert len(list(tmp_path.iterdir())) == 2  # other labels, another classifier


def test_few_images_get_forty_passes_and_many_get_eight():
    assert default_steps(270) == 84 and default_steps(1280) == 400 == default_steps(6400)
    assert default_steps(20_000) == 1250 and default_steps(10**6) == 3000 and default_steps(2) == 1


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="GAN_REF_CACHE"):
        open_classifier(*stripes(40), steps=1)


# Metrics


def test_real_data_measures_best_and_each_defect_lowers_its_own_metric(metrics):
    real, rng = metrics.reference, np.random.default_rng(0)
    assert real["modes"] == 4 and real["inception"] > 3 and real["reverse_kl"] < 0.15
    fresh = stripes(metrics.count, seed=9)[0]
    good = metrics(fresh)
    assert describe_collapse(good, real) is None
    assert abs(good["kernel"]) < 4 * good["kernel_error"] + 4 * real["kernel_error"]

    noisy = metrics(np.clip(fresh + rng.normal(0, 60, fresh.shape), 0, 255).astype(np.uint8))
    assert noisy["frechet"] > 3 * good["frechet"] and noisy["precision"] < good["precision"]
    assert merit(noisy) < merit(good)

    one_mode = stripes(2000, seed=9)
    one_mode = metrics(one_mode[0][one_mode[1]["class"] == 2][: metrics.count])
    assert one_mode["modes"] == 1 and one_mode["inception"] < 1.3
    assert one_mode["recall"] < 0.5 * good["recall"]
    assert one_mode["reverse_kl"] == pytest.approx(np.log(4), abs=0.4)


def test_collapse_is_under_a_fifth_of_the_data(metrics):
    same = np.repeat(metrics.held_out[:1], metrics.count, 0)
    assert "apart" in describe_collapse(metrics(same), metrics.reference)
    reference = {"modes": 10, "diversity": 5.0}
    assert describe_collapse({"modes": 2, "diversity": 1.0}, reference) is None
    assert (
        describe_collapse({"modes": 1, "diversity": 5.0}, reference) == "samples cover 1 modes, the data 10"
    )
    assert "0.99 apart" in describe_collapse({"modes": 10, "diversity": 0.99}, reference)
    assert describe_collapse({"diversity": float("nan")}, reference)


def test_points_are_measured_by_their_modes():
    metrics = SampleMetrics(open_dataset("ring8"), open_dataset("ring8", split="test"), count=1000)
    assert metrics.reference["modes"] == 8 and metrics.reference["high_quality"] > 0.97
    one = metrics(np.repeat(metrics.held_out[:1], 1000, 0))
    assert one["modes"] == 1 and one["reverse_kl"] == pytest.approx(np.log(8))
    assert describe_collapse(one, metrics.reference) and merit(one) < merit(metrics.reference)
    assert describe_collapse(metrics(np.full((10, 2), np.nan)), metrics.reference)


def test_without_labels_there_are_no_metrics_over_a_classifier_and_the_report_says_why(data):
    metrics = SampleMetrics(Dataset("plain", data.samples), count=100)
    assert set(metrics.reference) == {"pixel_precision", "pixel_recall", "diversity"}
    report = make_report(metrics, stripes(100, seed=4)[0])
    assert "no labels" in report["features"]["from"] and "no Fréchet" in report["features"]["from"]
    assert {"support", "nearest_training_image"} <= set(report)


def test_a_classifier_of_other_images_judges_images_without_labels(data, metrics):
    judged = SampleMetrics(Dataset("plain", data.samples), count=100, judge=metrics.classifier)
    assert judged.reference["frechet"] == metrics.reference["frechet"]  # the same features
    assert judged(stripes(100, seed=4)[0])["frechet"] < judged(np.zeros_like(judged.real))["frechet"]
    assert "modes" not in judged.reference and "a classifier of other images' labels" in features_from(judged)


def features_from(metrics: SampleMetrics) -> str:
    return make_report(metrics, metrics.held_out)["features"]["from"]


def test_too_few_real_samples_are_an_error_of_the_user():
    with pytest.raises(UserError, match="too few"):
        SampleMetrics(Dataset("plain", stripes(30)[0]))


# Report


def test_the_report_sets_real_data_beside_the_samples(metrics, tmp_path):
    samples = stripes(metrics.count, seed=5)[0]
    samples[0] = metrics.dataset.samples[17]  # memorised
    samples[1] = samples[2]  # repeated
    report = make_report(metrics, samples)
    assert report["real"]["held_out"] == metrics.count and "training data" in report["real"]["from"]
    assert report["support"]["samples"]["closest"] == [1, 2, 0.0]
    assert report["nearest_training_image"]["real"]["median_distance"] > 0, "nobody is their own neighbour"
    said = text(report)
    assert all(label in said for label, *_ in table(report))
    assert "shade 1" in said, "an accuracy per labelling"
    figure = draw_report(report, metrics, samples)
    figure.savefig(tmp_path / "report.png", dpi=40)
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_inception_without_weights_or_with_a_wrong_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="no Inception weights at .*download https.* --inception FILE"):
        inception.load_inception(tmp_path / "none.pth")
    (tmp_path / "wrong.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="pip install|not a file of the Inception weights"):
        inception.load_inception(tmp_path / "wrong.pth")


def test_inception_features_have_the_published_shapes(tmp_path):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch:  # the shapes need no weights; nothing may be downloaded
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        network = module.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    features, probabilities = inception.load_inception(tmp_path / "weights.pth")(stripes(3)[0])
    assert features.shape == (3, 2048) and probabilities["imagenet"].shape == (3, 1008)


# The accuracies that the metrics rely on


def full_metrics(source: str) -> SampleMetrics:
    return SampleMetrics(*(open_dataset(source, 32, split=name) for name in ("train", "test")))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("GAN_REF_DATA"), reason="set GAN_REF_DATA to where mnist10k/ is")
def test_accuracy_on_mnist(tmp_path):
    metrics = full_metrics(str(Path(os.environ["GAN_REF_DATA"]) / "mnist10k"))
    assert metrics.classifier.held_out == 2000 and metrics.classifier.accuracy["class"] >= 0.97


@pytest.mark.slow
def test_accuracy_on_the_factors_of_faces(tmp_path):
    metrics = full_metrics("faces")
    accuracy = metrics.classifier.accuracy
    assert all(accuracy[factor] >= 0.98 for factor in metrics.dataset.factors), accuracy


def test_pixels_need_no_classifier_and_give_what_images_without_labels_get(data, monkeypatch):
    monkeypatch.setattr("gan_ref.evaluation.metrics.open_classifier", lambda *_, **__: pytest.fail("trained"))
    unlabelled = Dataset("stripes", data.samples)
    metrics = SampleMetrics(data, count=100, pixels=True)
    assert metrics.reference == SampleMetrics(unlabelled, count=100).reference
    assert set(metrics.reference) == {"pixel_precision", "pixel_recall", "diversity"}
    assert "--pixels" in make_report(metrics, metrics.held_out)["features"]["from"]
