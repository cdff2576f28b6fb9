"""Whether a conditional generator draws the classes that it is asked for, and each of them well."""

from typing import Any

import numpy as np

from gan_ref.errors import printable
from gan_ref.evaluation.frechet import frechet_distance
from gan_ref.evaluation.metrics import SampleMetrics

SHOWN = 30  # classes of a report on the terminal


def score_classes(metrics: SampleMetrics, samples: np.ndarray, asked: np.ndarray) -> dict[str, Any]:
    """Scores of samples (N, …) of the classes ``asked`` (N,), of all and of each class, JSON-ready.

    ``accuracy`` is the share of samples in which the classifier sees the class asked for (for points, the
    nearest mode); ``accuracy_real`` is its share of right answers on held-out real images. A class of images
    also has the Fréchet distance of its n samples to n real ones of the class (the intra-FID of Miyato &
    Koyama 2018, §4.1), beside that of n others, if the data has as many.
    """
    finite = np.isfinite(samples).reshape(len(samples), -1).all(1)
    right = np.zeros(len(samples), bool)
    right[finite] = metrics.labels(samples[finite]) == asked[finite]
    by_class: dict[str, Any] = {}
    for k, name in enumerate(metrics.dataset.classes):
        own = asked == k
        if own.any():
            by_class[name] = {"samples": int(own.sum()), "accuracy": float(right[own].mean())}
            if metrics.features:
                by_class[name] |= distances(metrics, samples[own], k)
    scores: dict[str, Any] = {"accuracy": float(right.mean()), "by_class": by_class}
    if metrics.classifier:
        scores["accuracy_real"] = metrics.classifier.accuracy["class"]
    return scores


def distances(metrics: SampleMetrics, samples: np.ndarray, label: int) -> dict[str, float]:
    """The Fréchet distances of samples and of real images to others of one class; {} if there are too few."""
    labels, n = metrics.dataset.labels, len(samples)
    assert labels is not None and metrics.features is not None
    real = np.random.default_rng(label).permutation(np.flatnonzero(labels == label))
    if n < 2 or len(real) < n:
        return {}
    pictures = [metrics.dataset.samples[np.sort(part)] for part in (real[:n], real[n : 2 * n])]
    of_real, of_others, of_samples = (metrics.features(x)[0] if len(x) else x for x in (*pictures, samples))
    found = {"frechet": frechet_distance(of_real, of_samples)}
    return found | ({"frechet_real": frechet_distance(of_real, of_others)} if len(of_others) == n else {})


def text(scores: dict[str, Any]) -> str:
    """The scores for a terminal: one line, and a table of the classes, worst first."""
    real = f" (of real images {scores['accuracy_real']:.1%})" if "accuracy_real" in scores else ""
    lines = [f"asked for a class: {scores['accuracy']:.1%} of samples are of it{real}"]
    worst = sorted(scores["by_class"].items(), key=lambda item: item[1]["accuracy"])[:SHOWN]
    named = [(printable(name), own) for name, own in worst]
    width = max((len(name) for name, _ in named), default=0)
    for name, own in named:
        frechet = f"  Fréchet {own['frechet']:.2f}" if "frechet" in own else ""
        frechet += f" (real {own['frechet_real']:.2f})" if "frechet_real" in own else ""
        lines.append(f"  {name:<{width}}  {own['accuracy']:6.1%}{frechet}")
    return "\n".join(lines)
