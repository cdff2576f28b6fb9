"""A run: it resumes to the bit, survives what happens to it, and says in one line what is wrong."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from runs import run_of
from toys import same

from gan_ref import checkpoint
from gan_ref.commands.train import main
from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.files import lock, read_tensors
from gan_ref.networks.size import container_bytes, training_bytes
from gan_ref.watch.curves import draw_curves
from gan_ref.watch.progress import read_rows

SMALL = "--image-size 16 --width 4 --latent-dim 8 --batch-size 8".split()
SMALL += "--log-every 5 --sample-every 10 --no-walk".split()


def play(images: str, out: Path, steps: int, *more: str) -> int:
    return main(["--data", images, "--out", str(out), "--steps", str(steps), *SMALL, *more])


def rows(folder: Path) -> list[dict]:
    """metrics.jsonl without the one number that is about the machine."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


def state(folder: Path) -> dict:
    found = checkpoint.load(folder)
    found["config"] = found["config"].to_dict()
    return found


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--norm-d weight --d-noise 0.1 --d-dropout 0.2",
        *(pytest.param(options, marks=pytest.mark.full) for options in (
            "--norm virtual",
            "--minibatch-discrimination",
            "--norm-d spectral",
            "--instance-noise InstanceNoise(rounds=30) --ema 0",
            "--optimizer rmsprop --precision bfloat16",
            "--penalties R1 --norm-d none --flip",
        )),
    ],
)  # fmt: skip
def test_twenty_steps_and_twenty_more_are_forty_to_the_bit(images, tmp_path, options):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = [
        "--schedules",
        "Ramp(rounds=60)",
        *options.split(),
    ]  # the default's depends on the run's length
    assert play(images, whole, 40, *options) == 0
    assert play(images, halves, 20, *options) == 0
    assert main(["--resume", str(halves), "--steps", "40"]) == 0
    assert same(state(whole), state(halves))
    assert rows(whole) == rows(halves) and [row["step"] for row in rows(whole)] == list(range(5, 41, 5))
    for name in ("000010.png", "000040.png"):
        assert (whole / "samples" / name).read_bytes() == (halves / "samples" / name).read_bytes()


def test_a_run_leaves_what_it_promises(images, tmp_path):
    assert main(["--data", images, "--out", str(tmp_path / "run"), "--steps", "10", *SMALL[:-1]]) == 0
    files = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")}
    assert files == {"config.json", "metrics.jsonl", "curves.png", "samples", "checkpoint.pt", "walk.gif"}
    config = Config.from_dict(json.loads((tmp_path / "run" / "config.json").read_text()))
    assert None not in config.to_dict().values()  # the complete truth: nothing is left to be chosen
    assert Image.open(tmp_path / "run" / "samples" / "000010.png").size == (8 * 16, 8 * 16)
    assert Image.open(tmp_path / "run" / "curves.png").size[0] > 600
    names = set(rows(tmp_path / "run")[0])
    assert {"step", "d_loss", "g_loss", "d_real", "d_fake", "fools", "sees_fakes", "sees_reals"} <= names
    assert {"d_norm_first", "d_norm_last", "g_norm_first", "g_norm_last"} <= names


def test_a_run_begins_with_the_weights_of_another_and_with_its_own_data(images, finished, tmp_path):
    """At a rate of 0 nothing moves, so a run of one round still has what it began with."""
    still = ["--lr-g", "0", "--lr-d", "0", "--recipe", "wgan-gp", "--steps", "1", "--no-walk", "--seed", "5"]
    assert main(["--init", str(finished), "--data", "faces", *still, "--out", str(tmp_path / "run")]) == 0
    before, after = checkpoint.load(finished), checkpoint.load(tmp_path / "run")
    for network in ("generator", "discriminator"):
        weights = {n: v for n, v in before[network].items() if n.endswith(("weight", "bias"))}
        assert weights and all(torch.equal(v, after[network][n]) for n, v in weights.items())
    assert after["step"] == 1 and after["config"].recipe == "wgan-gp" and after["config"].data == "faces"
    assert after["config"].image_size == 16, "the networks' sizes come along"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--width", "8"], "generator is built otherwise.*--width \\(there 4\\)"),
        (["--pack", "2", "--batch-size", "8"], "discriminator is built otherwise.*--pack \\(there 1\\)"),
        (["--resume", "x"], "leave one out"),
    ],
)
def test_weights_of_other_networks_are_refused(finished, tmp_path, capsys, flags, why):
    given = ["--init", str(finished), "--data", "faces", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*given, *flags]) == 2
    error = capsys.readouterr().err
    assert re.search(why, error) and error.count("\n") == 1


def test_seeds_differ_and_repeat(images, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        play(images, tmp_path / name, 5, "--seed", seed)
    assert rows(tmp_path / "a") == rows(tmp_path / "b") != rows(tmp_path / "c")


def test_resuming_refuses_what_contradicts_the_run(images, tmp_path, capsys):
    play(images, tmp_path / "run", 5)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    assert main(["--resume", str(tmp_path / "run"), "--steps", "9", "--width", "8", "--lr-d", "1e-3"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "--width 8" in said and "--lr-d 0.001" in said
    assert main(["--resume", str(tmp_path / "run")]) == 2
    assert "finished" in capsys.readouterr().err
    assert main(["--resume", str(tmp_path / "run"), "--steps", "9", "--out", str(tmp_path / "else")]) == 2
    assert play(images, tmp_path / "run", 5) == 2  # a second run does not overwrite the first
    assert "--resume" in capsys.readouterr().err
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    for allowed in (["--width", "4"], ["--log-every", "1"], ["--data", images]):
        steps = str(state(tmp_path / "run")["step"] + 1)
        assert main(["--resume", str(tmp_path / "run"), "--steps", steps, *allowed]) == 0


# ---------------------------------------------------------------- being stopped


def spawn(images: str, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-c", "from gan_ref.commands.train import main; raise SystemExit(main())"]
    arguments = ["--data", images, "--out", str(out), "--steps", "100000", *SMALL, *more]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_saves_the_run_and_says_how_to_go_on(images, tmp_path, number):
    run = tmp_path / "my run"
    process = spawn(images, run)
    wait_for(lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text(), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in err
    assert f"python train.py --resume '{run}'" in out
    step = state(run)["step"]
    assert step > 0 and main(["--resume", str(run), "--steps", str(step + 3)]) == 0
    assert state(run)["step"] == step + 3


@pytest.mark.full
def test_kill_9_at_any_moment_leaves_a_run_that_resumes(images, tmp_path):
    """Killed while it writes a checkpoint at every step, at times that fall anywhere in that."""
    run = tmp_path / "run"
    process = spawn(images, run, "--checkpoint-every", "1")
    for k in range(3):
        wait_for(lambda: (run / "checkpoint.pt").exists() and (run / "metrics.jsonl").read_text(), process)
        time.sleep(0.05 + 0.013 * k)
        process.kill()
        process.wait()
        before = state(run)["step"]
        for line in (run / "metrics.jsonl").read_text().splitlines()[:-1]:
            json.loads(line)
        if k < 2:
            command = [
                sys.executable,
                "-c",
                "from gan_ref.commands.train import main; raise SystemExit(main())",
            ]
            process = subprocess.Popen([*command, "--resume", str(run)], stdout=subprocess.DEVNULL)
            wait_for(lambda: checkpoint.load(run)["step"] > before, process)
    assert main(["--resume", str(run), "--steps", str(before + 2)]) == 0
    assert [row["step"] for row in rows(run)] == sorted({row["step"] for row in rows(run)})


def test_a_second_process_in_the_same_folder_is_refused(tmp_path, capsys):
    flags = ["--data", "ring8", "--width", "8", "--batch-size", "16", "--steps", "4", "--no-walk"]
    with lock(tmp_path / "run" / ".lock"):
        assert main([*flags, "--out", str(tmp_path / "run")]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "another process trains there" in said
    assert main([*flags, "--out", str(tmp_path / "run")]) == 0  # it has let go


def test_a_crash_inside_the_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"step": 1})
    before = path.read_bytes()

    def torn(state, file):
        file.write(b"half")
        raise KeyboardInterrupt  # as a kill would, between two writes

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"step": 2})
    assert path.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(images, tmp_path, capsys):
    play(images, tmp_path / "run", 5)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    (tmp_path / "run" / ".checkpoint.part.pt").symlink_to("/dev/full")
    assert main(["--resume", str(tmp_path / "run"), "--steps", "10"]) == 3
    said = capsys.readouterr().err
    assert "No space left" in said and said.count("\n") == 1 and "intact" in said
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(images, tmp_path, capsys):
    options = "--checkpoint-every 1 --optimizer sgd --lr-d 10 --lr-g 10 --norm none".split()
    assert play(images, tmp_path / "run", 500, *options) == 2
    said = capsys.readouterr().err.strip()
    assert "became NaN or infinite" in said and "\n" not in said
    step = int(said.split("step ")[1].split(":")[0])
    kept = state(tmp_path / "run")
    assert kept["step"] == step - 1
    assert all(torch.isfinite(w).all() for w in kept["generator"].values())


# ---------------------------------------------------------------- checkpoints are not trusted


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert play(images, folder, 3) == 0
    return folder


def refused(path: Path, capsys) -> str:
    assert main(["--resume", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


class Poison:
    def __init__(self, marker: str):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def test_a_checkpoint_that_would_run_code_runs_nothing(tmp_path, capsys):
    marker, path = tmp_path / "executed", tmp_path / "checkpoint.pt"
    torch.save({"format": checkpoint.FORMAT, "config": Poison(str(marker))}, path)
    said = refused(path, capsys)
    assert not marker.exists() and "trusted" in said
    path.write_bytes(pickle.dumps(Poison(str(marker))))
    refused(path, capsys)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_checkpoint(tmp_path, capsys, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    refused(path, capsys)


def test_a_truncated_checkpoint(finished, tmp_path, capsys):
    whole = (finished / "checkpoint.pt").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "checkpoint.pt").write_bytes(whole[: int(len(whole) * share)])
        refused(tmp_path / "checkpoint.pt", capsys)


@pytest.mark.parametrize("name", checkpoint.FIELDS)
@pytest.mark.parametrize("damage", ["missing", "ill-typed"])
def test_each_field_of_a_checkpoint_is_checked(finished, tmp_path, capsys, name, damage):
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content.pop(name)
    if damage == "ill-typed":
        content[name] = "a string"
    torch.save(content, tmp_path / "checkpoint.pt")
    assert name in refused(tmp_path / "checkpoint.pt", capsys)


@pytest.mark.parametrize(
    "change",
    [{"width": -4}, {"width": None}, {"width": 8}, {"latent_dim": "many"}, {"objective": "os.system('x')"},
     {"data": "ring8"}, {"channels": 1}, {"image_size": 32}, {"unknown": 1}, {"data": 5},
     {"penalties": ["__import__"]}, {"lr_g": float("nan")}],
)  # fmt: skip
def test_the_config_in_a_checkpoint_is_validated_field_by_field(finished, tmp_path, capsys, change):
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content["config"].update(change, steps=10)
    torch.save(content, tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt", capsys)


@pytest.mark.parametrize(
    "part",
    "generator discriminator average g_optimizer d_optimizer batches reference techniques".split(),
)
def test_parts_that_do_not_fit_are_refused(finished, tmp_path, capsys, part):
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content["config"]["steps"] = 10
    content[part] = {"of another": torch.zeros(3)}
    torch.save(content, tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt", capsys)


# ---------------------------------------------------------------- mistakes at the keyboard


@pytest.mark.parametrize(
    "arguments",
    ["--steps 0", "--steps -5", "--batch-size 0", "--batch-size 99999999", "--width 0", "--image-size 50",
     "--image-size 64x", "--channels 2", "--lr-g nan", "--lr-d -1", "--beta1 1", "--ema 2", "--seed -1",
     "--recipe nothing", "--objective Nothing", "--objective R1", "--penalties R1(weight='a')",
     "--data /no/where", "--resume /no/where", "--device cuda", "--device mps", "--latent-dim 0",
     "--norm-decay 7", "--update print(1)", "--steps many", "--no-such-flag"],
)  # fmt: skip
def test_absurd_options_get_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, arguments):
    seen = {"--device cuda": torch.cuda.is_available(), "--device mps": torch.backends.mps.is_available()}
    if seen.get(arguments):
        pytest.skip("there is a GPU")
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder(images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert play(images, tmp_path / "file" / "run", 3) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_a_config_is_its_own_complete_record():
    config = Config(penalties=("R1(weight=1)",), width=8)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UserError, match="steps"):
        Config(steps=True)
    with pytest.raises(UserError, match="--width must be at most"):  # no float is so large
        Config(width=10**400)
    assert type(Config(beta1=0).beta1) is float  # which Adam insists on


# ---------------------------------------------------------------- what is watched


def test_metrics_past_the_checkpoint_and_a_torn_last_line_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n{"step": 10}\n{"step": 15}\n{"st')
    assert read_rows(path, 10) == [{"step": 5}, {"step": 10}]
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'


@pytest.mark.parametrize("count", [1, 2, 3, 200])
def test_curves_are_drawn_from_any_number_of_rows(tmp_path, count):
    names = "d_loss g_loss fools sees_fakes sees_reals".split()
    names += "d_norm_first d_norm_last g_norm_first g_norm_last".split()
    some = [{"step": k, **dict.fromkeys(names, 0.5)} for k in range(count)]
    draw_curves(some, None, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[0] > 600


@pytest.mark.full
def test_rows_of_a_player_that_waited_are_the_same_after_a_resume(images, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    options = "--recipe face-2015-margin --balance Margin(margin=0.45)".split()
    options += "--log-every 1 --sample-every 1000".split()
    assert play(images, whole, 16, *options) == 0
    for steps in (11, 12, 16):
        command = ["--resume", str(halves), "--steps", str(steps)]
        assert (main(command) if steps > 11 else play(images, halves, steps, *options)) == 0
    assert rows(whole) == rows(halves)
    assert any("d_norm_first" not in row or "g_norm_first" not in row for row in rows(whole))


@pytest.mark.parametrize(
    "bad",
    [b"[" * 5000, b"\xff\xfe", b'{"step": 3, "d_loss": "low"}', b'{"step": 1e999}', b'{"step": null}', b"[3]",
     b"\0", b'{"step": ' + b"9" * 5000 + b"}", b'{"step": 3, "a": ' + b"9" * 400 + b"}"],
)  # fmt: skip
def test_a_damaged_line_of_metrics_goes_with_all_behind_it(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bad + b'\n{"step": 2}\n')
    assert read_rows(path, 10) == [{"step": 1}] and path.read_bytes() == b'{"step": 1}\n'


# ---------------------------------------------------------------- too large


@pytest.mark.parametrize("flags", ["--image-size 256 --width 1024", "--batch-size 65536 --image-size 128"])
def test_a_run_that_does_not_fit_is_refused_before_it_takes_memory(
    images, tmp_path, capsys, monkeypatch, flags
):
    monkeypatch.setattr("gan_ref.networks.size.free_bytes", lambda device: 8 * 10**9)
    assert main(["--data", images, "--out", str(tmp_path / "run"), *flags.split()]) == 2
    said = capsys.readouterr().err
    assert "8.0 GB are free" in said and "lower --width" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "recipe", ["baseline", "dcgan", "improved", "face-2015-l2", "semi-supervised", "wgan-gp"]
)
def test_the_memory_of_weights_is_foreseen_exactly(recipe):
    run = run_of(recipe, "faces", width=24, batch_size=1)
    game, classes = run.game, len(run.dataset.classes) if run.config.labels_per_class else 0
    g, d = (sum(p.numel() for p in player.module.parameters()) for player in (game.g, game.d))
    one, two = (
        training_bytes(run.config.replace(batch_size=size), run.dataset.shape, classes) for size in (1, 2)
    )
    moments = {"adam": 2, "rmsprop": 1}[run.config.optimizer]  # beside weight and gradient, and the average
    assert 2 * one - two == 4 * ((3 + moments) * g + (2 + moments + (classes > 0)) * d)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 B."),
     RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")],
)  # fmt: skip
def test_memory_that_runs_out_is_one_line(images, tmp_path, capsys, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("gan_ref.loop.train", fail)
    assert play(images, tmp_path / "run", 3) == 3
    said = capsys.readouterr().err
    assert "not enough memory" in said and said.count("\n") == 1


def test_a_checkpoint_whose_settings_lie_takes_no_memory(finished, tmp_path, capsys):
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content["config"].update(width=1024, image_size=256, steps=10)
    content["shape"] = [3, 256, 256]
    torch.save(content, tmp_path / "checkpoint.pt")
    began = time.perf_counter()
    assert "averaged G" in refused(tmp_path / "checkpoint.pt", capsys)
    assert time.perf_counter() - began < 5  # to draw these weights takes minutes


# ---------------------------------------------------------------- what once crashed


def memory_of(field: str, value) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        for player in ("g_optimizer", "d_optimizer"):
            for memory in content[player]["state"].values():
                memory[field] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        memory_of("exp_avg", torch.zeros(3)),  # a fused step read past its end: SIGSEGV
        memory_of("exp_avg", None),
        memory_of("step", torch.tensor(float("nan"))),
        lambda c: c["g_optimizer"].update(state="text"),
        lambda c: c["g_optimizer"]["param_groups"][0].update(lr="fast"),
        lambda c: c["g_optimizer"]["param_groups"][0].update(betas=(0.5,)),
        lambda c: c["g_optimizer"]["param_groups"][0].update(amsgrad=True),
        lambda c: c["batches"].update(drawn=-5),
        lambda c: c["batches"].update(drawn=10**30),
        lambda c: c["reference"].update(real=torch.zeros(3, 1, 1)),
        lambda c: c.update(shape=[3, 1, 1]),
        lambda c: c.update(shape=[torch.zeros(2), 16, 16]),
        lambda c: c.update(classes=[torch.zeros(2), "b"]),
        lambda c: c["average"].update(dict.fromkeys(list(c["average"])[:1], torch.zeros(3).to_sparse())),
        lambda c: c["average"].update({k: v / 0 for k, v in c["average"].items() if v.is_floating_point()}),
        lambda c: c["average"].update({k: v.to("meta") for k, v in c["average"].items()}),
        lambda c: c.update(rng=torch.zeros(3, dtype=torch.uint8)),
    ],
)  # fmt: skip
def test_fields_that_once_crashed_are_refused(finished, tmp_path, capsys, change):
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content["config"]["steps"] = 10
    change(content)
    torch.save(content, tmp_path / "checkpoint.pt")
    refused(tmp_path / "checkpoint.pt", capsys)


def test_an_optimizer_s_settings_are_the_run_s_own(finished, tmp_path):
    """0 equals False, but a fused step takes no 0 for it."""
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content["g_optimizer"]["param_groups"][0]["amsgrad"] = 0
    torch.save(content, tmp_path / "checkpoint.pt")
    assert main(["--resume", str(tmp_path), "--steps", "4"]) == 0


# ---------------------------------------------------------------- names and streams


@pytest.mark.parametrize("name", ["n" * 250, "n/" * 3000, "ü" * 125])
def test_a_name_that_is_too_long_is_named(images, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["--data", images, "--out", name, "--steps", "3", *SMALL]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --out") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_settings_of_a_checkpoint_are_shown_without_control_characters(finished, tmp_path, capsys):
    content = torch.load(finished / "checkpoint.pt", weights_only=True)
    content["config"]["recipe"] = "\x1b[31mred\udcff"
    torch.save(content, tmp_path / "checkpoint.pt")
    assert main(["--resume", str(tmp_path), "--steps", "4"]) == 0
    said = capsys.readouterr().out
    assert "red" in said and "\x1b" not in said


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.full
@pytest.mark.parametrize(
    "streams", ["2>&-", ">&- 2>&-", "| head -1", "2>&1 | head -1", "2>/dev/full >/dev/full"]
)
def test_a_run_outlives_those_who_read_its_output(tmp_path, streams):
    if "/dev/full" in streams and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    program = (
        f"{sys.executable} -m gan_ref train --data ring8 --steps 30 --log-every 1 --width 8 --device cpu"
    )
    shell = ["bash", "-o", "pipefail", "-c", f"{program} --no-walk --out '{tmp_path / 'run'}' {streams}"]
    ended = subprocess.run(shell, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and ended.stderr == ""
    assert state(tmp_path / "run")["step"] == 30 and len(rows(tmp_path / "run")) == 30


@pytest.mark.parametrize(
    "files, left",
    [
        (
            {"memory.max": "3000", "memory.current": "1000", "memory.stat": "anon 9\ninactive_file 500\n"},
            2500,
        ),
        ({"memory.max": "max", "memory.current": "1000", "memory.stat": ""}, 1 << 62),
        (
            {
                "memory/memory.limit_in_bytes": "3000",
                "memory/memory.usage_in_bytes": "2900",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 20\n",
            },
            120,
        ),
        ({"memory.max": "3000", "memory.current": "4000", "memory.stat": ""}, 0),
        ({}, 1 << 62),
    ],
)
def test_a_containers_limit_is_what_is_free(tmp_path, files, left):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert container_bytes(tmp_path) == left


def test_what_a_damaged_file_hangs_on_a_tensor_is_left_behind(tmp_path):
    weights = torch.ones(2, requires_grad=True)
    torch.save({"w": weights}, tmp_path / "sound.pt")
    sound = torch.load
    with pytest.MonkeyPatch.context() as patch:

        def damaged(*args, **options):
            state = sound(*args, **options)
            state["w"]._backward_hooks = type
            return state

        patch.setattr(torch, "load", damaged)
        held = read_tensors(tmp_path / "sound.pt", "a file of tensors")["w"]
    assert torch.equal(held, torch.ones(2)) and held._backward_hooks is None and not held.requires_grad
    torch.save(held, tmp_path / "again.pt")
