"""The plane: the picture shows where things are, the counts what is there, the film the whole run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_ref import plane
from gan_ref.config import Config
from gan_ref.data.mixtures import MIXTURES, mixture
from gan_ref.networks.mlp import Discriminator, Generator
from gan_ref.networks.output import Output
from gan_ref.techniques import objectives
from gan_ref.train import main
from gan_ref.training import Run, settle

GRID = mixture("grid25", seed=0, points=5000)


class Says(nn.Module):
    """D(x) = f(x)."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return Output(self.f(x), x)


class Always(nn.Module):
    """G(z) = the same points, whatever z."""

    def __init__(self, points):
        super().__init__()
        self.points = torch.as_tensor(points, dtype=torch.float32)

    def forward(self, z):
        return self.points


# ---------------------------------------------------------------- what is drawn


def test_the_field_is_what_d_believes_at_each_place_with_x_to_the_right_and_y_upwards():
    for axis, belief in ((0, lambda x, y: x), (1, lambda x, y: y)):
        says = Says(lambda p: p[:, axis])
        field = plane.field(says, objectives.NonSaturating(), torch.zeros(4, 2), GRID, 5.2)
        x = (np.arange(plane.SIDE) + 0.5) * 10.4 / plane.SIDE - 5.2
        expected = np.tanh(belief(*np.meshgrid(x, -x)) / 2)
        assert np.abs(field - expected).max() < 0.02


def test_a_critic_has_no_zero_and_its_field_is_read_from_halfway_between_reals_and_fakes():
    def score(p):
        return 1000 + 3 * p[:, 0]

    fake = torch.tensor([[4.0, 0.0]]).expand(100, 2)  # reals have mean 0: halfway lies x = 2
    field = plane.field(Says(score), objectives.Wasserstein(), fake, GRID, 5.2)
    columns = (np.arange(plane.SIDE) + 0.5) * 10.4 / plane.SIDE - 5.2
    crossing = columns[np.abs(field).mean(0).argmin()]
    assert abs(crossing - 2 - GRID.samples[:100, 0].mean() / 2) < 0.1


def test_dots_lie_where_g_puts_them():
    at = np.array([[2.0, 4.0], [-4.0, -2.0]])
    empty, full = (
        plane.picture(Always(points), Says(lambda p: p[:, 0] * 0), objectives.NonSaturating(), None, GRID, 0)
        for points in (np.full((2, 2), 99.0), at)
    )
    changed = np.argwhere((empty != full).any(-1)[: plane.SIDE])  # (line, column)
    expected = [((1 - y / 5.2) * 160, (1 + x / 5.2) * 160) for x, y in at]
    assert all(min(math.dist(pixel + 0.5, e) for e in expected) < 2.5 for pixel in changed)
    assert all(min(math.dist(pixel + 0.5, e) for pixel in changed) < 1.5 for e in expected)


def test_a_picture_leaves_no_trace_in_the_networks_or_the_random_state():
    generator = Generator(width=8, latent_dim=4)
    parts = {"norm": "spectral", "minibatch_discrimination": True, "noise": 0.1, "dropout": 0.5}
    discriminator = Discriminator(width=8, **parts)
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    rng = torch.get_rng_state()
    z = torch.zeros(10, 4)
    pictures = [
        plane.picture(generator, discriminator, objectives.NonSaturating(), z, GRID, 7) for _ in range(2)
    ]
    assert np.array_equal(*pictures) and pictures[0].shape == (plane.SIDE + plane.CAPTION, plane.SIDE, 3)
    assert torch.equal(rng, torch.get_rng_state()) and generator.training and discriminator.training
    assert all(torch.equal(before[name], value) for name, value in discriminator.state_dict().items())


def test_points_at_infinity_are_not_drawn_and_not_counted():
    wild = torch.tensor([[np.nan, 0.0], [np.inf, 1.0], [1e30, 0.0], [0.0, 0.0]])
    plane.picture(Always(wild), Says(lambda p: p[:, 0] * np.nan), objectives.Hinge(), None, GRID, 0)
    assert plane.coverage(Always(wild), None, GRID).high_quality == 0.25


# ---------------------------------------------------------------- what is counted


def test_the_data_itself_covers_every_mode_and_a_collapsed_generator_one():
    row = plane.scores(Always(GRID.samples), Always(np.full((100, 2), 2.0)), None, GRID)
    assert row["modes"] == 25 and abs(row["high_quality"] - (1 - math.exp(-4.5))) < 0.01
    assert 0 <= row["reverse_kl"] < 0.01
    assert row["average_modes"] == 1 and row["average_high_quality"] == 1
    assert row["average_reverse_kl"] == pytest.approx(math.log(25))


# ---------------------------------------------------------------- the film


@pytest.mark.parametrize("steps", [1, 60, 100, 128, 500, 10_000, 1_000_000])
def test_frames_are_at_equal_steps_64_to_128_of_them_and_a_longer_run_keeps_to_them(tmp_path, steps):
    film, longer = plane.Film(tmp_path, 0, steps), plane.Film(tmp_path, 0, 7 * steps)
    assert steps / film.every <= 128 and (steps / film.every >= 64 or film.every == 1)
    assert longer.every % film.every == 0


SMALL = "--width 8 --batch-size 16 --log-every 3 --sample-every 6 --checkpoint-every 6 --no-walk".split()


def run(folder: Path, *more: str) -> dict[str, bytes]:
    """Everything that a run shows, without the one number that is about the machine."""
    assert main([*more, "--data", "ring8", *SMALL] if "--resume" not in more else [*more]) == 0
    pictures = [path for path in folder.rglob("*") if path.suffix in (".png", ".gif")]
    shown = {str(path.relative_to(folder)): path.read_bytes() for path in pictures}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["images_per_second"]
    shown["metrics"] = json.dumps(rows).encode()
    return {name: content for name, content in shown.items() if name != "curves.png"}


def test_a_run_leaves_a_film_and_one_cut_in_two_leaves_the_same(tmp_path):
    whole = run(tmp_path / "a", "--out", str(tmp_path / "a"), "--steps", "12")
    run(tmp_path / "b", "--out", str(tmp_path / "b"), "--steps", "6")
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
        config, dataset = settle(Config(data=name, device="cpu", **settings))
        game = Run(config, dataset)
        for _ in range(3):
            d, g = game.update(game.game, game.balance, game.draw)
            game.game.end_round(d, g)
            if look:
                game.picture(), game.scores()
        both = game.game.d.parameters + game.game.g.parameters
        weights.append(torch.cat([p.detach().flatten() for p in both]))
    assert torch.equal(*weights)
