"""Metrics during training: they are recorded, the best checkpoint is kept, and a collapse is reported at
once.
"""

import json

import numpy as np
import pytest

from gan_ref import checkpoint
from gan_ref.commands.train import main
from gan_ref.watch import best


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Sixty gray images without labels: nothing has to be trained to score them."""
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8))
    return str(path)


@pytest.fixture(autouse=True)
def varied(monkeypatch):
    """A generator of varied pictures from the first step on, other ones at each step."""
    rng = np.random.default_rng(1)

    def pictures(module, z, batch=64):
        for part in z:
            yield rng.integers(0, 256, (len(part), 16, 16, 1), dtype=np.uint8)

    monkeypatch.setattr(best, "generate", pictures)


SMALL = (
    "--image-size 16 --width 4 --latent-dim 8 --batch-size 8 --log-every 5 --no-walk --score-every 4".split()
)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_scores_are_recorded_and_the_best_checkpoint_is_the_best(images, tmp_path):
    assert main(["--data", images, "--out", str(tmp_path / "run"), "--steps", "12", *SMALL]) == 0
    scored = {row["step"]: row["merit"] for row in rows(tmp_path / "run") if "merit" in row}
    assert sorted(scored) == [4, 8, 12]
    best = checkpoint.load(tmp_path / "run" / "best.pt")["step"]
    assert scored[best] == max(scored.values())
    assert [row["step"] for row in rows(tmp_path / "run")] == [4, 5, 8, 10, 12]


def test_a_resumed_run_remembers_the_best(images, tmp_path):
    folder = tmp_path / "run"
    assert main(["--data", images, "--out", str(folder), "--steps", "8", *SMALL]) == 0
    metrics = folder / "metrics.jsonl"
    raised = [row | {"merit": 2.0} if "merit" in row else row for row in rows(folder)]  # beyond reach
    metrics.write_text("".join(json.dumps(row) + "\n" for row in raised))
    best = (folder / "best.pt").read_bytes()
    assert main(["--resume", str(folder), "--steps", "16"]) == 0
    assert (folder / "best.pt").read_bytes() == best


def test_a_collapse_is_told_with_its_step_and_the_last_good_checkpoint(images, tmp_path, monkeypatch, capsys):
    assert main(["--data", images, "--out", str(tmp_path / "run"), "--steps", "8", *SMALL]) == 0
    assert "warning: collapse" not in capsys.readouterr().out
    good = (tmp_path / "run" / "best.pt").read_bytes()

    def one_picture(module, z, batch=64):
        for part in z:
            yield np.full((len(part), 16, 16, 1), 7, np.uint8)

    monkeypatch.setattr(best, "generate", one_picture)
    assert main(["--resume", str(tmp_path / "run"), "--steps", "12"]) == 0
    said = capsys.readouterr().out
    assert "warning: collapse at step 12" in said and str(tmp_path / "run" / "best.pt") in said
    assert (tmp_path / "run" / "best.pt").read_bytes() == good
