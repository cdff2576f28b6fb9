"""`python -m gan_ref evaluate` from a checkpoint to its report, and what it says when it cannot."""

import json
import re

import pytest

from gan_ref import checkpoint
from gan_ref.commands.evaluate import load_judge, main
from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.run import Run, choose_settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on ring8 that has not taken a step."""
    folder = tmp_path_factory.mktemp("run")
    settings = choose_settings(Config(data="ring8", width=8))
    checkpoint.save(folder / "checkpoint.pt", Run(*settings).state_dict())
    return folder


def test_a_run_gets_its_report(run, capsys):
    assert main([str(run), "--samples", "300", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["samples"] == 300 and report["step"] == 0 and report["data"] == "ring8"
    assert report["metrics"]["real"]["modes"] == 8 and report["metrics"]["real"]["high_quality"] > 0.95
    assert report["metrics"]["samples"]["high_quality"] < 0.05  # nothing has been learned
    assert report["collapsed"] and report["collapsed"] in said
    assert (run / "report.png").read_bytes()[:4] == b"\x89PNG"


def test_a_report_depends_on_the_seed_alone(run, tmp_path):
    reports, out = [], tmp_path / "r.json"
    for seed in "778":
        assert main([str(run), "--samples", "50", "--seed", seed, "--out", str(out), "--device", "cpu"]) == 0
        reports.append(json.loads(out.read_text(encoding="utf-8"))["metrics"])
    assert reports[0] == reports[1] != reports[2] and reports[0]["real"] == reports[2]["real"]


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--samples", "3"], "--samples must be from 20"),
        (["--data", "faces"], "there are no points at faces, and G makes points"),
        (["--data", "/nowhere"], "there are no points at /nowhere"),
        (["--out", "report.txt"], "must end in .json"),
        (["--inception", "/nowhere.pth"], "--inception and --judge are for images"),
        (["--judge", "faces"], "--inception and --judge are for images"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(run, tmp_path, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "new.json")]
    assert main([str(run), "--device", "cpu", *arguments, *out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search(reason, said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "inception, source, reason",
    [
        ("weights.pth", "faces", "contradict each other"),
        (None, "ring8", "ring8 has no labelled images"),
        ("/nowhere.pth", None, "no Inception weights at /nowhere.pth"),
    ],
)
def test_a_judge_that_cannot_be_is_refused(inception, source, reason):
    with pytest.raises(UserError, match=reason):
        load_judge(inception, source, 3, "cpu")


def test_a_missing_checkpoint_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
