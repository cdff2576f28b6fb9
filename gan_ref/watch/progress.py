"""The line of progress on the terminal, and metrics.jsonl with its curves."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from gan_ref.files import write_atomically
from gan_ref.pictures.pages import write_png
from gan_ref.watch.curves import draw_curves
from gan_ref.watch.tensorboard import Board

DRAWN_EVERY = 20.0  # seconds between two drawings of the curves, each of which takes about one


class Progress:
    """Within it, rounds are logged to metrics.jsonl and the terminal, where a sample is called a ``unit``."""

    def __init__(
        self,
        folder: Path,
        start: int,
        steps: int,
        batch_size: int,
        unit: str = "images",
        board: Board | None = None,
    ):
        self.board = board
        self.folder, self.batch_size, self.unit = folder, batch_size, unit
        self.rows = read_rows(folder / "metrics.jsonl", start)
        self.file = open(folder / "metrics.jsonl", "a", encoding="utf-8")
        self.bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True, disable=None)
        self.step, self.steps = start, steps
        self.last = (start, time.perf_counter())
        self.scores: tuple[np.ndarray, np.ndarray] | None = None
        self.drawn = -math.inf  # when the curves were

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        self.file.close()
        if self.board:
            self.board.close()

    def advance(self, step: int) -> None:
        self.step = step
        self.bar.update()

    def log(self, values: dict[str, float], real_scores: Tensor, fake_scores: Tensor) -> None:
        """Write one line to metrics.jsonl and one of progress."""
        then, now = self.last, time.perf_counter()
        rate = (self.step - then[0]) * self.batch_size / max(now - then[1], 1e-9)
        self.last = (self.step, now)
        row: dict[str, Any] = {"step": self.step, **values, "images_per_second": round(rate, 1)}
        self.rows.append(row)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        self.scores = (real_scores.detach().float().cpu().numpy(), fake_scores.detach().float().cpu().numpy())
        if self.board:
            self.board.log(row, self.scores)
        shown = "D {d_loss:.3f}  G {g_loss:.3f}  D(real) {d_real:.2f}  D(fake) {d_fake:.2f}".format(**values)
        shown += f"  {rate:.0f} {self.unit}/s"
        if self.bar.disable:
            left = (self.steps - self.step) * self.batch_size / rate
            print(f"step {self.step}/{self.steps}  {shown}  {clock(left)} left", flush=True)
        else:
            self.bar.set_postfix_str(shown)

    def say(self, line: str) -> None:
        """Print a line above the progress bar."""
        with self.bar.external_write_mode(sys.stdout):
            print(line, flush=True)

    def show(self, page: np.ndarray) -> None:
        """Write a sample page, and draw the curves."""
        write_png(self.folder / "samples" / f"{self.step:06}.png", page)
        if self.board:
            self.board.show(self.step, page)
        self.draw_curves()

    def draw_curves(self) -> None:
        """Draw curves.png, unless it is new and the run goes on: on a GPU, drawing would take most of it."""
        if self.rows and (self.step == self.steps or time.perf_counter() - self.drawn > DRAWN_EVERY):
            draw_curves(self.rows, self.scores, self.folder / "curves.png")
            self.drawn = time.perf_counter()


def read_rows(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl up to ``step``.

    Later rows belong to a run that died past its checkpoint. They go, and so does everything from the first
    damaged line on. The file is rewritten only if something had to go.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    rows = list(takewhile(lambda row: row["step"] <= step, parse_rows(lines)))
    if len(rows) < len(lines):
        with write_atomically(path) as part:
            part.write_bytes(b"".join(lines[: len(rows)]))
    return rows


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl before the first that is cut off or damaged; [] without the file."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    return list(parse_rows(lines))


def parse_rows(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The rows of these lines before the first that is damaged."""
    for line in lines:
        if (row := parse_row(line)) is None:
            return
        yield row


def parse_row(line: bytes | str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None if it is cut off, damaged or not a row of numbers."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return row if all(type(v) is float or type(v) is int and abs(v) < 2**63 for v in row.values()) else None


def clock(seconds: float) -> str:
    """3725 → 1:02:05."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
