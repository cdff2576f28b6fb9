"""How near G comes to given images: a test of coverage, and of memorising.

The mean squared error of the nearest sample that a search finds is IvOM (Metz et al. 2017, §3.4.1; Srivastava
et al. 2017, VEEGAN, §4). Large for held-out images: G does not cover the data. Smaller for the images that G
was trained on than for held-out ones: G has memorised some (Webster et al. 2019). Samples of G itself can be
reached, so their error says how good the search is.
"""

from typing import Any

import numpy as np
from torch import nn

from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.latents.projection import project
from gan_ref.latents.samples import FinishedGenerator


def measure_recovery(
    generator: FinishedGenerator,
    discriminator: nn.Module | None,
    metrics: SampleMetrics,
    samples: np.ndarray,
    count: int,
) -> dict[str, Any]:
    """Mean squared errors of ``count`` projected images of each kind, pixels in [0, 1], JSON-ready.

    There is no "held_out" for data without a test split: all of it was trained on.
    """
    kinds = {"training": metrics.real, "held_out": metrics.held_out, "samples": samples}
    if metrics.test is None:
        del kinds["held_out"]
    count = min(count, *map(len, kinds.values()))
    report: dict[str, Any] = {"images": count}
    for kind, images in kinds.items():
        some = images[np.linspace(0, len(images) - 1, count).round().astype(int)]  # real ones lie by class
        found = project(generator, discriminator, some)
        report[kind] = float(np.square(found.errors).mean())
        report[f"{kind}_nearest_of_256"] = float(np.square(found.nearest).mean())
    return report


def recovery_text(report: dict[str, Any]) -> str:
    """Two lines for a terminal."""
    kinds = {"training": "training images", "held_out": "held-out images", "samples": "samples of G"}
    errors = {words: (report[k], report[f"{k}_nearest_of_256"]) for k, words in kinds.items() if k in report}
    said = ", ".join(f"{words} {error:.4f} ({near:.4f})" for words, (error, near) in errors.items())
    what = "mean squared error, and in brackets that of the nearest of 256 samples"
    return f"projection of {report['images']} images of each kind; {what}:\n  {said}"
