"""A comparison counts what the runs did, says what failed, and goes on where it was stopped."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gan_ref.commands import compare
from gan_ref.commands.compare import Trial, main
from gan_ref.files import lock
from gan_ref.pictures.pages import write_png

TINY = "--width 4 --latent-dim 2 --batch-size 8 --log-every 2 --checkpoint-every 2".split()


def trial(out: Path, recipe: str, seed: int, rows: list[dict], failure: str = "", batch: int = 4) -> Trial:
    """A run as train.py leaves it, without the training."""
    made = Trial(recipe, seed, out / "runs" / f"{recipe}-{seed}")
    (made.folder / "samples").mkdir(parents=True)
    if rows:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (made.folder / "metrics.jsonl").write_text(lines + '{"step": 99, "cut o')
        (made.folder / "config.json").write_text(json.dumps({"batch_size": batch, "data": "grid25"}))
        write_png(made.folder / "samples" / "000001.png", np.zeros((8, 8, 3), np.uint8))
    if failure:
        made.failure.write_text(failure + "\n")
    return made


def points(step: int, modes: int, share: float, rate: float) -> dict:
    return {"step": step, "modes": modes, "high_quality": share, "reverse_kl": 0.5, "images_per_second": rate}


def test_the_table_has_mean_and_spread_over_the_seeds_that_finished_and_says_why_others_did_not(tmp_path):
    trials = [
        trial(tmp_path, "r1", 0, [points(1, 3, 0.1, 40), points(2, 20, 0.5, 80), points(3, 24, 0.7, 1000)]),
        trial(tmp_path, "r1", 1, [points(3, 20, 0.5, 40)]),
        trial(tmp_path, "wgan", 0, [points(1, 25, 0.9, 40)], failure="step 2: a loss became NaN"),
        trial(tmp_path, "semi-supervised", 0, [], failure="needs labelled images"),
    ]
    table = compare.write(tmp_path, trials, {"data": "grid25"})
    r1, wgan, semi = table
    assert r1["modes"] == {"mean": 22.0, "spread": 2.0}
    assert r1["high_quality"] == pytest.approx({"mean": 0.6, "spread": 0.1})
    assert r1["rounds_per_second"] == {"mean": 15.0, "spread": 5.0}  # medians of 10, 20, 250 and of 10
    assert wgan["seeds"] == 0 and "modes" not in wgan and wgan["failure"] == "step 2: a loss became NaN"
    assert semi["failure"] == "needs labelled images"
    text = (tmp_path / "compare.md").read_text()
    assert "| r1 | 22.0 ± 2.0 | 60.0% ± 10.0% |" in text and "needs labelled images" in text
    assert json.loads((tmp_path / "compare.json").read_text())["table"] == table
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_the_page_has_the_table_and_the_pictures_and_needs_no_other_file(tmp_path):
    rows = [points(k, 3 + k, 0.1 * k, 40) for k in range(1, 9)]
    trials = [trial(tmp_path, "r1", seed, rows) for seed in (0, 1)]
    trials.append(trial(tmp_path, "wgan", 0, [], failure="<script>alert(1)</script>"))
    compare.write(tmp_path, trials, {"data": "grid25"})
    page = (tmp_path / "compare.html").read_text()
    assert "<td>11.0 ± 0.0<td>80.0% ± 0.0%" in page and "--data grid25" in page
    assert page.count("<script") == 0 and "&lt;script&gt;" in page
    sources = re.findall(r'src="([^"]*)"', page)
    kept = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    files = [tmp_path / "compare.png", *(trial.pages[-1] for trial in trials[:2])]
    assert kept == [file.read_bytes() for file in files] and "href" not in page


def test_images_are_compared_by_the_three_curves_of_the_face_gan_side_by_side(tmp_path):
    rows = [
        {"step": k, "d_loss": 1.0, "g_loss": 2.0, "fools": 0.25, "sees_fakes": 0.75, "sees_reals": 0.8,
         "images_per_second": 8.0} for k in range(1, 30)
    ]  # fmt: skip
    names = ("face-2015-bn", "face-2015-margin", "face-2015-l2")
    table = compare.write(tmp_path, [trial(tmp_path, name, 0, rows) for name in names], {})
    assert [line["recipe"] for line in table] == list(names)
    assert table[0]["fools"]["mean"] == 0.25 and table[0]["rounds_per_second"]["mean"] == 2
    from PIL import Image

    with Image.open(tmp_path / "compare.png") as picture:
        assert picture.width > 1.5 * picture.height  # three cards in a row


@pytest.mark.parametrize(
    "status, finished",
    [(2, True), (3, False), (1, False), (-9, False)],
    ids=["refused or diverged", "full disk", "traceback", "killed"],
)
def test_only_a_refused_or_diverged_run_is_not_tried_again(tmp_path, status, finished):
    ended = trial(tmp_path, "r1", 0, [points(1, 3, 0.1, 40)])
    (ended.folder / "error.log").write_text("a warning\nerror: it was so\n")
    line = ended.end(status)
    assert ended.failure.exists() == finished and ("tries it again" in line) != finished
    assert "r1, seed 0: modes 3.0" in line and "it was so" in line
    assert ended.result().get("failure") == ("it was so" if finished else None)


def test_a_second_comparison_in_the_same_folder_is_refused(tmp_path, capsys):
    with lock(tmp_path / ".lock"):
        assert main(["--recipes", "dcgan", "--data", "ring8", "--out", str(tmp_path)]) != 0
    error = capsys.readouterr().err
    assert "another comparison runs" in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.full
def test_a_comparison_in_which_nothing_succeeds_says_so_and_has_status_1(tmp_path, capsys):
    command = ["--data", "ring8", "--recipes", "semi-supervised,semi-supervised", "--seeds", "1", *TINY]
    assert main([*command, "--out", str(tmp_path), "--steps", "4"]) == 1
    told = capsys.readouterr().out
    assert (
        "1 recipes, 1 seeds" in told
        and "[1/1] semi-supervised, seed 0: stopped: " in told
        and "again" not in told
    )


@pytest.mark.full
def test_finished_runs_are_skipped_others_go_on_and_a_recipe_that_cannot_be_is_a_row(tmp_path, capsys):
    out = tmp_path / "out"
    names = "dcgan,semi-supervised,dcgan"
    command = ["--data", "ring8", "--recipes", names, "--seeds", "1", "--out", str(out), *TINY]
    assert main([*command, "--steps", "4"]) == 0
    told = capsys.readouterr().out
    assert "SemiSupervised" in told and "| dcgan |" in told
    played = out / "runs" / "dcgan-0" / "checkpoint.pt"
    before = played.stat().st_mtime_ns
    assert main([*command, "--steps", "4"]) == 0
    assert played.stat().st_mtime_ns == before
    assert main([*command, "--steps", "6"]) == 0
    content = json.loads((out / "compare.json").read_text())
    assert len(content["runs"]) == 2  # a recipe that is named twice counts once
    assert [row["step"] for row in content["runs"] if row["recipe"] == "dcgan"] == [6]
    assert (out / "runs" / "dcgan-0" / "training.gif").exists()

    assert main([*command, "--steps", "6", "--lr-d", "0.1"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_stops_every_run_at_a_checkpoint(tmp_path):
    flags = "--data ring8 --recipes dcgan,lsgan --seeds 1 --jobs 2 --steps 1000000".split()
    command = [sys.executable, "-m", "gan_ref", "compare", *flags, "--out", str(tmp_path), *TINY]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # a shell's background job ignores SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    checkpoints = [tmp_path / "runs" / f"{name}-0" / "checkpoint.pt" for name in ("dcgan", "lsgan")]
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in checkpoints):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors
    before = [path.stat().st_mtime_ns for path in checkpoints]
    for path in checkpoints:
        assert "stopped after step" in (path.parent / "train.log").read_text()
    time.sleep(0.5)
    assert before == [path.stat().st_mtime_ns for path in checkpoints]
    assert json.loads((tmp_path / "compare.json").read_text())["table"][0]["recipe"] == "dcgan"


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--recipes", "nonsense"), "no recipe"),
        (("--recipes", "dcgan", "--seeds", "0"), "--seeds must be from 1"),
        (("--recipes", "dcgan", "--seeds", "1000000000"), "--seeds must be from 1"),
        (("--recipes", "dcgan", "--jobs", "0"), "--jobs must be from 1"),
        (("--recipes", "dcgan", "--seed", "3"), "--seeds"),
        (("--recipes", "dcgan", "--width", "many"), "width"),
    ],
)
def test_mistakes_get_one_line(tmp_path, capsys, flags, said):
    assert main([*flags, "--data", "ring8", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
