"""All scores of a set of samples against a data set, cheap enough to be taken during training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gan_ref.data.dataset import Dataset
from gan_ref.errors import UserError
from gan_ref.evaluation.classifier import Classifier, cached_classifier
from gan_ref.evaluation.frechet import frechet_distance
from gan_ref.evaluation.inception import Features
from gan_ref.evaluation.inception_score import inception_score
from gan_ref.evaluation.kernel import kernel_distance
from gan_ref.evaluation.manifold import precision_recall
from gan_ref.evaluation.modes import mixture_coverage, mode_coverage
from gan_ref.evaluation.neighbours import flatten, squared_distances

FEWEST = 20  # real samples on each side without which no score means anything
NO_LABELS = (
    "the data has no labels to train a classifier on, and the features of a classifier of other pictures "
    "would not say what differs here: no Fréchet, kernel or inception score and no coverage. Precision and "
    "recall, nearest neighbours and the birthday estimate are over pixels. For the rest put the images "
    "in class folders, or give --inception"
)


class Scorer:
    """``Scorer(dataset)(samples)`` → scores; ``scorer.reference`` holds those of real data, the aim.

    Two disjoint sets of ``count`` real samples are drawn with the seed: ``real``, which samples are compared
    with, and ``held_out``, from the test split (or else from the rest of the data), which plays the part of
    the samples in ``reference``. Pass as many samples as ``scorer.count``: most scores depend on the number.

    Scores of points: modes, high_quality, reverse_kl, entropy, diversity. Of images with labels (or with
    ``inception``): inception, inception_std, frechet, kernel, kernel_error, precision, recall, diversity, and
    over the labels modes, reverse_kl, entropy. Of images without: pixel_precision, pixel_recall, diversity.

    A classifier of the labels is trained, or found in the cache. 1,000 samples of 32×32 take about a second.
    Raises UserError where there are too few real samples.
    """

    def __init__(
        self,
        dataset: Dataset,
        test: Dataset | None = None,
        count: int = 1000,
        seed: int = 0,
        device: str | torch.device = "cpu",
        inception: Features | None = None,
        cache_dir: Path | None = None,
        progress: bool = True,
    ):
        available = min(len(dataset), len(test)) if test is not None else len(dataset) // 2
        if available < FEWEST:
            few = f"{available} to compare with, not {FEWEST}"
            raise UserError(f"{dataset.name} has too few samples to score: {few}")
        self.dataset, self.test, self.count = dataset, test, min(count, available)
        order = np.random.default_rng(seed).permutation(len(dataset))
        self.real = dataset.samples[np.sort(order[: self.count])]
        if test is not None:
            self.held_out_from = "of the test split"
            self.held_out = test.samples[np.random.default_rng(seed).permutation(len(test))[: self.count]]
        else:
            self.held_out_from = "of the training data, other than those compared with (it has no test split)"
            self.held_out = dataset.samples[order[self.count : 2 * self.count]]

        self.points = dataset.samples.ndim == 2
        self.classifier: Classifier | None = None
        if not self.points and (targets := labellings(dataset)):
            held = (None, None) if test is None else (test.samples, labellings(test))
            self.classifier = cached_classifier(
                dataset.samples, targets, *held, seed=0, device=device, cache_dir=cache_dir, progress=progress
            )
        self.features = inception or self.classifier
        if self.features:
            self.real_features, _ = self.features(self.real)
        if self.classifier:
            self.real_labels = self.labels(self.real)
        self.reference = self(self.held_out)

    def __call__(self, samples: np.ndarray) -> dict[str, float]:
        """Scores of images uint8 (N, H, W, C), or points float (N, 2)."""
        scores: dict[str, float] = {}
        if self.points:
            seen = mixture_coverage(samples, self.dataset.means, self.dataset.sigma)
            scores |= {"modes": seen.modes, "high_quality": seen.high_quality}
            scores |= {"reverse_kl": seen.reverse_kl, "entropy": seen.entropy}
        elif self.features:
            features, probabilities = self.features(samples)
            (p,) = (p for head, p in probabilities.items() if head in ("class", "imagenet"))
            scores["inception"], scores["inception_std"] = inception_score(p, splits=min(10, len(p)))
            scores["frechet"] = frechet_distance(self.real_features, features)
            scores["kernel"], scores["kernel_error"] = kernel_distance(self.real_features, features)
            scores["precision"], scores["recall"] = precision_recall(self.real_features, features)
        else:
            scores["pixel_precision"], scores["pixel_recall"] = precision_recall(self.real, samples)
        if self.classifier:
            labels = p.argmax(1) if self.features is self.classifier else self.labels(samples)
            seen = mode_coverage(labels, self.classifier.classes["class"], self.real_labels)
            scores |= {"modes": seen.modes, "reverse_kl": seen.reverse_kl, "entropy": seen.entropy}
        return scores | {"diversity": diversity(samples)}

    def labels(self, samples: np.ndarray) -> np.ndarray:
        """The class that the classifier sees in each sample, (N,); of points, the nearest mode."""
        if self.points:
            finite = samples[np.isfinite(samples).all(1)]
            return squared_distances(flatten(finite), self.dataset.means).argmin(1)
        return self.classifier(samples)[1]["class"].argmax(1)


def labellings(dataset: Dataset) -> dict[str, np.ndarray]:
    """All that the data is labelled with: its classes under "class", and its factors; {} without."""
    return {} if dataset.labels is None else {"class": dataset.labels, **dataset.factors}


def diversity(samples: np.ndarray) -> float:
    """Root mean square distance of two different samples (N, …), N ≥ 2: √(2 Σ var), images in [0, 1]."""
    return float(np.sqrt(2 * flatten(samples).var(0, ddof=1).sum()))


def collapsed(scores: dict[str, float], reference: dict[str, float]) -> str | None:
    """What has collapsed, in words, where coverage or diversity is under a fifth of the data's; else None."""
    if "modes" in scores and scores["modes"] < reference["modes"] / 5:
        return f"samples cover {scores['modes']:g} modes, the data {reference['modes']:g}"
    if not scores["diversity"] >= reference["diversity"] / 5:
        apart, real = scores["diversity"], reference["diversity"]
        return f"two samples are {apart:.2g} apart on average, two of the data {real:.2g}"
    return None


def merit(scores: dict[str, float]) -> float:
    """One number to choose a checkpoint by, higher is better.

    Minus the Fréchet distance; for points the share of high quality minus the reverse KL (100 where no sample
    is finite); for images without labels the harmonic mean of precision and recall.
    """
    if "frechet" in scores:
        return -scores["frechet"]
    if "high_quality" in scores:
        return scores["high_quality"] - (scores["reverse_kl"] if np.isfinite(scores["reverse_kl"]) else 100.0)
    precision, recall = scores["pixel_precision"], scores["pixel_recall"]
    return 2 * precision * recall / max(precision + recall, 1e-12)
