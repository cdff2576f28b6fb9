"""The monitor's warnings: a lost game is told once, an even one never; a starved run too."""

import json

import pytest
import torch

from gan_ref.commands.train import main
from gan_ref.config import TYPES, Config, flag
from gan_ref.techniques import build
from gan_ref.watch.signs import Signs

# what rows of 20 rounds hold of D's judgement: the recipe dcgan on faces, and baseline
LOST = {"d_loss": 0.1, "g_loss": 5.0, "fools": 0.0, "sees_fakes": 0.99, "sees_reals": 0.99}
EVEN = {"d_loss": 1.45, "g_loss": 0.5, "fools": 0.2, "sees_fakes": 0.79, "sees_reals": 0.78}


def rows(values: dict, first: int = 1, last: int = 60, every: int = 20, **more) -> list[dict]:
    more = {"d_norm_first": 10.0, "images_per_second": 400.0} | more
    return [{"step": every * k, **values, **more} for k in range(first, last + 1)]


def watch(history: list[dict], objective: str = "NonSaturating", before: int = 0, **settings) -> list[str]:
    config = Config(objective=objective, batch_size=64, device="cpu", **settings)
    signs = Signs(config, build("objectives", objective), history[:before])
    return [line for row in history[before:] for line in signs.look(row)]


def test_a_d_that_is_sure_of_everything_for_200_rounds_is_told_once_with_flags_that_exist():
    (line,) = watch(rows(LOST), recipe="dcgan")
    assert "step 220" in line and "too good" in line and "--lr-d 5e-05" in line and "\n" not in line
    named = {word.strip(",;") for word in line.split() if word.startswith("--")}
    assert "--recipe" in named and named <= set(map(flag, TYPES))


@pytest.mark.parametrize("every, step", [(1, 201), (20, 220), (100, 1100)])
def test_a_sign_has_to_last_for_200_rounds_and_for_ten_rows(every, step):
    assert f"step {step}:" in watch(rows(LOST, every=every, last=300))[0]


def test_an_even_game_is_not_spoken_of_and_neither_is_one_that_recovers():
    assert watch(rows(EVEN), "Hinge") == [] and watch(rows(EVEN)) == []
    waves = [row for k in range(6) for row in rows(LOST if k % 2 else EVEN, 8 * k + 1, 8 * k + 8)]
    assert watch(waves) == []


@pytest.mark.parametrize("name", ["Wasserstein", "Fisher", "EnergyBased", "FeatureMatching", "LeastSquares"])
def test_a_critic_may_tell_reals_from_fakes_and_have_any_loss_and_slope(name):
    assert watch(rows(LOST, d_norm_first=500.0), name) == []


def test_a_hinge_loss_of_nothing_is_told_although_its_scores_have_no_zero():
    (line,) = watch(rows(EVEN | {"d_loss": 0.01}), "Hinge")
    assert "too good" in line and "its loss was 0.01" in line


def test_other_signs_are_a_d_that_knows_nothing_and_gradients_over_100():
    (line,) = watch(rows({"d_loss": 3.0, "g_loss": 0.0, "fools": 1.0, "sees_fakes": 0.0, "sees_reals": 1.0}))
    assert "too weak" in line and "--lr-d" in line
    (line,) = watch(rows(EVEN, d_norm_first=250.0))
    assert "D's first layer has had a norm of 250, over 100" in line


def test_a_resumed_run_does_not_say_it_again_and_an_unbroken_one_says_it_at_the_same_step():
    history = rows(LOST)
    assert watch(history, before=30) == []
    assert watch(history, before=5) == watch(history)
    assert (
        watch([{"step": 20}, {"step": 40}, *history[2:]], before=2) != []
    )  # rows that hold less are no harm


def test_a_starved_run_is_told_after_half_a_minute_with_the_cure():
    slow = rows(EVEN, 11, 40, images_per_second=80.0)  # 20 rounds of 64 take 16 s, and took 3.2 s
    (line,) = watch(rows(EVEN, 1, 10) + slow, "Hinge", threads=2)
    assert "step 260: the machine starves this run: 80 samples a second for 48 s, 400 at its best" in line
    assert "--resume it with --threads 1" in line
    (line,) = watch(rows(EVEN, 1, 10) + slow, "Hinge", threads=1)
    assert "--threads" not in line


def test_one_long_row_or_a_slow_start_is_no_starvation():
    paused = rows(EVEN, 11, 12, images_per_second=1.0)  # a laptop slept
    assert watch(rows(EVEN, 1, 10) + paused + rows(EVEN, 13, 60), "Hinge", threads=2) == []
    slow = rows(EVEN, 11, 60, images_per_second=80.0)  # resumed on a slower machine
    assert watch(rows(EVEN, 1, 10) + slow, "Hinge", before=10, threads=2) == []


# ---------------------------------------------------------------- in a run


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def train(folder, *flags: str) -> dict:
    small = "--data ring8 --recipe dcgan --width 8 --batch-size 16 --no-walk --device cpu --out".split()
    assert main([*small, str(folder), *flags]) == 0
    return json.loads((folder / "config.json").read_text())


def test_threads_are_a_setting_that_a_resumed_run_keeps(tmp_path, capsys, threads):
    assert train(tmp_path / "run", "--steps", "4", "--threads", "2")["threads"] == 2
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert main(["--resume", str(tmp_path / "run"), "--steps", "6"]) == 0
    assert torch.get_num_threads() == 2
    assert main(["--resume", str(tmp_path / "run"), "--steps", "8", "--threads", "3"]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["threads"] == 3
    torch.set_num_threads(1)
    assert train(tmp_path / "other", "--steps", "2")["threads"] == 1  # torch's own choice


def test_more_threads_than_cores_are_kept_and_told(tmp_path, capsys, threads, monkeypatch):
    monkeypatch.setattr("gan_ref.data.workers.available_cores", lambda: 2)
    train(tmp_path / "run", "--steps", "2", "--threads", "3")
    assert "3 threads on 2 cores" in capsys.readouterr().out


def test_minutes_choose_the_steps_before_the_run_begins(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gan_ref.commands.minutes._seconds", lambda measured, config, dataset: (0.5, 20.0))
    steps = train(tmp_path / "run", "--minutes", "0.5")["steps"]
    assert 14 <= steps <= 20  # of 30 s, 20 go to the walk and some to the opening of the data
    assert f"{steps} steps of 16" in capsys.readouterr().out
    assert main(["--data", "ring8", "--minutes", "0.2", "--device", "cpu"]) == 2
    assert "--minutes 0.2 is over before the first step" in capsys.readouterr().err


@pytest.mark.full
def test_a_run_of_minutes_is_the_run_of_its_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_ref.commands.minutes.MEASURED", 0.2)
    steps = train(tmp_path / "a", "--minutes", "0.3", "--sample-every", "1000000")["steps"]
    train(tmp_path / "b", "--steps", str(steps), "--sample-every", "1000000")
    last = [(tmp_path / name / "samples" / f"{steps:06}.png").read_bytes() for name in "ab"]
    assert last[0] == last[1]


@pytest.mark.parametrize("flags", [["--steps", "5"], ["--resume", "runs/x"]])
def test_minutes_are_refused_beside_what_contradicts_them(flags, capsys):
    assert main(["--data", "ring8", "--minutes", "1", *flags]) == 2
    said = capsys.readouterr().err
    assert f"leave out {flags[0]}" in said and said.count("\n") == 1
