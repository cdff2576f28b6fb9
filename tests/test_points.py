"""A user's own points: read or refused, counted in cells, and a run in the plane like any other."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from runs import run_of
from test_cuda_graph import played, reason_on_a_gpu, record
from test_data_hostile import Touch
from toys import same

from gan_ref.commands import evaluate, explore, sample, train, walk
from gan_ref.config import Config
from gan_ref.data import is_points, open_dataset
from gan_ref.data.points import middles
from gan_ref.errors import UserError
from gan_ref.evaluation.metrics import SampleMetrics, merit
from gan_ref.evaluation.modes import points_coverage
from gan_ref.run import Run, choose_settings


def save(path: Path, points: np.ndarray) -> str:
    np.save(path, points)
    return str(path)


def moon(count: int) -> np.ndarray:
    """Points of a half circle of radius 2 about (40, 7), from one end to the other."""
    t = np.linspace(0, math.pi, count)
    return np.stack([40 + 2 * np.cos(t), 7 + 2 * np.sin(t)], axis=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run on own points, as the command train leaves it."""
    folder = tmp_path_factory.mktemp("own")
    source = save(folder / "moon.npy", moon(1000))
    settings = "--width 8 --steps 4 --batch-size 16 --log-every 2 --device cpu --no-walk".split()
    assert train.main(["--data", source, "--out", str(folder / "run"), *settings]) == 0
    return folder / "run"


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("std", [0.0, 3.0])
def test_points_are_all_there_less_their_mean_scaled_as_a_whole_and_in_no_order(tmp_path, kind, std):
    points = moon(1000).astype(kind)
    source = save(tmp_path / "moon.npy", points)
    data, again = open_dataset(source, points_std=std), open_dataset(source, points_std=std)
    assert is_points(source) and data.points and data.shape == (2,) and data.name == "moon" and not data.flip
    about = points.astype(float) - points.astype(float).mean(axis=0)
    about *= std / math.sqrt(about.var(axis=0).mean()) if std else 1
    assert np.allclose(np.sort(data.samples, axis=0), np.sort(about, axis=0), atol=1e-6)
    assert np.array_equal(data.samples, again.samples)
    assert abs(np.corrcoef(data.samples[:-1, 0], data.samples[1:, 0])[0, 1]) < 0.15  # in the file it is 1
    assert open_dataset(source, split="test") is None


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((200, 3)), "its shape is (200, 3)"),
        (np.zeros((200, 2), np.uint8), "it holds uint8; save the points as float32"),
        (np.zeros((200, 2), complex), "it holds complex128"),
        (moon(99), "it has 99 points, and 100 to"),
        (np.zeros((0, 2)), "it has 0 points"),
        (np.where(np.arange(400).reshape(200, 2) == 7, np.nan, 1.0), "not all finite"),
        (np.where(np.arange(400).reshape(200, 2) == 7, -np.inf, 1.0), "not all finite"),
        (moon(200) * 1e300, "not all finite"),
        (np.ones((200, 2)), "or all the same"),
        (np.zeros(200), "not uint8"),
        (np.zeros((200, 2, 2)), "not uint8"),
    ],
)
def test_what_is_no_set_of_points_gets_one_line(tmp_path, capsys, array, words):
    source, out = save(tmp_path / "bad.npy", array), tmp_path / "run"
    assert train.main(["--data", source, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bad.npy is not a .npy of" in said and words in said and not out.exists()


def test_objects_are_never_unpickled(tmp_path):
    array = np.full((200, 2), None, object)
    array[0, 0] = Touch(tmp_path / "touched")
    np.save(tmp_path / "evil.npy", array, allow_pickle=True)
    (tmp_path / "renamed.npy").write_bytes(pickle.dumps(array))
    for name in ("evil.npy", "renamed.npy"):
        with pytest.raises(UserError, match=f"{name} is not a .npy"):
            open_dataset(str(tmp_path / name))
    assert not (tmp_path / "touched").exists()


def test_points_take_no_size(tmp_path):
    for more in ({"image_size": 32}, {"channels": 3}):
        with pytest.raises(UserError, match="its samples are points"):
            choose_settings(Config(data=save(tmp_path / "moon.npy", moon(200)), **more))


# ---------------------------------------------------------------- what is counted


def test_a_square_is_halved_into_a_grid():
    line = (np.arange(40) + 0.5) / 40
    square = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    found = {tuple(middle) for middle in middles(square).round(6)}
    assert found == {((x + 0.5) / 8, (y + 0.5) / 8) for x in range(8) for y in range(8)}


def test_the_data_cover_their_cells_evenly_and_a_collapsed_generator_one(tmp_path):
    data = open_dataset(save(tmp_path / "moon.npy", moon(1000)))
    whole = points_coverage(data.samples, data)
    assert whole.modes == whole.total == len(data.means) == len(data.classes) <= 64
    assert whole.reverse_kl == pytest.approx(0) and whole.high_quality is None
    assert whole.counts.min() > 0 and whole.counts.sum() == 1000
    one = points_coverage(data.samples[:1].repeat(9, axis=0), data)
    assert one.modes == 1 and one.reverse_kl == pytest.approx(
        -math.log((data.labels == data.labels[0]).mean())
    )
    nowhere = points_coverage(np.full((9, 2), np.nan), data)
    assert nowhere.modes == 0 and nowhere.reverse_kl == math.inf


def test_points_beside_the_data_cost_precision_and_a_lost_half_costs_recall(tmp_path):
    metrics = SampleMetrics(open_dataset(save(tmp_path / "moon.npy", moon(2000))), count=500)
    assert metrics.reference["precision"] > 0.9 < metrics.reference["recall"]
    beside = metrics(metrics.held_out + np.array([0, 1], np.float32))
    half = metrics(metrics.held_out[metrics.held_out[:, 0] > 0])
    assert beside["precision"] < 0.2 and half["precision"] > 0.9 and half["recall"] < 0.6
    assert merit(metrics.reference) > merit(half) > merit(beside)
    assert metrics(np.full((500, 2), np.nan))["precision"] == 0 and "high_quality" not in half


# ---------------------------------------------------------------- a run


def test_a_run_leaves_what_a_run_in_the_plane_leaves(trained, tmp_path, capsys):
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert {"modes", "reverse_kl", "average_modes"} <= rows[-1].keys() and "high_quality" not in rows[-1]
    assert (trained / "training.gif").exists() and list((trained / "moments").iterdir())
    for command, more in ((sample, ["--count", "50"]), (walk, ["--frames", "4", "--grid", "2x2"])):
        out = tmp_path / ("a.png" if command is sample else "a.gif")
        assert command.main([str(trained), "--out", str(out), *more]) == 0 and out.exists()
    assert evaluate.main([str(trained), "--out", str(tmp_path / "r.json")]) == 0
    assert "cells" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["metrics"]["samples"]
    assert "precision" in metrics and "high_quality" not in metrics
    assert explore.main([str(trained), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"sigma": 0.0' in page and "NaN" not in page


@pytest.mark.parametrize("more", [{}, {"conditional": "concatenation"}])
def test_a_run_resumes_to_the_bit_and_replays(tmp_path, more):
    source = save(tmp_path / "moon.npy", moon(300))
    whole, first, second, recorded = (run_of("wgan-gp", source, **more) for _ in range(4))
    unbroken, begun = played(whole, 8), played(first, 4)
    second.load_state_dict(first.state_dict())
    assert begun + played(second, 4) == unbroken and same(second.state_dict(), whole.state_dict())
    assert reason_on_a_gpu(recorded) == ""
    recorder = record(recorded)
    assert played(recorded, 8) == unbroken and recorder.recordings == 1


def test_points_that_are_gone_or_others_get_one_line(trained, tmp_path, capsys):
    source, away = trained.parent / "moon.npy", tmp_path / "moon.npy"
    source.rename(away)
    commands = [(sample, "--out", "a.png"), (walk, "--out", "a.gif"), (evaluate, "--out", "r.json")]
    commands += [(explore, "--out", "page.html"), (train, "--steps", "9")]
    try:
        for command, flag, value in commands:
            run = ["--resume", str(trained)] if command is train else [str(trained)]
            assert command.main([*run, flag, value if command is train else str(tmp_path / value)]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and str(source) in said and "no " in said
        save(source, moon(300) ** 2)
        state = run_of("dcgan", str(away)).state_dict()
        with pytest.raises(UserError, match="no longer what this run was trained on"):
            Run(*choose_settings(Config(data=str(source), device="cpu", width=4))).load_state_dict(state)
    finally:
        away.rename(source)
