"""Runs in the plane: the picture shows where things are, the counts what is there, the film the whole run."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_ref.commands.train import main
from gan_ref.config import Config
from gan_ref.data.mixtures import MIXTURES, mixture
from gan_ref.loop import play_round
from gan_ref.networks.mlp import Discriminator
from gan_ref.networks.output import Output
from gan_ref.pictures import plane
from gan_ref.run import Run, choose_settings
from gan_ref.techniques import objectives
from gan_ref.watch.film import Film
from gan_ref.watch.metrics import measure_coverage
from gan_ref.watch.pages import draw_sample_page

GRID = mixture("grid25", seed=0, points=5000)


class Says(nn.Module):
    """D(x) = f(x)."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return Output(self.f(x), x)


# ---------------------------------------------------------------- what is drawn


def places(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y at each place of a field, which is read like a page."""
    x = (np.arange(plane.FIELD) + 0.5) * 2 * reach / plane.FIELD - reach
    return np.meshgrid(x, -x)


def picture(points, field=None, caption=("", "", "")) -> np.ndarray:
    field = np.zeros((plane.FIELD, plane.FIELD)) if field is None else field
    return plane.draw_plane(np.asarray(points), field, GRID.means, GRID.sigma, caption)


def pixel(x: float, y: float) -> tuple[int, int]:
    """The line and column of the place (x, y) in a picture of GRID."""
    return int((1 - y / 5.2) * plane.SIDE / 2), int((1 + x / 5.2) * plane.SIDE / 2)


def test_the_field_is_what_d_believes_at_each_place_with_x_to_the_right_and_y_upwards():
    for axis, belief in ((0, lambda x, y: x), (1, lambda x, y: y)):
        says = Says(lambda p, axis=axis: p[:, axis])
        field = plane.belief_field(says, objectives.NonSaturating(), torch.zeros(4, 2), GRID.samples, 5.2)
        assert np.abs(field - np.tanh(belief(*places(5.2)) / 2)).max() < 1e-6


def test_a_critic_has_no_zero_and_its_field_is_read_from_halfway_between_reals_and_fakes():
    def score(p):
        return 1000 + 3 * p[:, 0]

    fake = torch.tensor([[4.0, 0.0]]).expand(100, 2)  # reals have mean 0: halfway lies x = 2
    real = GRID.samples[:100]
    field = plane.belief_field(Says(score), objectives.Wasserstein(), fake, real, 5.2)
    crossing = places(5.2)[0][0][np.abs(field).mean(0).argmin()]
    assert abs(crossing - 2 - real[:, 0].mean() / 2) < 0.1


def test_the_picture_is_orange_where_d_says_real_and_blue_where_it_says_fake_with_a_line_between():
    x, _ = places(5.2)
    drawn = picture(np.zeros((0, 2)), np.tanh(x)).astype(int)
    for side, warm in ((-3, False), (3, True)):
        red, _, blue = drawn[pixel(side, 1)]
        assert (red > blue + 80) if warm else (blue > red + 80)
    lines, columns = np.nonzero(drawn[: plane.SIDE].max(-1) < 160)
    line = columns[np.abs(columns - plane.SIDE / 2) < 8]
    assert len(np.unique(lines[np.abs(columns - plane.SIDE / 2) < 8])) > 0.9 * plane.SIDE
    assert abs(line.mean() + 0.5 - plane.SIDE / 2) < 1


def test_circles_of_three_sigma_lie_about_the_modes():
    drawn = picture(np.zeros((0, 2))).astype(int)
    around = max(3 * GRID.sigma / 5.2 * plane.SIDE / 2, 2.5)
    for mean in GRID.means:
        y, x = np.mgrid[: plane.SIDE, : plane.SIDE] + 0.5
        distance = np.hypot(
            x - (1 + mean[0] / 5.2) * plane.SIDE / 2, y - (1 - mean[1] / 5.2) * plane.SIDE / 2
        )
        dark = drawn[: plane.SIDE].max(-1) < 200
        near = dark & (distance < 12)
        assert near.sum() > 8 and np.abs(distance[near] - around).max() < 1.2


def test_dots_lie_where_they_are_put():
    at = np.array([[3.0, 4.3], [-3.1, -2.9]])
    changed = np.argwhere((picture(at) != picture(np.zeros((0, 2)))).any(-1))  # (line, column)
    expected = [((1 - y / 5.2) * 160, (1 + x / 5.2) * 160) for x, y in at]
    assert all(min(math.dist(pixel + 0.5, e) for e in expected) < 2.5 for pixel in changed)
    assert all(min(math.dist(pixel + 0.5, e) for pixel in changed) < 1.5 for e in expected)


def test_the_caption_stands_below():
    empty, said = picture(np.zeros((0, 2))), picture(np.zeros((0, 2)), caption=("step 7", "3/25 modes", "9%"))
    assert empty.shape == (plane.SIDE + plane.CAPTION, plane.SIDE, 3) and empty.dtype == np.uint8
    assert (empty[: plane.SIDE] == said[: plane.SIDE]).all()
    columns = np.nonzero((empty != said).any((0, 2)))[0]
    for third in range(3):
        assert ((columns >= third * plane.SIDE // 3) & (columns < (third + 1) * plane.SIDE // 3)).any()


def test_points_at_infinity_are_not_drawn():
    wild = np.array([[np.nan, 0.0], [np.inf, 1.0], [1e30, 0.0], [11.0, 0.0]])
    assert (picture(wild) == picture(np.zeros((0, 2)))).all()
    nothing = plane.draw_scatter(np.full((1, 3, 2), 1e30), GRID.means)
    assert (plane.draw_scatter(np.full((1, 3, 2), np.nan), GRID.means) == nothing).all()
    silent = Says(lambda p: p[:, 0] * np.nan)
    assert (plane.belief_field(silent, objectives.Hinge(), torch.zeros(4, 2), GRID.samples, 5.2) == 0).all()


def test_a_scatter_has_its_points_now_in_full_colour_and_a_trail_that_fades():
    way = np.linspace([-3, 1], [3, 1], 13)[:, None]  # (T, one walk, 2), to the right
    drawn = plane.draw_scatter(way, GRID.means).astype(int)
    assert drawn.shape == (plane.SCATTER, plane.SCATTER, 3)
    ink = 255 - drawn[pixel(0, 1)[0] * plane.SCATTER // plane.SIDE, :, 0]  # along the trail
    at = [int((1 + x / 5.2) * plane.SCATTER / 2) for x in (-3.5, -2.5, -1, 1, 2.5, 3, 3.5)]
    assert ink[at[0]] == ink[at[-1]] == 0
    assert (np.diff(ink[at[:-1]]) >= 0).all() and 0 < ink[at[2]] < ink[at[3]] < ink[at[5]]
    assert tuple(drawn[pixel(3, 1)[0] * plane.SCATTER // plane.SIDE, at[5]]) == (31, 90, 165)
    assert plane.draw_scatter(way, GRID.means, scale=2).shape == (512, 512, 3)


def test_looking_leaves_no_trace_in_the_networks_or_the_random_state():
    parts = {"norm": "spectral", "minibatch_discrimination": True, "noise": 0.1, "dropout": 0.5}
    discriminator = Discriminator(width=8, **parts)
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    rng = torch.get_rng_state()
    fields = [
        plane.belief_field(discriminator, objectives.NonSaturating(), torch.zeros(9, 2), GRID.samples, 5.2)
        for _ in range(2)
    ]
    assert np.array_equal(*fields) and torch.equal(rng, torch.get_rng_state()) and discriminator.training
    assert all(torch.equal(before[name], value) for name, value in discriminator.state_dict().items())


def test_a_place_is_judged_alone_where_d_compares_the_samples_of_a_batch():
    discriminator = Discriminator(width=8, minibatch_discrimination=True).eval()
    field = plane.belief_field(
        discriminator, objectives.NonSaturating(), torch.zeros(9, 2), GRID.samples, 5.2
    )
    with torch.no_grad():
        for row, column in ((0, 0), (17, 60)):
            place = torch.tensor([[grid[row, column] for grid in places(5.2)]], dtype=torch.float32)
            assert field[row, column] == pytest.approx(
                float(torch.tanh(discriminator(place).scores / 2)), abs=1e-5
            )


# ---------------------------------------------------------------- what is counted


class Moves(nn.Module):
    """G(z) = f(z): the points that f makes of the latents."""

    def __init__(self, f):
        super().__init__()
        self.f, self.anchor = f, nn.Parameter(torch.zeros(1))

    def forward(self, z):
        return self.f(z)


def test_the_data_itself_covers_every_mode_and_a_collapsed_generator_one():
    z = torch.from_numpy(GRID.samples)
    row = measure_coverage(Moves(lambda z: z), Moves(lambda z: z * 0 + 2), z, GRID)
    assert row["modes"] == 25 and abs(row["high_quality"] - (1 - math.exp(-4.5))) < 0.01
    assert 0 <= row["reverse_kl"] < 0.01
    assert row["average_modes"] == 1 and row["average_high_quality"] == 1
    assert row["average_reverse_kl"] == pytest.approx(math.log(25))


def test_points_at_infinity_are_not_counted():
    wild = torch.tensor([[np.nan, 0.0], [np.inf, 1.0], [1e30, 0.0], [0.0, 0.0]])
    same = Moves(lambda z: z)
    assert measure_coverage(same, same, wild, GRID)["high_quality"] == 0.25


# ---------------------------------------------------------------- the film


@pytest.mark.parametrize("steps", [1, 60, 100, 128, 500, 10_000, 1_000_000])
def test_frames_are_at_equal_steps_64_to_128_of_them_and_a_longer_run_keeps_to_them(tmp_path, steps):
    film, longer = Film(tmp_path, 0, steps), Film(tmp_path, 0, 7 * steps)
    assert steps / film.every <= 128 and (steps / film.every >= 64 or film.every == 1)
    assert longer.every % film.every == 0


SMALL = "--width 8 --batch-size 16 --log-every 3 --sample-every 6 --checkpoint-every 6 --no-walk".split()


def run(folder: Path, *more: str) -> dict[str, bytes]:
    """Everything that a run shows, without the one number that is about the machine."""
    assert main([*more, "--data", "ring8", *SMALL] if "--resume" not in more else [*more]) == 0
    pictures = [path for path in folder.rglob("*") if path.suffix in (".png", ".gif", ".npz")]
    shown = {str(path.relative_to(folder)): path.read_bytes() for path in pictures}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["images_per_second"]
    shown["metrics"] = json.dumps(rows).encode()
    return {name: content for name, content in shown.items() if name != "curves.png"}


@pytest.mark.full
def test_a_run_leaves_a_film_and_one_cut_in_two_leaves_the_same(tmp_path):
    # The recipe has no schedule, which would follow the length of the first half.
    whole = run(tmp_path / "a", "--out", str(tmp_path / "a"), "--recipe", "dcgan", "--steps", "12")
    run(tmp_path / "b", "--out", str(tmp_path / "b"), "--recipe", "dcgan", "--steps", "6")
    late = tmp_path / "b" / "frames" / "000011.png"  # as if the run had died past its checkpoint
    late.write_bytes(b"of another life")
    halves = run(tmp_path / "b", "--resume", str(tmp_path / "b"), "--steps", "12")
    assert whole.keys() == halves.keys() and "training.gif" in whole
    assert [name for name in whole if whole[name] != halves[name]] == []
    assert len(list((tmp_path / "a" / "frames").iterdir())) == 13  # the start, and each step
    with Image.open(tmp_path / "a" / "training.gif") as film:
        assert film.n_frames >= 13 and film.size == (plane.SIDE, plane.SIDE + plane.CAPTION)
    for row in json.loads(whole["metrics"]):
        assert {"modes", "high_quality", "reverse_kl", "average_modes"} <= row.keys()


@pytest.mark.parametrize("name", MIXTURES)
def test_looking_at_a_run_does_not_change_it(name):
    weights = []
    for look in (False, True):
        settings = {"width": 8, "batch_size": 16, "minibatch_discrimination": True}
        config, dataset = choose_settings(Config(data=name, device="cpu", **settings))
        run = Run(config, dataset)
        z = run.numbered_z(100)
        for _ in range(3):
            play_round(run)
            if look:
                draw_sample_page(run.game, dataset, run.sampling_generator(), z)
                measure_coverage(run.game.g.module, run.average.module, z, dataset)
        both = run.game.d.parameters + run.game.g.parameters
        weights.append(torch.cat([p.detach().flatten() for p in both]))
    assert torch.equal(*weights)
