"""Nothing that comes from outside ends in a traceback, a crash or a hang: see campaigns.py."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of memory need a Unix")
pytestmark = pytest.mark.full

NAMES = "checkpoint_fields flags checkpoint_bytes quota arrays published lines images archives".split()
LIMIT = 400  # seconds for one campaign
ROOT = Path(__file__).parent.parent.parent


def play(name: str, folder: Path) -> tuple[dict, float]:
    began = time.perf_counter()
    command = [sys.executable, str(Path(__file__).parent / "campaigns.py"), name, str(folder)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LIMIT, cwd=ROOT
        )
        figures = json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else {}
        figures |= {"status": ended.returncode, "said": ended.stderr[-3000:]}
    except subprocess.TimeoutExpired:
        figures = {"status": "hangs", "said": ""}
    return figures, time.perf_counter() - began


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory):
    """All of them, two at a time: name → the campaign's figures and its seconds, as they come."""
    with ThreadPoolExecutor(2) as pool:
        folder = tmp_path_factory.mktemp("campaigns")
        yield {name: pool.submit(play, name, folder / name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_input_ends_in_a_traceback_a_crash_or_a_hang(campaigns, name):
    figures, seconds = campaigns[name].result()
    assert figures["status"] == 0 and figures["said"] == "", figures
    print(f"\n{name}: {figures['used'] + figures['refused']} inputs, {figures['used']} used, "
          f"{figures['refused']} refused, {len(figures['failures'])} failures, {seconds:.0f} s")  # fmt: skip
    assert figures["failures"] == []
    assert figures["used"] and figures["refused"]


def test_a_run_that_is_killed_at_random_is_the_run_that_was_not(tmp_path):
    rng = random.Random(0)
    flags = "--data ring8 --width 8 --batch-size 16 --steps 60 --log-every 1 --checkpoint-every 7".split()
    flags += "--sample-every 60 --no-walk --device cpu --recipe dcgan".split()
    run, whole = tmp_path / "killed", tmp_path / "whole"
    train = [sys.executable, str(ROOT / "train.py")]

    def rows(folder: Path) -> list[dict]:
        found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]

    def spawn() -> subprocess.Popen:
        begun = (run / "checkpoint.pt").exists()
        options = ["--resume", str(run)] if begun else [*flags, "--out", str(run)]
        return subprocess.Popen(
            [*train, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    kills = 0
    while kills < 5:
        process = spawn()
        try:
            process.wait(rng.uniform(1.5, 5.0))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        said = process.communicate()[1]
        assert "Traceback" not in said, said
        if process.returncode == 0:
            break
    if process.returncode != 0:
        assert spawn().wait(120) == 0
    subprocess.run([*train, *flags, "--out", str(whole)], check=True, stdout=subprocess.DEVNULL)
    assert rows(run) == rows(whole)
    assert (run / "samples" / "000060.png").read_bytes() == (whole / "samples" / "000060.png").read_bytes()
    print(f"\nkills: {kills}")
