"""Nothing that comes from outside ends in a traceback, a crash or a hang: see campaigns.py."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of memory need a Unix")
pytestmark = pytest.mark.full

NAMES = (
    "checkpoint_fields flags drawing html_pages checkpoint_bytes quota arrays published lines images "
    "archives streams".split()
)
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


def test_a_run_that_is_killed_and_stopped_at_random_is_the_run_that_was_not(tmp_path):
    """Ctrl-C, SIGTERM, SIGHUP and SIGKILL, from the first imports on: no traceback, and it can be resumed."""
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
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*train, *options], **pipes)
        for _ in range(5000):  # until Python itself has started and train.py has taken over Ctrl-C
            if process.poll() is not None or not _catches_ctrl_c(process.pid):
                return process
            time.sleep(0.001)
        return process

    stops, said = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ""
    for number in stops * 2:
        process = spawn()
        try:
            process.wait(rng.choice([rng.uniform(0, 0.5), rng.uniform(0, 3.0)]))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode in (0, -number, 128 + number), (number, process.returncode, said)
        assert "Traceback" not in said and said.count("\n") <= 2, said
        if process.returncode == 0:
            break
    if process.returncode != 0:
        process = spawn()
        assert process.communicate(timeout=120)[1] == "" and process.returncode == 0
    subprocess.run([*train, *flags, "--out", str(whole)], check=True, stdout=subprocess.DEVNULL)
    assert rows(run) == rows(whole)
    assert (run / "samples" / "000060.png").read_bytes() == (whole / "samples" / "000060.png").read_bytes()


def _catches_ctrl_c(process: int) -> bool:
    """Whether Python's own handler of Ctrl-C is in place, or the process is still too young to have one."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    masks = dict(re.findall(r"(Sig\w+):\s*(\w+)", text))
    caught, ignored = (int(masks[name], 16) for name in ("SigCgt", "SigIgn"))
    python = ignored & 1 << (signal.SIGPIPE - 1)  # Python ignores SIGPIPE from its start on
    return not python or bool(caught & 1 << (signal.SIGINT - 1))


@pytest.mark.skipif(not shutil.which("unshare"), reason="a small disk needs unshare")
def test_a_full_disk_loses_nothing_that_was_there(tmp_path):
    """On a tmpfs that fills up: one line and status 3, and the last checkpoint goes on elsewhere."""
    script = f"""
        set -e; mkdir {tmp_path}/disk; mount -t tmpfs -o size=3m none {tmp_path}/disk; cd {tmp_path}/disk
        train="{sys.executable} {ROOT}/train.py"
        $train --data ring8 --width 8 --batch-size 16 --steps 2 --device cpu --no-walk --out run >/dev/null
        echo mounted; cp -r run {tmp_path}/before
        head -c 4000000 /dev/zero > fill 2>/dev/null || true
        set +e
        $train --resume run --steps 40 --checkpoint-every 3 --sample-every 3 --log-every 1 >/dev/null; echo $?
        {sys.executable} -m gan_ref walk run --frames 30 --out walk.gif >/dev/null; echo $?
        cp -r run {tmp_path}/after; ls -A {tmp_path}/disk; ls -A run"""
    ended = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=ROOT)
    if "mounted" not in ended.stdout:
        pytest.skip(f"no tmpfs can be mounted: {ended.stderr[-200:]}")
    words = ended.stdout.split()
    assert words[1:3] == ["3", "3"], ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines), lines
    assert not [word for word in words if ".part" in word]
    before, after = (tmp_path / name / "checkpoint.pt" for name in ("before", "after"))
    assert before.read_bytes() == after.read_bytes()
    resume = [sys.executable, ROOT / "train.py", "--resume", after.parent, "--steps", "4"]
    subprocess.run(resume, check=True, stdout=subprocess.DEVNULL)
