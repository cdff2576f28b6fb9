"""All metrics of a set of samples against a data set, cheap enough to be measured during training."""

import numpy as np
import torch

from gan_ref.data.dataset import Dataset
from gan_ref.errors import UserError
from gan_ref.evaluation.classifier import Classifier, StackedClassifier, open_classifier
from gan_ref.evaluation.frechet import frechet_distance
from gan_ref.evaluation.inception import Features
from gan_ref.evaluation.inception_score import inception_score
from gan_ref.evaluation.kernel import kernel_distance
from gan_ref.evaluation.manifold import precision_recall
from gan_ref.evaluation.modes import mode_coverage, points_coverage
from gan_ref.evaluation.neighbours import flatten, squared_distances

FEWEST = 20  # real samples on each side without which no metric means anything
NO_LABELS = (
    "the data has no labels to train a classifier on: no Fréchet, kernel or inception score and no coverage. "
    "Precision and recall, nearest neighbours and the birthday estimate are over pixels. For the rest put "
    "the images in class folders, or give --inception, or --judge with labelled images of the same kind"
)
NOT_WANTED = "--pixels: no classifier was trained, so precision, recall and all distances are over pixels"


class SampleMetrics:
    """``SampleMetrics(dataset)(samples)`` → metrics; ``.reference`` holds those of real data, the aim.

    Two disjoint sets of ``count`` real samples are drawn with the seed: ``real``, which samples are compared
    with, and ``held_out``, from the test split (or else from the rest of the data), which plays the part of
    the samples in ``reference``. Pass as many samples as ``.count``: most metrics depend on the number.

    Metrics of points: modes, high_quality (of a user's own points precision and recall, and their modes are
    cells), reverse_kl, entropy, diversity. Of images with labels, or with a
    ``judge``: inception, inception_std, frechet, kernel, kernel_error, precision, recall, diversity, and
    over the labels modes, reverse_kl, entropy. Of images without: pixel_precision, pixel_recall, diversity.

    A classifier of the labels is trained, or found in the cache, unless ``pixels``: then images are measured
    as if they had no labels. A ``judge`` gives the features in its place: the published Inception network,
    or a classifier of other images. 1,000 samples of 32×32 take about a second.
    Raises UserError if there are too few real samples.
    """

    def __init__(
        self,
        dataset: Dataset,
        test: Dataset | None = None,
        count: int = 1000,
        seed: int = 0,
        device: str | torch.device = "cpu",
        judge: Features | None = None,
        pixels: bool = False,
    ):
        available = min(len(dataset), len(test)) if test is not None else len(dataset) // 2
        if available < FEWEST:
            few = f"{available} to compare with, not {FEWEST}"
            raise UserError(f"{dataset.name} has too few samples to measure others by: {few}")
        self.dataset, self.test, self.count = dataset, test, min(count, available)
        order = np.random.default_rng(seed).permutation(len(dataset))
        self.real = dataset.samples[np.sort(order[: self.count])]
        if test is not None:
            self.held_out_from = "of the test split"
            self.held_out = test.samples[np.random.default_rng(seed).permutation(len(test))[: self.count]]
        else:
            self.held_out_from = "of the training data, other than those compared with (it has no test split)"
            self.held_out = dataset.samples[order[self.count : 2 * self.count]]

        self.classifier: Classifier | StackedClassifier | None = None
        self.without = NO_LABELS if dataset.labels is None else NOT_WANTED  # why there may be none
        if not (dataset.points or pixels) and dataset.labels is not None:
            self.classifier = classifier_of(dataset, test, device)
        self.features = judge or self.classifier
        if self.features:
            self.real_features, _ = self.features(self.real)
        if self.classifier:
            # of 1,000 classes ``count`` real samples would lack some
            self.real_labels = self.labels(self.real) if dataset.channel is None else dataset.labels
        self.reference = self(self.held_out)

    def __call__(self, samples: np.ndarray) -> dict[str, float]:
        """Metrics of images uint8 (N, H, W, C), or points float (N, 2)."""
        values: dict[str, float] = {}
        seen = None
        if self.dataset.points:
            seen = points_coverage(samples, self.dataset)
            if seen.high_quality is not None:
                values["high_quality"] = seen.high_quality
            else:
                finite = samples[np.isfinite(samples).all(1)]
                both = precision_recall(self.real, finite) if len(finite) > 3 else (0.0, 0.0)
                values["precision"], values["recall"] = both
        elif self.features:
            features, probabilities = self.features(samples)
            p = next(probabilities[head] for head in ("imagenet", "class") if head in probabilities)
            values["inception"], values["inception_std"] = inception_score(p, splits=min(10, len(p)))
            values["frechet"] = frechet_distance(self.real_features, features)
            values["kernel"], values["kernel_error"] = kernel_distance(self.real_features, features)
            values["precision"], values["recall"] = precision_recall(self.real_features, features)
            if self.classifier:
                labels = p.argmax(1) if self.features is self.classifier else self.labels(samples)
                seen = mode_coverage(labels, self.classifier.classes["class"], self.real_labels)
        else:
            values["pixel_precision"], values["pixel_recall"] = precision_recall(self.real, samples)
        if seen:
            values |= {"modes": seen.modes, "reverse_kl": seen.reverse_kl, "entropy": seen.entropy}
        return values | {"diversity": diversity(samples)}

    def labels(self, samples: np.ndarray) -> np.ndarray:
        """The class that the classifier sees in each sample, (N,); of points, the nearest mode."""
        if self.dataset.points:
            finite = samples[np.isfinite(samples).all(1)]
            return squared_distances(flatten(finite), self.dataset.means).argmin(1)
        assert self.classifier is not None, "without labels there are no classes"
        return self.classifier(samples)[1]["class"].argmax(1)


def classifier_of(
    dataset: Dataset, test: Dataset | None, device: str | torch.device = "cpu"
) -> Classifier | StackedClassifier:
    """The classifier of labelled images, out of the cache or trained. Of stacked digits: of the digits."""
    if dataset.channel is not None:
        digit = classifier_of(dataset.channel, test.channel if test else None, device)
        assert isinstance(digit, Classifier)
        return StackedClassifier(digit)
    held = None if test is None else (test.samples, labellings(test))
    return open_classifier(dataset.samples, labellings(dataset), held, device=device)


def labellings(dataset: Dataset) -> dict[str, np.ndarray]:
    """All labels that the data has: its classes under "class", and its factors; {} if there are none."""
    return {} if dataset.labels is None else {"class": dataset.labels, **dataset.factors}


def diversity(samples: np.ndarray) -> float:
    """Root mean square distance of two different samples (N, …), N ≥ 2: √(2 Σ var), images in [0, 1]."""
    return float(np.sqrt(2 * flatten(samples).var(0, ddof=1).sum()))


def describe_collapse(values: dict[str, float], reference: dict[str, float]) -> str | None:
    """What has collapsed, in words, if coverage or diversity is under a fifth of the data's; else None."""
    if "modes" in values and values["modes"] < reference["modes"] / 5:
        return f"samples cover {values['modes']:g} modes, the data {reference['modes']:g}"
    if not values["diversity"] >= reference["diversity"] / 5:
        apart, real = values["diversity"], reference["diversity"]
        return f"two samples are {apart:.2g} apart on average, two of the data {real:.2g}"
    return None


def merit(values: dict[str, float]) -> float:
    """One number to choose a checkpoint by, higher is better.

    Minus the Fréchet distance; for points the share of high quality minus the reverse KL (100 if no sample
    is finite); for images without labels and a user's points the harmonic mean of precision and recall.
    """
    if "frechet" in values:
        return -values["frechet"]
    if "high_quality" in values:
        return values["high_quality"] - (values["reverse_kl"] if np.isfinite(values["reverse_kl"]) else 100.0)
    precision, recall = (values.get(n, values.get("pixel_" + n, 0.0)) for n in ("precision", "recall"))
    return 2 * precision * recall / max(precision + recall, 1e-12)
