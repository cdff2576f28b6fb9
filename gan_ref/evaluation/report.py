"""The metrics of one set of samples as a report: numbers for a file, and one picture to look at."""

import json
import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from gan_ref.evaluation.classifier import Classifier, StackedClassifier
from gan_ref.evaluation.inception import Features
from gan_ref.evaluation.metrics import SampleMetrics, describe_collapse
from gan_ref.evaluation.neighbours import closest_pair, nearest_neighbours
from gan_ref.evaluation.support import birthday_support, twin_distance
from gan_ref.pictures.pages import grid

NEAREST = 100  # samples whose nearest training image is looked for
SHOWN = 10  # of them in the picture
TWINS = 1000  # samples compared with each other in the birthday test

# metric → how the table names it, and which way is better
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


def make_report(metrics: SampleMetrics, samples: np.ndarray) -> dict[str, Any]:
    """Metrics of ``samples`` beside those of real data, JSON-ready; a number that is not finite becomes None.

    For images also: the birthday estimate of the support, and how far the nearest training image is from a
    sample, each beside the same for real images that were not trained on.
    """
    values = metrics(samples)
    report: dict[str, Any] = {
        "data": metrics.dataset.name,
        "samples": len(samples),
        "real": {"compared_with": metrics.count, "held_out": metrics.count, "from": metrics.held_out_from},
        "features": _features(metrics),
        "metrics": {"samples": values, "real": metrics.reference},
        "collapsed": describe_collapse(values, metrics.reference),
    }
    if not metrics.dataset.points:
        threshold = twin_distance(metrics.real[:TWINS])
        support: dict[str, Any] = {"twins_are_closer_than": threshold}
        near: dict[str, Any] = {}
        for name, x in {"samples": samples, "real": metrics.held_out}.items():
            support[name] = birthday_support(x[:TWINS], threshold)._asdict()
            near[name] = {"median_distance": np.median(nearest(metrics, x)[1])}
        report |= {"support": support, "nearest_training_image": near}
    written = json.dumps(report, default=lambda number: number.item())  # numpy's numbers become Python's
    return json.loads(written, parse_constant=lambda infinity: None)


def nearest(metrics: SampleMetrics, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and distance (n,) of the training image nearest to each of x's first ``NEAREST``, not itself."""
    own = metrics.test is None and x is metrics.held_out
    index, distance = nearest_neighbours(x[:NEAREST], metrics.dataset.samples, k=2 if own else 1)
    return index[:, -1], distance[:, -1]


def table(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of (metric, samples, real, which way is better), as text."""
    ours, real = report["metrics"]["samples"], report["metrics"]["real"]
    known = {name: words for name, words in NAMES.items() if name in ours}
    rows = [(label, _number(ours, k), _number(real, k), better) for k, (label, better) in known.items()]
    if "support" in report:
        sizes, near = report["support"], report["nearest_training_image"]
        rows.append(("support, birthday", _size(sizes["samples"]), _size(sizes["real"]), "higher"))
        ours, real = (f"{near[side]['median_distance']:.2f}" for side in ("samples", "real"))
        rows.append(("to nearest training", ours, real, "as real"))
    return rows


def text(report: dict[str, Any]) -> str:
    """The table for a terminal, and below it what was compared."""
    rows = [("", "samples", "real", "better"), *table(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.append(f"{report['samples']} samples; real: {report['real']['held_out']} {report['real']['from']}")
    lines.append("features: " + report["features"]["from"])
    if report["collapsed"]:
        lines.append("warning: collapsed: " + report["collapsed"])
    return "\n".join(lines)


def draw_report(report: dict[str, Any], metrics: SampleMetrics, samples: np.ndarray) -> Figure:
    """One page: samples beside real data, nearest neighbours, closest pairs, classes, and the table."""
    figure = Figure(figsize=(12, 7.5 if metrics.dataset.points else 11), layout="constrained")
    FigureCanvasAgg(figure)
    if metrics.dataset.points:
        reach = 1.3 * float(np.abs(metrics.dataset.means).max())
        panels = figure.subplot_mosaic([["samples", "real"], ["classes", "table"]], height_ratios=[1.4, 1])
        _scatter(panels["samples"], samples, reach, "samples")
        _scatter(panels["real"], metrics.held_out, reach, "real")
    else:
        panels = figure.subplot_mosaic(
            [["samples", "samples", "real", "real"], ["near", "near", "near", "pairs"],
             ["classes", "classes", "table", "table"]], height_ratios=[2.1, 0.8, 1.3])  # fmt: skip
        _images(panels["samples"], samples[:64], 8, f"samples, some of {report['samples']}")
        _images(panels["real"], metrics.held_out[:64], 8, "real, " + report["real"]["from"])
        training = metrics.dataset.samples[nearest(metrics, samples)[0][:SHOWN]]
        strip = np.concatenate([samples[:SHOWN], training])
        _images(panels["near"], strip, SHOWN, "samples, and below each its nearest training image")
        pairs = np.concatenate([x[list(closest_pair(x[:TWINS])[:2])] for x in (samples, metrics.held_out)])
        _images(panels["pairs"], pairs, 2, "closest pair of samples,\nand of real images")
    _classes(panels["classes"], metrics, samples)
    _table(panels["table"], report)
    return figure


# ---------------------------------------------------------------- parts of the page


def _images(axes: Axes, images: np.ndarray, columns: int, title: str) -> None:
    page = grid(images, math.ceil(len(images) / columns), columns, gap=2)
    axes.imshow(np.repeat(page, 3, axis=-1) if page.shape[-1] == 1 else page, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def _scatter(axes: Axes, points: np.ndarray, reach: float, title: str) -> None:
    axes.scatter(*points.T, s=2, alpha=0.5, linewidths=0, color="#1f5aa5")
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    outside = int((~(np.abs(points) <= reach).all(1)).sum())
    axes.set_title(title + (f" ({outside} outside)" if outside else ""), fontsize=10)


def _classes(axes: Axes, metrics: SampleMetrics, samples: np.ndarray) -> None:
    """Share of each class, as the classifier sees samples and real images; of each mode, for points."""
    if not metrics.dataset.points and metrics.classifier is None:
        axes.axis("off")
        _caption(axes, 1, "no classes to count: " + metrics.without, "#555555")
        return
    labels, total = [metrics.labels(x) for x in (samples, metrics.held_out)], len(metrics.dataset.classes)
    for offset, seen, colour, name in zip((-0.2, 0.2), labels, ("#1f5aa5", "#bbbbbb"), ("samples", "real")):
        share = np.bincount(seen, minlength=total) / max(len(seen), 1)
        axes.bar(np.arange(total) + offset, share, 0.4, color=colour, label=name)
    what = "mode" if metrics.dataset.points else "class, seen by the classifier"
    axes.set_title(f"share of each {what}", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    names = _short(metrics.dataset.classes)
    if total <= 30:
        axes.set_xticks(np.arange(total), names, fontsize=7, rotation=0 if max(map(len, names)) < 4 else 90)


def _table(axes: Axes, report: dict[str, Any]) -> None:
    axes.axis("off")
    cells = axes.table(
        table(report), colLabels=["", "samples", "real", "better"], colWidths=[0.34, 0.26, 0.26, 0.14],
        loc="upper left", edges="horizontal", cellLoc="left", colLoc="left", bbox=Bbox([[0, 0.14], [1, 1]]),
    )  # fmt: skip
    cells.auto_set_font_size(False)
    cells.set_fontsize(8.5)
    for cell in cells.get_celld().values():
        cell.set_linewidth(0.3)
    if collapsed := report["collapsed"]:
        _caption(axes, 0.11, f"collapsed: {collapsed}", "#b00020")
    else:
        _caption(axes, 0.11, report["features"]["from"], "#555555")


def _caption(axes: Axes, y: float, words: str, colour: str) -> None:
    drawn = axes.text(0, y, textwrap.fill(words, 100), va="top", fontsize=7, color=colour)
    drawn.set_in_layout(False)


# ---------------------------------------------------------------- words and numbers


def _features(metrics: SampleMetrics) -> dict[str, Any]:
    if metrics.dataset.points:
        known = "the modes are known" if metrics.dataset.sigma else "coverage is over cells of the data"
        return {"from": "none needed: " + known}
    if metrics.features is None:
        return {"from": "none: " + metrics.without}
    own, judge = metrics.classifier, metrics.features
    sources = [] if judge is own else [_source(judge, "other images'")]
    if own is None:
        return {"from": sources[0]}
    source = "; classes from ".join([*sources, _source(own, "the data's")])
    return {"from": source, "accuracy": own.accuracy, "held_out": own.held_out}


def _source(judge: Features, whose: str) -> str:
    if not isinstance(judge, (Classifier, StackedClassifier)):
        return "the published Inception network"
    said = ", ".join(f"{head.replace('_', ' ')} {share:.1%}" for head, share in judge.accuracy.items())
    return f"a classifier of {whose} labels, right on {judge.held_out} held-out images: {said}"


def _short(names: tuple[str, ...]) -> list[str]:
    """Class names without the words that all share: "expression smile, glasses none" is "smile, none"."""
    common = set.intersection(*(set(name.split()) for name in names)) if len(names) > 1 else set()
    return [" ".join(word for word in name.split() if word not in common) or name for name in names]


def _number(values: dict[str, float | None], name: str) -> str:
    value = values[name]
    if value is None:
        return "∞"
    said = format(value, {"modes": ".0f", "high_quality": ".1%"}.get(name, "#.3g"))
    return f"{said} ± {values[ERRORS[name]]:.2g}" if name in ERRORS else said


def _size(found: dict[str, Any]) -> str:
    """To two digits, since the estimate has no more."""
    known = found["low"] if found["estimate"] is None else found["estimate"]
    said = f"{float(f'{known:.2g}'):,.0f}"
    return f"over {said}" if found["estimate"] is None else said
