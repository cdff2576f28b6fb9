"""curves.png: who fools whom, both losses, the gradient norms, and D's scores."""

from pathlib import Path
from typing import Any

import numpy as np

from gan_ref.files import write_atomically


def draw_curves(rows: list[dict[str, Any]], scores: tuple[np.ndarray, np.ndarray] | None, path: Path) -> None:
    """Draw four panels from the rows of metrics.jsonl and D's last scores of reals and fakes."""
    from matplotlib.figure import Figure  # slow to import

    steps = np.array([row["step"] for row in rows])

    def series(name: str) -> np.ndarray:
        return np.array([row.get(name, np.nan) for row in rows], dtype=float)

    figure = Figure(figsize=(13, 8), dpi=80, layout="constrained")
    (judged, losses), (norms, histogram) = figure.subplots(2, 2)

    def draw(axes: Any, names: dict[str, str], title: str) -> None:
        for (name, label), colour in zip(names.items(), ("#3182bd", "#e6550d", "#31a354", "#756bb1")):
            values = series(name)
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth(values), color=colour, label=label, linewidth=1.6)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        axes.legend(loc="best", framealpha=0.8)

    shares = {"fools": "G fools D", "sees_fakes": "D sees fakes", "sees_reals": "D sees reals"}
    draw(judged, shares, "share of a batch")
    judged.set_ylim(-0.03, 1.03)
    draw(losses, {"d_loss": "D", "g_loss": "G"}, "loss")
    layers = {"d_norm_first": "D first layer", "d_norm_last": "D last layer"}
    layers |= {"g_norm_first": "G first layer", "g_norm_last": "G last layer"}
    draw(norms, layers, "gradient norm")
    if np.nanmax(np.nan_to_num(np.concatenate([series("d_norm_first"), series("g_norm_first")]))) > 0:
        norms.set_yscale("log")
    if scores is not None:
        real, fake = scores
        bins = np.linspace(min(real.min(), fake.min()), max(real.max(), fake.max()) + 1e-6, 30).tolist()
        histogram.hist(real, bins, alpha=0.6, color="#31a354", label="reals")
        histogram.hist(fake, bins, alpha=0.6, color="#e6550d", label="fakes")
        histogram.legend()
    histogram.set_title(f"D's scores at step {steps[-1]}")
    histogram.set_xlabel("score")
    with write_atomically(path) as part:
        figure.savefig(part)


def smooth(values: np.ndarray) -> np.ndarray:
    """A moving average over a 25th of the curve to each side, which leaves out values that are not finite."""
    reach, known = max(1, len(values) // 25), np.isfinite(values)
    padded = (np.pad(part, reach) for part in (np.where(known, values, 0.0), known))
    total, count = (np.convolve(part, np.ones(2 * reach + 1), "valid") for part in padded)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
