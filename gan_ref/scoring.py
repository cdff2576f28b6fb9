"""Scores during training: the best checkpoint is kept, and a collapse is told when it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gan_ref import checkpoint, imaging
from gan_ref.data import open_dataset
from gan_ref.evaluation.scores import Scorer, collapsed, merit
from gan_ref.monitor import Monitor

if TYPE_CHECKING:
    from gan_ref.training import Run

COUNT = 1000  # samples scored each time: about a second at 32×32


class Scores:
    """``scores(run)`` draws the same 1,000 z each time, scores their samples and keeps best.pt by merit."""

    def __init__(self, run: Run, folder: Path, monitor: Monitor):
        config = run.config
        test = open_dataset(config.data, config.image_size or 32, config.channels, split="test")
        self.scorer = Scorer(run.dataset, test, COUNT, device=run.device)
        self.z = run.fixed_z(self.scorer.count, purpose=3)
        self.folder, self.monitor = folder, monitor
        self.best = max((row["merit"] for row in monitor.rows if "merit" in row), default=-np.inf)

    def __call__(self, run: Run) -> dict[str, float]:
        module = run.average_for_samples()
        if run.in_plane:
            samples = np.concatenate([x.cpu().numpy() for x in imaging.forward(module, [self.z])])
        else:
            samples = np.concatenate(list(imaging.generate(module, [self.z])))
        values = self.scorer(samples)
        values["merit"] = merit(values)
        if told := collapsed(values, self.scorer.reference):
            best = self.folder / "best.pt"
            kept = f"the last good checkpoint is {best}" if best.exists() else "there is no good checkpoint"
            self.monitor.say(f"warning: collapse at step {run.game.step}: {told}; {kept}")
        elif values["merit"] > self.best:
            self.best = values["merit"]
            run.check(self.folder)
            checkpoint.save(self.folder / "best.pt", run.state_dict())
        return values
