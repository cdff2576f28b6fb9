"""--tensorboard writes what metrics.jsonl and samples/ hold, and a resumed run goes on in the same log."""

import json
import sys
from pathlib import Path

import pytest

from gan_ref.commands import train

SMALL = (
    "--image-size 16 --width 4 --latent-dim 4 --batch-size 4 --log-every 1 --sample-every 2 --no-walk".split()
)


def read(folder: Path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    held = event_accumulator.EventAccumulator(str(folder), {"images": 0, "histograms": 0, "scalars": 0})
    held.Reload()
    return held


def test_a_resumed_run_goes_on_in_the_same_log(images, tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    flags = ["--data", images, *SMALL, "--device", "cpu", "--recipe", "dcgan"]
    run, plain = tmp_path / "run", tmp_path / "plain"
    assert train.main([*flags, "--steps", "4", "--tensorboard", "--out", str(run)]) == 0
    assert train.main(["--resume", str(run), "--steps", "6"]) == 0
    held = read(run / "tensorboard")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("d_loss", "fools", "g_norm_first"):
        found = {event.step: event.value for event in held.Scalars(name)}
        wanted = {row["step"]: pytest.approx(row[name]) for row in rows if name in row}
        assert found == wanted and len(wanted) == 6
    assert [event.step for event in held.Images("samples")] == [2, 4, 6]
    assert [event.step for event in held.Histograms("scores/fake")] == [1, 2, 3, 4, 5, 6]
    summary = held.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"batch_size" in summary and b"NonSaturating" in summary
    assert train.main([*flags, "--steps", "6", "--out", str(plain)]) == 0  # it changes nothing else
    speed = "images_per_second"
    other = [json.loads(line) for line in (plain / "metrics.jsonl").read_text().splitlines()]
    assert [row | {speed: 0} for row in rows] == [row | {speed: 0} for row in other]


def test_without_tensorboard_one_line_says_what_to_install_and_nothing_is_written(
    images, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    flags = ["--data", images, *SMALL, "--device", "cpu", "--steps", "2", "--tensorboard"]
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 2
    assert "pip install 'gan-ref[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
