"""The same numbers and pictures for TensorBoard, in tensorboard/ of the run folder."""

from pathlib import Path
from typing import Any

import numpy as np

from gan_ref.errors import UserError


class Board:
    """Event files of one run. A resumed run goes on in them; what they have after its ``start`` is hidden."""

    writer: Any

    def __init__(self, settings: dict[str, Any]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("--tensorboard needs a package: pip install 'gan-ref[tensorboard]'") from None
        self.open = SummaryWriter
        self.settings = {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in settings.items()}
        self.last: dict[str, float] = {}

    def begin(self, folder: Path, start: int) -> None:
        """Open the files, once the run has its folder to itself."""
        self.writer = self.open(str(folder / "tensorboard"), purge_step=start + 1)

    def log(self, row: dict[str, float], scores: tuple[np.ndarray, np.ndarray]) -> None:
        """A line of metrics.jsonl as scalars, and D's scores of reals and of fakes as histograms."""
        self.last = row
        for name in row.keys() - {"step"}:
            self.writer.add_scalar(name, row[name], row["step"])
        for kind, values in zip(("real", "fake"), scores):
            if np.isfinite(values).all():
                self.writer.add_histogram(f"scores/{kind}", values, row["step"])
        self.writer.flush()

    def show(self, step: int, page: np.ndarray) -> None:
        """A page uint8 (H, W, 1 or 3)."""
        self.writer.add_image("samples", page, step, dataformats="HWC")

    def close(self) -> None:
        """With the settings beside the last metrics, which the page HPARAMS compares over runs."""
        if self.last:
            last, step = dict(self.last), int(self.last["step"])
            del last["step"]
            self.writer.add_hparams(self.settings, last, run_name=".", global_step=step)
        self.writer.close()
