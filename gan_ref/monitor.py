"""What a person watches: a line of progress, metrics.jsonl, curves.png and pictures of the same fixed z."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_ref.techniques.game import Game, Turn

# ---------------------------------------------------------------- what is measured


@torch.no_grad()
def measure(game: Game, d: Turn, g: Turn) -> dict[str, Tensor]:
    """The numbers of one round, as tensors that have not left the device.

    fools: share of G's samples that the new D takes for real. sees_fakes, sees_reals: share of each that D
    judged rightly before its step. These are the three curves of the 2015 face GAN; all lie in [0, 1], and a
    balanced game keeps them away from both ends. d_norm_first … are the gradients' L2 norms in each network's
    first and last layer: the first one vanishing while the last does not is the sign of a D too sure of
    itself.
    """
    real, fake = d.real_output.scores, d.fake_output.scores
    threshold = game.objective.threshold
    if threshold is None:  # a critic's zero means nothing: halfway between the means
        threshold = (real.mean() + fake.mean()) / 2
    belief = game.objective.probability
    values = {
        "d_loss": d.loss,
        "g_loss": g.loss,
        "d_real": belief(real).mean(),
        "d_fake": belief(fake).mean(),
        "fools": (g.fake_output.scores > threshold).float().mean(),
        "sees_fakes": (fake <= threshold).float().mean(),
        "sees_reals": (real > threshold).float().mean(),
    }
    for player, turn in (("d", d), ("g", g)):
        values |= {f"{player}_{name}": term for name, term in turn.terms.items()}
    for player, module in (("d", game.d.module), ("g", game.g.module)):
        weights = [p for p in module.parameters() if p.ndim > 1 and p.grad is not None]
        if weights:
            values[f"{player}_norm_first"] = weights[0].grad.norm()
            values[f"{player}_norm_last"] = weights[-1].grad.norm()
    return {name: value.detach() for name, value in values.items()}


def numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """The same as Python floats, in one transfer."""
    stacked = torch.stack([value.float() for value in values.values()]).tolist()
    return dict(zip(values, stacked))


# ---------------------------------------------------------------- where it is kept


class Monitor:
    """The run folder's metrics and curves, and the line on the terminal, which calls a sample a ``unit``."""

    def __init__(self, folder: Path, start: int, steps: int, batch_size: int, unit: str = "images"):
        self.folder, self.batch_size, self.unit = folder, batch_size, unit
        self.rows = _keep_until(folder / "metrics.jsonl", start)
        self.file = open(folder / "metrics.jsonl", "a", encoding="utf-8")
        self.bar = tqdm(
            total=steps, initial=start, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty()
        )
        self.step, self.steps = start, steps
        self.began, self.last = time.perf_counter(), (start, time.perf_counter())
        self.scores: tuple[np.ndarray, np.ndarray] | None = None

    def advance(self, step: int) -> None:
        self.step = step
        self.bar.update()

    def log(self, values: dict[str, float], real_scores: Tensor, fake_scores: Tensor) -> None:
        """One line of metrics.jsonl, and one of progress."""
        then, now = self.last, time.perf_counter()
        rate = (self.step - then[0]) * self.batch_size / max(now - then[1], 1e-9)
        self.last = (self.step, now)
        row: dict[str, Any] = {"step": self.step, **values, "images_per_second": round(rate, 1)}
        self.rows.append(row)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        self.scores = (real_scores.detach().float().cpu().numpy(), fake_scores.detach().float().cpu().numpy())
        shown = "D {d_loss:.3f}  G {g_loss:.3f}  D(real) {d_real:.2f}  D(fake) {d_fake:.2f}".format(**values)
        shown += f"  {rate:.0f} {self.unit}/s"
        if self.bar.disable:
            left = (self.steps - self.step) * self.batch_size / rate
            print(f"step {self.step}/{self.steps}  {shown}  {clock(left)} left", flush=True)
        else:
            self.bar.set_postfix_str(shown)

    def say(self, line: str) -> None:
        """A line above the progress bar."""
        self.bar.clear()
        print(line, flush=True)
        self.bar.refresh()

    def curves(self) -> None:
        """Draw curves.png anew."""
        if self.rows:
            draw_curves(self.rows, self.scores, self.folder / "curves.png")

    def close(self) -> None:
        self.bar.close()
        self.file.close()


def _keep_until(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl up to ``step``; later ones, of a run that died past its checkpoint, go.

    A last line cut off by a crash goes too. The file is rewritten only if something had to go.
    """
    if not path.exists():
        return []
    lines, rows = path.read_text(encoding="utf-8").splitlines(), []
    for line in lines:
        try:
            row = json.loads(line)
            if row["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        rows.append(row)
    if len(rows) < len(lines):
        partial = path.with_suffix(".partial")
        partial.write_text("".join(line + "\n" for line in lines[: len(rows)]), encoding="utf-8")
        os.replace(partial, path)
    return rows


def clock(seconds: float) -> str:
    """3725 → 1:02:05."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


# ---------------------------------------------------------------- how it is drawn


def draw_curves(
    rows: list[dict[str, Any]], scores: tuple[np.ndarray, np.ndarray] | None, path: Path
) -> None:
    """Four panels: who fools whom, both losses, gradient norms, and D's scores at the last logged step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and needs no display
    from matplotlib.figure import Figure

    steps = np.array([row["step"] for row in rows])

    def series(name: str) -> np.ndarray:
        return np.array([row.get(name, np.nan) for row in rows], dtype=float)

    figure = Figure(figsize=(13, 8), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
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

    draw(
        judged,
        {"fools": "G fools D", "sees_fakes": "D sees fakes", "sees_reals": "D sees reals"},
        "share of a batch judged so",
    )
    judged.set_ylim(-0.03, 1.03)
    draw(losses, {"d_loss": "D", "g_loss": "G"}, "loss")
    draw(
        norms,
        {"d_norm_first": "D first layer", "d_norm_last": "D last layer",
         "g_norm_first": "G first layer", "g_norm_last": "G last layer"},
        "gradient norm",
    )  # fmt: skip
    if np.nanmax(np.nan_to_num(np.concatenate([series("d_norm_first"), series("g_norm_first")]))) > 0:
        norms.set_yscale("log")
    if scores is not None:
        real, fake = scores
        bins = np.linspace(min(real.min(), fake.min()), max(real.max(), fake.max()) + 1e-6, 30)
        histogram.hist(real, bins, alpha=0.6, color="#31a354", label="reals")
        histogram.hist(fake, bins, alpha=0.6, color="#e6550d", label="fakes")
        histogram.legend()
    histogram.set_title(f"D's scores at step {steps[-1]}")
    histogram.set_xlabel("score")
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial)
    os.replace(partial, path)


def smooth(values: np.ndarray, share: float = 0.04) -> np.ndarray:
    """Centred moving average over a share of the curve, ignoring gaps."""
    reach = max(1, int(len(values) * share))
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    low = np.maximum(np.arange(len(values)) - reach, 0)
    high = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    n = count[high] - count[low]
    return np.divide(total[high] - total[low], n, out=np.full(len(values), np.nan), where=n > 0)
