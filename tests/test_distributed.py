"""K processes train as one does: the same losses, one run folder, one end."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_ref import checkpoint, distributed, recipes
from gan_ref.commands.train import main
from gan_ref.config import Config
from gan_ref.data import Batches, Dataset
from gan_ref.loop import play_round
from gan_ref.run import Run, choose_settings

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
SMALL = {"device": "cpu", "precision": "float32", "width": 4, "latent_dim": 8, "batch_size": 8,
         "image_size": 16, "steps": 30, "sync_batch_norm": True,
         "optimizer": "sgd", "lr_d": 0.003, "lr_g": 0.003}  # fmt: skip
# (Adam's first steps follow the gradient's sign: where that is zero, they follow rounding.)
LIKE_ANOTHER = ("face-2015-bn", "feature-matching-sum", "label-smoothing", "historical-averaging", "ttur",
                "lsgan", "r1", "instance-noise")  # fmt: skip
GAMES = {name: recipe.settings for name, recipe in recipes.RECIPES.items() if name not in LIKE_ANOTHER} | {
    # without the schedule of β₂, which SGD does not have
    "r3gan": recipes.settings("r3gan") | {"schedules": ("Cosine(of='R2.weight', last=0.1)",)},
    "noise everywhere": {"norm_g": "none", "norm_d": "virtual", "d_noise": 0.1, "d_dropout": 0.2,
                         "flip": True, "instance_noise": "InstanceNoise(sigma=0.1)"},
    "a gradient of gradients through batch norm": {"update": "Consensus(weight=0.1)"},
    "a gradient of gradients through similarities": {"update": "Consensus(weight=0.001)", "norm_d": "none",
                                                     "minibatch_discrimination": True},
    "whoever moves depends on the errors": {"balance": "Dynamic(low=0.5, high=0.6)"},
    "packs of two": {"pack": 2, "augment": "AdaptiveAugment(target=-1.0, images=100)", "norm_d": "none",
                     "penalties": ("R1(weight=0.1)", "GradientPenalty")},
    "reals and fakes in one batch": {"mixed_batches": True, "d_dropout": 0.2},
    "points, and noise in D": {"data": "grid25", "d_noise": 0.1},
    "both gradients at the same point": {"update": "Simultaneous", "minibatch_discrimination": True},
}  # fmt: skip


STEEP = {"semi-supervised-conv", "semi-supervised-minibatch", "a gradient of gradients through similarities"}
SLOW = {"lr_d": 1e-4, "lr_g": 1e-4}  # for the steep ones, whose rounding errors would grow otherwise


def losses(name: str, images: str) -> list[list[float]]:
    """D's loss, G's, and the size of each of their weights, after each of a few rounds."""
    settings = {"data": images, **GAMES[name], **SMALL, **(SLOW if name in STEEP else {})}
    if settings["data"] == "grid25":
        settings["image_size"] = None
    if settings.get("labels_per_class"):
        settings["labels_per_class"] = 5
    run = Run(*choose_settings(Config(**settings)))
    seen = []
    for _ in range(ROUNDS):
        d, g = play_round(run)
        weights = [p.detach().double().abs().sum() for p in (*run.game.d.parameters, *run.game.g.parameters)]
        seen.append([float(x.detach()) for x in (d.loss, g.loss, *weights)])
    return seen


# ---------------------------------------------------------------- the same numbers


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def environment(rank: int, port: str) -> dict[str, str]:
    """What torchrun sets."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}  # fmt: skip


def play_all(rank: int, port: str, images: str, results) -> None:
    os.environ.update(environment(rank, port))
    with distributed.join_processes():
        results.put((rank, {name: losses(name, images) for name in GAMES}))


@pytest.fixture(scope="module")
def by_two(images):
    """All games by two processes: {name: losses} of each."""
    context, port = multiprocessing.get_context("spawn"), free_port()
    results = context.Queue()
    processes = [context.Process(target=play_all, args=(rank, port, images, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=300) for _ in processes)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", GAMES)
def test_two_processes_play_the_game_of_one(images, by_two, name):
    one = torch.tensor(losses(name, images))
    first, second = (torch.tensor(by_two[rank][name]) for rank in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one, rtol=1e-4, atol=1e-5)


def test_parts_make_up_the_batch_without_repeats_or_gaps():
    dataset = Dataset("numbers", np.arange(44, dtype=np.float32).reshape(22, 2), None, ())
    one = Batches(dataset, 6, seed=1)
    several = [Batches(dataset, 6, seed=1, rank=rank, world=3) for rank in range(3)]
    for _ in range(8):
        assert torch.equal(one.next()[0], torch.cat([part.next()[0] for part in several]))


# ---------------------------------------------------------------- one run, by as many as there are


def settings(images: str, folder: Path, *more: str) -> list[str]:
    if (folder / "checkpoint.pt").exists():
        return ["--resume", str(folder), *more]
    small = "--image-size 16 --width 4 --latent-dim 8 --batch-size 8 --norm none --log-every 2 --no-walk"
    plain = "--precision float32 --optimizer sgd --lr-d 0.01 --lr-g 0.01"
    plain += " --schedules Ramp(rounds=60)"  # the default's depends on the length of the run
    return ["--data", images, "--out", str(folder), *small.split(), *plain.split(), *more]


def play(images: str, folder: Path, *more: str) -> list[subprocess.Popen]:
    """The command as two processes, each with the environment that torchrun would give it."""
    command = [sys.executable, "-c", "from gan_ref.commands.train import main; raise SystemExit(main())"]
    arguments, port = settings(images, folder, *more), free_port()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen([*command, *arguments], env=os.environ | environment(rank, port), **pipes)
        for rank in range(2)
    ]


def ended(processes: list[subprocess.Popen], seconds: float = 120) -> list[tuple[int, str, str]]:
    """(status, standard output, standard error) of each."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=seconds)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return found


def started(processes: list[subprocess.Popen], folder: Path) -> None:
    """Wait until the run has logged a step."""
    until = time.monotonic() + 120
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert all(process.poll() is None for process in processes) and time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.full
def test_a_run_goes_from_one_process_to_two_and_back(images, tmp_path):
    whole, changing = tmp_path / "whole", tmp_path / "changing"
    assert main(settings(images, whole, "--steps", "6")) == 0
    assert main(settings(images, changing, "--steps", "2")) == 0
    for rank, (status, out, err) in enumerate(ended(play(images, changing, "--steps", "4"))):
        assert status == 0, err
        assert bool(out) == (rank == 0) and not err  # rank 0 alone speaks
    assert main(settings(images, changing, "--steps", "6")) == 0
    one, other = checkpoint.load(whole), checkpoint.load(changing)
    assert torch.equal(one["rng"], other["rng"]) and one["batches"] == other["batches"]
    for part in ("generator", "discriminator", "average"):
        for name, value in one[part].items():
            torch.testing.assert_close(other[part][name], value, rtol=1e-4, atol=1e-6)
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, changing)]
    for a, b in zip(*(map(json.loads, rows) for rows in lines), strict=True):
        for name in a.keys() - {"images_per_second"}:
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-5)


@pytest.mark.full
def test_two_machines_are_two_launchers(tmp_path):
    """As on several nodes: a torchrun of its own on each, that find each other by address and port."""
    at = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    flags = "--data ring8 --device cpu --steps 4 --width 8 --batch-size 8 --no-walk --out".split()
    launch = [sys.executable, "-m", "torch.distributed.run", *at]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [
        subprocess.Popen([*launch, f"--node-rank={n}", ROOT / "train.py", *flags, tmp_path / "two"], **pipes)
        for n in range(2)
    ]
    assert [status for status, *_ in ended(both)] == [0, 0]
    assert main([*flags, str(tmp_path / "one")]) == 0
    one, two = (checkpoint.load(tmp_path / name)["generator"] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


@pytest.mark.full
def test_a_signal_to_one_stops_both_with_one_checkpoint(images, tmp_path):
    processes = play(images, tmp_path / "run", "--steps", "1000000", "--checkpoint-every", "1000000")
    started(processes, tmp_path / "run")
    processes[1].send_signal(signal.SIGTERM)
    (first, out, err), (second, *_) = ended(processes)
    assert first == second == 128 + signal.SIGTERM and not err
    step = checkpoint.load(tmp_path / "run")["step"]
    assert step > 0 and f"stopped after step {step}" in out


@pytest.mark.full
def test_one_that_dies_is_named_by_torchrun_and_ends_the_run_within_a_minute(images, tmp_path):
    at = ["--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    flags = settings(images, tmp_path / "run", "--steps", "1000000", "--checkpoint-every", "2")
    command = [sys.executable, "-m", "torch.distributed.run", *at, str(ROOT / "train.py"), *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    launcher = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)
    started([launcher], tmp_path / "run")
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    if not children.exists():
        launcher.kill()
        pytest.skip("this system does not list a process's children")
    lost = int(children.read_text().split()[1])
    os.kill(lost, signal.SIGKILL)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode != 0 and f"pid: {lost}" in err
    state = checkpoint.load(tmp_path / "run")  # whole
    assert state["step"] % 2 == 0
    assert main(["--resume", str(tmp_path / "run"), "--steps", str(state["step"] + 2)]) == 0


@pytest.mark.full
def test_a_mistake_is_told_once(images, tmp_path):
    (first, _, one), (second, _, other) = ended(play(images, tmp_path / "run", "--batch-size", "7"))
    assert first == second == 2
    said = one + other  # whichever failed first
    assert "cannot be shared by 2 processes" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
