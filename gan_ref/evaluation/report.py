"""The scores of one set of samples as a report: numbers for a file, and one picture to look at."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gan_ref.evaluation.neighbours import closest_pair, nearest_neighbours
from gan_ref.evaluation.scores import NO_LABELS, Scorer, collapsed
from gan_ref.evaluation.support import birthday_support, twin_distance

NEAREST = 100  # samples whose nearest training image is looked for
SHOWN = 10  # of them in the picture
TWINS = 1000  # samples compared with each other in the birthday test

# score → how the table names it, and which way is better
NAMES = {
    "inception": ("inception score", "higher"),
    "frechet": ("Fréchet distance", "lower"),
    "kernel": ("kernel distance", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "pixel_precision": ("precision, pixels", "higher"),
    "pixel_recall": ("recall, pixels", "higher"),
    "modes": ("modes", "higher"),
    "high_quality": ("high quality", "higher"),
    "reverse_kl": ("reverse KL", "lower"),
    "entropy": ("entropy", "as real"),
    "diversity": ("diversity", "as real"),
}
ERRORS = {"inception": "inception_std", "kernel": "kernel_error"}


def make_report(scorer: Scorer, samples: np.ndarray) -> dict[str, Any]:
    """Scores of ``samples`` beside those of real data, JSON-ready; a number that is not finite becomes None.

    For images also: the birthday estimate of the support, and how far the nearest training image is from a
    sample, each beside the same for real images that were not trained on.
    """
    scores = scorer(samples)
    report: dict[str, Any] = {
        "data": scorer.dataset.name,
        "samples": len(samples),
        "real": {
            "compared_with": len(scorer.real), "held_out": len(scorer.held_out), "from": scorer.held_out_from,
        },  # fmt: skip
        "features": _features(scorer),
        "scores": {"samples": scores, "real": scorer.reference},
        "collapsed": collapsed(scores, scorer.reference),
    }
    if not scorer.points:
        threshold = twin_distance(scorer.real[:TWINS])
        report["support"] = {"twins_are_closer_than": threshold} | {
            name: birthday_support(x[:TWINS], threshold)._asdict()
            for name, x in (("samples", samples), ("real", scorer.held_out))
        }
        report["nearest_training_image"] = {
            name: {"median_distance": float(np.median(nearest(scorer, x)[1]))}
            for name, x in (("samples", samples), ("real", scorer.held_out))
        }
    return _plain(report)


def nearest(scorer: Scorer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and distance (n,) of the training image nearest to each of x's first ``NEAREST``, not itself."""
    own = scorer.test is None and x is scorer.held_out
    index, distance = nearest_neighbours(x[:NEAREST], scorer.dataset.samples, k=2 if own else 1)
    return index[:, -1], distance[:, -1]


def table(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of (score, samples, real, which way is better), as text."""
    ours, real = report["scores"]["samples"], report["scores"]["real"]
    rows = [
        (label, _number(ours, name), _number(real, name), better)
        for name, (label, better) in NAMES.items()
        if name in ours
    ]
    if "support" in report:
        support = report["support"]
        sizes = (_support(support[side]) for side in ("samples", "real"))
        rows.append(("support, birthday", *sizes, "higher"))
        near = report["nearest_training_image"]
        distances = (f"{near[side]['median_distance']:.2f}" for side in ("samples", "real"))
        rows.append(("to nearest training", *distances, "as real"))
    return rows


def text(report: dict[str, Any]) -> str:
    """The table for a terminal, and what it is to be read with."""
    rows = [("", "samples", "real", "better"), *table(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.append(f"{report['samples']} samples; real: {report['real']['held_out']} {report['real']['from']}")
    lines.append("features: " + report["features"]["from"])
    if report["collapsed"]:
        lines.append("warning: collapsed: " + report["collapsed"])
    return "\n".join(lines)


def draw_report(report: dict[str, Any], scorer: Scorer, samples: np.ndarray) -> Figure:
    """One page: samples beside real data, nearest neighbours, closest pairs, classes, and the table."""
    figure = Figure(figsize=(12, 7.5 if scorer.points else 11), layout="constrained")
    FigureCanvasAgg(figure)
    if scorer.points:
        panels = figure.subplot_mosaic([["samples", "real"], ["classes", "table"]], height_ratios=[1.4, 1])
        _scatter(panels["samples"], samples, scorer, "samples")
        _scatter(panels["real"], scorer.held_out, scorer, "real")
    else:
        panels = figure.subplot_mosaic(
            [["samples", "samples", "real", "real"], ["near", "near", "near", "pairs"],
             ["classes", "classes", "table", "table"]], height_ratios=[2.1, 0.8, 1.3])  # fmt: skip
        _images(panels["samples"], _page(samples[:64], 8), f"samples, {report['samples']} scored")
        _images(panels["real"], _page(scorer.held_out[:64], 8), "real, " + report["real"]["from"])
        shown = nearest(scorer, samples)[0][:SHOWN]
        training = scorer.dataset.samples[np.sort(shown)][np.argsort(np.argsort(shown))]
        strip = np.concatenate([samples[:SHOWN], training])
        _images(panels["near"], _page(strip, SHOWN), "samples, and below each its nearest training image")
        pairs = np.concatenate([x[list(closest_pair(x[:TWINS])[:2])] for x in (samples, scorer.held_out)])
        _images(panels["pairs"], _page(pairs, 2), "closest pair of samples,\nand of real images")
    _classes(panels["classes"], scorer, samples)
    _table(panels["table"], report)
    return figure


# ---------------------------------------------------------------- parts of the page


def _page(images: np.ndarray, columns: int) -> np.ndarray:
    """(N, H, W, C) → one picture of rows of ``columns``, a white pixel between them."""
    rows = math.ceil(len(images) / columns)
    cells = np.full((rows * columns, *images.shape[1:]), 255, np.uint8)
    cells[: len(images)] = images
    cells = np.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    _, height, width, channels = cells.shape
    page = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return page.reshape(rows * height, columns * width, channels)


def _images(axes: Axes, page: np.ndarray, title: str) -> None:
    axes.imshow(np.repeat(page, 3, axis=-1) if page.shape[-1] == 1 else page, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def _scatter(axes: Axes, points: np.ndarray, scorer: Scorer, title: str) -> None:
    reach = 1.3 * np.abs(scorer.dataset.means).max()
    axes.scatter(*points.T, s=2, alpha=0.5, linewidths=0, color="#1f5aa5")
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    outside = int((~(np.abs(points) <= reach).all(1)).sum())
    axes.set_title(title + (f" ({outside} outside)" if outside else ""), fontsize=10)


def _classes(axes: Axes, scorer: Scorer, samples: np.ndarray) -> None:
    """Share of each class, as the classifier sees samples and real images; of each mode, for points."""
    if not scorer.points and scorer.classifier is None:
        axes.axis("off")
        _caption(axes, 1, "no classes to count: " + NO_LABELS, "#555555")
        return
    labels, total = [scorer.labels(x) for x in (samples, scorer.held_out)], len(scorer.dataset.classes)
    for offset, seen, colour, name in zip((-0.2, 0.2), labels, ("#1f5aa5", "#bbbbbb"), ("samples", "real")):
        share = np.bincount(seen, minlength=total) / max(len(seen), 1)
        axes.bar(np.arange(total) + offset, share, 0.4, color=colour, label=name)
    what = "mode" if scorer.points else "class, seen by the classifier"
    axes.set_title(f"share of each {what}", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    names = _short(scorer.dataset.classes)
    if total <= 30:
        axes.set_xticks(np.arange(total), names, fontsize=7, rotation=0 if max(map(len, names)) < 4 else 90)


def _table(axes: Axes, report: dict[str, Any]) -> None:
    axes.axis("off")
    cells = axes.table(
        table(report), colLabels=["", "samples", "real", "better"], colWidths=[0.34, 0.26, 0.26, 0.14],
        loc="upper left", edges="horizontal", cellLoc="left", colLoc="left", bbox=[0, 0.14, 1, 0.86],
    )  # fmt: skip
    cells.auto_set_font_size(False)
    cells.set_fontsize(8.5)
    for cell in cells.get_celld().values():
        cell.set_linewidth(0.3)
    if report["collapsed"]:
        _caption(axes, 0.11, "collapsed: " + report["collapsed"], "#b00020")
    else:
        _caption(axes, 0.11, report["features"]["from"], "#555555")


def _caption(axes: Axes, y: float, words: str, colour: str) -> None:
    drawn = axes.text(0, y, textwrap.fill(words, 100), va="top", fontsize=7, color=colour)
    drawn.set_in_layout(False)


# ---------------------------------------------------------------- words and numbers


def _features(scorer: Scorer) -> dict[str, Any]:
    if scorer.points:
        return {"from": "none needed: the modes are known"}
    if scorer.features is None:
        return {"from": "none: " + NO_LABELS}
    if scorer.classifier is None:
        return {"from": "the published Inception network"}
    held, accuracy = scorer.classifier.held_out, scorer.classifier.accuracy
    said = ", ".join(f"{head.replace('_', ' ')} {share:.1%}" for head, share in accuracy.items())
    source = f"a classifier of the data's labels, right on {held} held-out images: {said}"
    if scorer.features is not scorer.classifier:
        source = "the published Inception network; classes from " + source
    return {"from": source, "accuracy": accuracy, "held_out": held}


def _short(names: tuple[str, ...]) -> list[str]:
    """Class names without the words that all have: "expression smile, glasses none" is "smile, none"."""
    common = set.intersection(*(set(name.split()) for name in names)) if len(names) > 1 else set()
    return [" ".join(word for word in name.split() if word not in common) or name for name in names]


def _number(scores: dict[str, float | None], name: str) -> str:
    value = scores[name]
    if value is None:
        return "∞"
    said = format(value, {"modes": ".0f", "high_quality": ".1%"}.get(name, "#.3g"))
    return f"{said} ± {scores[ERRORS[name]]:.2g}" if name in ERRORS else said


def _support(found: dict[str, Any]) -> str:
    """To two figures, as the estimate has no more."""
    known = found["low"] if found["estimate"] is None else found["estimate"]
    said = f"{float(f'{known:.2g}'):,.0f}"
    return f"over {said}" if found["estimate"] is None else said


def _plain(value: Any) -> Any:
    """As JSON has it: numpy's numbers made Python's, and None for what is not finite."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
