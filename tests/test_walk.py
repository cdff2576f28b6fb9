"""A walk is a closed curve in latent space, and its movie shows it without a stutter."""

import dataclasses
import itertools
import math
import os
import weakref
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_ref.commands import sample, walk
from gan_ref.commands.command_line import output_file
from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.latents import paths
from gan_ref.latents.directions import strongest_dimensions
from gan_ref.latents.numbers import load_z, numbered_z, save_z
from gan_ref.latents.samples import draw_samples
from gan_ref.pictures import pages, plane

Z = 100


class Disc(nn.Module):
    """z → a disc: z₀, z₁ place it, z₂… colour it and the background. Any size of image."""

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.shape = channels, height, width
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        channels, height, width = self.shape
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        distance = ((x - z[:, 0, None, None].tanh()) ** 2 + (y - z[:, 1, None, None].tanh()) ** 2).sqrt()
        inside = torch.sigmoid((0.5 - distance) * 8)[:, None]
        front, back = z[:, 2 : 2 + channels, None, None].tanh(), z[:, 5 : 5 + channels, None, None].tanh()
        return inside * front + (1 - inside) * back


def discs(channels: int = 3, height: int = 16, width: int = 16) -> SimpleNamespace:
    """What `checkpoint.load_generator` returns, as far as a walk looks at it."""
    config = Config(data="faces", image_size=16, latent_dim=Z, seed=3)
    shape = channels, height, width
    return SimpleNamespace(config=config, module=Disc(*shape), shape=shape, classes=())


def points() -> SimpleNamespace:
    module = nn.Linear(Z, 2, bias=False)
    nn.init.constant_(module.weight, 0.1)
    config = Config(data="ring8", latent_dim=Z, seed=3)
    return SimpleNamespace(config=config, module=module, shape=(2,), classes=())


def axes(path: str, *dimensions: int, latent_dim: int = Z) -> Tensor | None:
    """The directions that a dimension path sweeps: axes of latent space."""
    return torch.eye(latent_dim)[list(dimensions)] if path in paths.SWEEPS else None


def loop(path: str, frames: int, **options) -> Tensor:
    """The z of a whole movie of one walk, (frames, Z) in float64."""
    curve = paths.walks(path, Z, 1, 1, keyframes=5, directions=axes(path, 3), **options)
    return curve(torch.arange(frames, dtype=torch.float64) / frames)[:, 0]


def steps(z: Tensor) -> Tensor:
    """‖z(n+1) − z(n)‖ for every frame n; the last is the step from the last frame to the first."""
    return (z.roll(-1, 0) - z).norm(dim=1)


def angles(a: Tensor, b: Tensor) -> Tensor:
    return torch.acos((torch.nn.functional.cosine_similarity(a, b, dim=-1)).clamp(-1, 1))


# ---------------------------------------------------------------- paths


def test_slerp_is_shoemakes_formula_on_the_sphere():
    a, b = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    a, b = a / a.norm(), b / b.norm()
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    theta = torch.acos(a @ b)
    published = torch.sin((1 - t) * theta)[:, None] * a + torch.sin(t * theta)[:, None] * b
    torch.testing.assert_close(paths.slerp(a, b, t), published / torch.sin(theta), rtol=0, atol=1e-12)


def test_slerp_turns_at_constant_speed_while_the_norm_goes_linearly():
    a, b = torch.randn(2, Z, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    a = 3 * a
    t = torch.linspace(0, 1, 41, dtype=torch.float64)
    z = paths.slerp(a, b, t)
    torch.testing.assert_close(z[0], a)
    torch.testing.assert_close(z[-1], b)
    torch.testing.assert_close(angles(z[1:], z[:-1]), (angles(a, b) / 40).expand(40), rtol=1e-6, atol=0)
    torch.testing.assert_close(z.norm(dim=1), (1 - t) * a.norm() + t * b.norm())


@pytest.mark.parametrize("factor", [1.0, 2.5, 1 + 1e-13, -1.0, -0.3])
@pytest.mark.parametrize("nudge", [0.0, 1e-16, 1e-9, 1e-5])
def test_slerp_between_parallel_or_opposite_ends_is_still_a_path(factor, nudge):
    a = torch.randn(Z, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    b = factor * a
    b[0] += nudge
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    z = paths.slerp(a, b, t)
    assert z.isfinite().all()
    torch.testing.assert_close(z[[0, -1]], torch.stack([a, b]), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.norm(dim=1), (1 - t) * a.norm() + t * b.norm())
    assert (z[1:] - z[:-1]).norm(dim=1).max() < 0.06 * a.norm()  # no jump: π/100 of turn, 1.5/100 of growth


def test_a_line_leaves_the_sphere_that_samples_live_on_and_slerp_does_not():
    between = [(k + 0.5) / 5 for k in range(5)]
    t = torch.tensor(between, dtype=torch.float64)
    assert (paths.walks("linear", Z, 1, 1, keyframes=5)(t).norm(dim=-1) < 8.5).all()
    assert (paths.walks("slerp", Z, 1, 1, keyframes=5)(t).norm(dim=-1) > 8.5).all()


def test_a_circle_is_seamless():
    z = loop("circle", 90)
    torch.testing.assert_close(z.norm(dim=1), z[0].norm().expand(90))
    torch.testing.assert_close(steps(z), (2 * math.sin(math.pi / 90) * z[0].norm()).expand(90))
    torch.testing.assert_close(z[45], -z[0])


def test_a_dimension_walk_moves_one_coordinate_there_and_back():
    z = loop("dimension", 50, span=(-2.0, 4.0))
    others = [i for i in range(Z) if i != 3]
    assert (z[:, others] == z[0, others]).all()
    assert z[0, 3] == -2 and z[25, 3] == pytest.approx(4)
    torch.testing.assert_close(z[1:, 3], z[1:, 3].flip(0))  # back as it went
    assert (z[:26, 3].diff() > 0).all()


@pytest.mark.parametrize("path", ["slerp", "linear"])
def test_a_walk_through_keyframes_visits_each_and_returns(path):
    z = loop(path, 60)
    torch.testing.assert_close(z[::12], numbered_z(0, range(5), Z).double())


@pytest.mark.parametrize("path", ["slerp", "linear"])
def test_the_cells_at_a_stop_are_a_page_of_numbered_z(path):
    curve = paths.walks(path, Z, 2, 3, seed=9, keyframes=4)
    z = torch.cat(list(paths.frame_latents(curve, 20))).view(20, 6, Z)
    assert torch.equal(z[::5].flatten(0, 1), numbered_z(9, range(24), Z))
    for other in (
        "circle",
        "dimension",
    ):  # these begin with a page too; a sweep replaces one coordinate of it
        first = next(paths.frame_latents(paths.walks(other, Z, 1, 3, directions=axes(other, 7)), 8))[:3]
        still = [i for i in range(Z) if i != 7 or other == "circle"]
        torch.testing.assert_close(first[:, still], numbered_z(0, range(3), Z)[:, still])


def test_a_walk_through_picks_is_at_each_in_turn_and_every_cell_begins_at_the_next():
    picks = numbered_z(0, (3, 17, 42), Z)
    z = torch.cat(list(paths.frame_latents(paths.walks("slerp", Z, 1, 2, picks=picks), 12))).view(12, 2, Z)
    assert torch.equal(z[::4, 0], picks) and torch.equal(z[::4, 1], picks[[1, 2, 0]])
    each = list(paths.frame_latents(paths.walks("slerp", Z, 1, 1, picks=numbered_z(1, range(300), Z)), 300))
    assert torch.equal(torch.cat(each), numbered_z(1, range(300), Z))  # as many frames as picks: each a frame


def test_psi_shortens_z_towards_the_mean():
    whole, half = loop("slerp", 30), loop("slerp", 30, psi=0.5)
    torch.testing.assert_close(half, whole / 2)
    assert loop("slerp", 30, psi=0.0).norm() == 0


@pytest.mark.parametrize("ease", paths.EASES)
def test_a_walk_without_a_loop_ends_at_its_last_stop(ease):
    curve = dataclasses.replace(paths.walks("slerp", Z, 1, 1, keyframes=3), ease=ease, loop=False)
    z = torch.cat(list(paths.frame_latents(curve, 21)))
    assert torch.equal(z[::10], numbered_z(0, range(3), Z))


def test_a_walk_stands_still_at_each_stop_for_as_long_as_asked():
    for closed, frames in ((True, 3 * 12), (False, 3 * 4 + 2 * 8 + 1)):
        moments = frames if closed else frames - 1
        curve = dataclasses.replace(
            paths.walks("slerp", Z, 1, 1, keyframes=3), ease="smooth", hold=4 / moments, loop=closed
        )
        z = torch.cat(list(paths.frame_latents(curve, frames)))
        still = (z.diff(dim=0).norm(dim=1) == 0).nonzero()[:, 0].tolist()
        assert still == [12 * k + i for k in range(3) for i in range(4)]  # 4 steps of standing, 8 of moving


def test_eases_begin_at_one_stop_and_end_at_the_next():
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    for name, ease in paths.EASES.items():
        v = ease(u)
        assert v[0] == 0 and v[-1] == 1 and (v.diff() >= 0).all(), name
    smooth = paths.EASES["smooth"](u)
    assert smooth[1] < 0.1 * u[1] and smooth[50] == pytest.approx(0.5)  # no speed at the stop
    assert (paths.EASES["hold"](u)[:-1] == 0).all()


def test_the_dimensions_that_move_the_picture_most_are_found():
    """Of a disc z₀ and z₁ are its place, z₂ to z₄ and z₅ to z₇ its colours; no other one counts."""
    assert set(strongest_dimensions(discs(), 8, 0, (-3, 3))) == set(range(8))
    assert set(strongest_dimensions(discs(), 3, 0, (-3, 3))) == {5, 6, 7}  # the background has most pixels
    assert len(strongest_dimensions(discs(), 500, 0, (-3, 3))) == Z


@pytest.mark.parametrize("frames", [60, 61, 240])
@pytest.mark.parametrize("path", paths.PATHS)
def test_the_step_from_the_last_frame_to_the_first_is_a_step_like_any_other(path, frames):
    z = loop(path, frames)
    step = steps(z)
    assert step[-1] > 0 and step[0] > 0  # the first frame is not repeated at the end
    if path in paths.SWEEPS:  # slow near its ends: the step over the seam is the one on the seam's other side
        assert step[-1] == pytest.approx(step[0].item(), rel=1e-9)
    else:
        ordinary = step[-3].item()  # in the same segment as the seam
        assert step[-1] == pytest.approx(ordinary, rel=0.02)
        # Straight lines between independent samples meet at 60°: a step around that corner is half as long.
        assert step.min() > 0.4 * ordinary and step.max() < 1.5 * ordinary


def test_rows_are_dimensions_and_columns_are_bases():
    z = paths.walks("dimension", Z, 2, 3, directions=axes("dimension", 25, 75))(
        torch.tensor([0.0, 0.5], dtype=torch.float64)
    )
    z = z.view(2, 2, 3, Z)  # instant, row, column
    still = [i for i in range(Z) if i not in (25, 75)]
    assert (z[..., still] == z[:1, :1][..., still]).all()
    assert not torch.equal(z[0, 0, 0], z[0, 0, 1])
    assert (z[0, 0, :, 25] == -3).all() and (z[1, 1, :, 75] == 3).all()
    assert (z[1, 0, :, 75] == z[0, 0, :, 75]).all()


def test_latents_in_pieces_are_the_latents_of_the_whole():
    curve = paths.walks("slerp", Z, 2, 2)
    pieces = list(paths.frame_latents(curve, 37))
    assert max(len(piece) for piece in pieces) <= 4 * paths.CHUNK
    t = torch.arange(37, dtype=torch.float64) / 37
    torch.testing.assert_close(torch.cat(pieces), curve(t).flatten(0, 1).float())


def test_one_latent_dimension_is_enough():
    for path in paths.PATHS:
        t = torch.linspace(0, 0.99, 50, dtype=torch.float64)
        assert paths.walks(path, 1, 1, 1, directions=axes(path, 0, latent_dim=1))(t).isfinite().all()


# ---------------------------------------------------------------- movies


@pytest.mark.parametrize("path", paths.PATHS)
@pytest.mark.parametrize("suffix", ["gif", "mp4", "apng"])
def test_a_movie_has_the_frames_and_the_size_asked_for(tmp_path, path, suffix):
    out = tmp_path / f"walk.{suffix}"
    options = {"dimension": (0, 1)} if path == "dimension" else {}
    said = walk.render(discs(), out, path, frames=19, grid=(2, 3), scale=2, **options)
    back = np.stack([frame[..., :3] for frame in iio.imiter(out)])  # Pillow gives some of a GIF's an alpha
    assert back.shape == (19, 2 * 16 * 2, 3 * 16 * 2, 3)
    assert said.startswith(f"{out}: 19 frames of 96x64, 0.8 s")
    assert np.abs(np.diff(back.astype(int), axis=0)).mean() > 0.5  # it moves


def test_a_movie_of_odd_size_and_of_gray_images(tmp_path):
    walk.render(discs(1, 15, 17), tmp_path / "a.gif", frames=3, grid=(1, 1))
    walk.render(discs(1, 15, 17), tmp_path / "a.mp4", frames=3, grid=(1, 1))
    assert iio.imread(tmp_path / "a.gif").shape == (3, 15, 17, 3)
    assert iio.imread(tmp_path / "a.mp4").shape == (3, 16, 18, 3)


def test_each_cell_of_the_movie_is_its_own_walk(tmp_path):
    curve = paths.walks("slerp", Z, 2, 2)
    frames = np.stack(list(walk.draw_frames(discs(), curve, 12, (2, 2))))
    for w in range(4):  # its stops are number w, w + 4, w + 8, …
        picks = numbered_z(0, range(w, 24, 4), Z)
        alone = walk.draw_frames(discs(), paths.walks("slerp", Z, 1, 1, picks=picks), 12, (1, 1))
        y, x = (16 * k for k in divmod(w, 2))
        assert (frames[:, y : y + 16, x : x + 16] == np.stack(list(alone))).all()


def test_pages_samples_and_walks_show_the_same_picture_by_the_same_number(tmp_path):
    """(Training pages show these too: test_sample.py.)"""
    said = walk.render(discs(), through=(3, 17, 42), frames=9, frames_dir=tmp_path / "walk")
    assert said.startswith(f"{tmp_path / 'walk'}: 9 frames of 16x16, 0.4 s at 25")
    assert sorted(os.listdir(tmp_path / "walk")) == [f"{n:06d}.png" for n in range(9)]
    sample.write(discs(), each=tmp_path / "each", only=(3, 17, 42), save_z_to=tmp_path / "picks.npy")
    walk.render(
        discs(),
        tmp_path / "z.apng",
        picks=(torch.from_numpy(np.load(tmp_path / "picks.npy")), "abc"),
        frames=9,
    )
    movie = np.stack(list(iio.imiter(tmp_path / "z.apng")))
    for n, number in ((0, 3), (3, 17), (6, 42)):
        picture = np.asarray(Image.open(tmp_path / "each" / f"{number:06d}.png"))
        assert (np.asarray(Image.open(tmp_path / "walk" / f"{n:06d}.png")) == picture).all()
        assert (movie[n][..., :3] == picture).all()
    walk.render(discs(), frames=12, grid=(2, 2), frames_dir=tmp_path / "page")
    page = pages.grid(draw_samples(discs(), 4, seed=3), 2, 2)  # 3 is the run's own seed
    assert (np.asarray(Image.open(tmp_path / "page" / "000000.png")) == page).all()


def test_captions_name_the_nearest_stop_and_leave_the_pictures_as_they_are(tmp_path):
    options = {"through": (3, 17, 42), "frames": 12, "scale": 2}
    walk.render(discs(), frames_dir=tmp_path / "plain", **options)
    walk.render(discs(), frames_dir=tmp_path / "named", captions=True, **options)
    plain, named = (
        np.stack([np.asarray(Image.open(tmp_path / name / f"{n:06d}.png")) for n in range(12)])
        for name in ("plain", "named")
    )
    assert (named[:, :32] == plain).all() and named.shape[1] == 32 + pages.LABEL
    strips = [named[n, 32:] for n in range(12)]
    expected = pages.label(plain[:3], (3, 17, 42))[:, 32:]
    for n, word in enumerate((0, 0, None, 1, 1, 1, None, 2, 2, 2, None, 0)):
        if word is not None:  # it is half-way from one to the next
            assert (strips[n] == expected[word]).all(), n


def test_smooth_scale_interpolates_where_scale_repeats(tmp_path):
    for name, options in (("exact", {"scale": 4}), ("smooth", {"smooth_scale": 4})):
        walk.render(discs(), frames=2, grid=(1, 1), frames_dir=tmp_path / name, **options)
    exact, smooth = (
        np.asarray(Image.open(tmp_path / name / "000000.png")).astype(int) for name in ("exact", "smooth")
    )
    assert exact.shape == smooth.shape == (64, 64, 3)
    assert np.abs(np.diff(smooth, axis=1)).max() < 0.6 * np.abs(np.diff(exact, axis=1)).max()
    assert np.abs(smooth - exact).mean() < 12


def test_the_same_seed_is_the_same_movie_and_another_is_another(tmp_path):
    films = []
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        walk.render(discs(), tmp_path / f"{name}.gif", frames=6, grid=(1, 1), seed=seed)
        films.append((tmp_path / f"{name}.gif").read_bytes())
    assert films[0] == films[1] != films[2]


def test_points_move_in_one_picture_with_their_trail_and_loop_too(tmp_path):
    said = walk.render(points(), tmp_path / "p.gif", "circle", frames=5)
    assert "5 frames of 256x256" in said
    with Image.open(tmp_path / "p.gif") as gif:
        assert gif.n_frames == 5
    curve = paths.walks("circle", Z, 1, 1)
    frames = np.stack(list(walk.draw_frames(points(), curve, 30, (1, 1)))).astype(int)
    change = np.abs(np.diff(frames, axis=0, append=frames[:1])).sum(axis=(1, 2, 3))
    assert change[-1] < 2 * np.median(change)  # the first frame has the trail of the loop's end


@pytest.mark.parametrize("path", paths.SWEEPS)
def test_points_can_be_swept_too(tmp_path, path):
    assert "3 frames of 256x256" in walk.render(points(), tmp_path / "a.gif", path, frames=3, grid=(2, 5))


@pytest.mark.parametrize("make", [discs, points])
@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_few_frames_and_latents_live_at_any_moment(tmp_path, monkeypatch, make, suffix):
    """benchmarks/walk.py measures the memory itself, of this process and of ffmpeg, over 10,000 frames."""
    most = {"frames": 0, "latents": 0}

    def counted(kind: str, function):
        alive = weakref.WeakValueDictionary()
        numbers = itertools.count()

        def call(*args, **kwargs):
            made = function(*args, **kwargs)
            alive[next(numbers)] = made
            most[kind] = max(most[kind], len(alive))
            return made

        return call

    room, name = (pages, "grid") if make is discs else (plane, "draw_scatter")
    monkeypatch.setattr(room, name, counted("frames", getattr(room, name)))
    monkeypatch.setattr(paths.Walk, "__call__", counted("latents", paths.Walk.__call__))
    walk.render(make(), tmp_path / f"a.{suffix}", frames=4 * paths.CHUNK, grid=(1, 1))
    assert 1 <= most["frames"] <= 3 and 1 <= most["latents"] <= 2  # the latter of CHUNK frames each


# ---------------------------------------------------------------- the command


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file").touch()
    for name, says in [("a.avi", "gif or .mp4"), ("a", "gif or .mp4"), ("folder.gif", "is a folder"),
                       ("file/a.gif", "cannot write in")]:  # fmt: skip
        with pytest.raises(UserError, match=says):
            output_file(tmp_path / name, (".gif", ".mp4"))
    assert output_file(tmp_path / "new" / "A.GIF", (".gif", ".mp4")).name == "A.GIF"
    assert not (tmp_path / "new").exists()


def run(monkeypatch, *argv: str) -> int:
    monkeypatch.setattr(walk, "load_generator", lambda path, device: discs())
    return walk.main(["run", "--device", "cpu", *argv])


def test_the_command_makes_the_movie_and_says_where(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "new" / "walk.gif")
    assert run(monkeypatch, "--out", out, "--frames", "5", "--grid", "1x2", "--fps", "30") == 0
    said = "5 frames of 32x16, 0.1 s at 33.33 frames a second, a GIF's nearest to 30"
    assert capsys.readouterr().out == f"{out}: {said}\n"
    assert os.listdir(tmp_path / "new") == ["walk.gif"]


def test_dimensions_mean_a_dimension_path_with_a_row_each(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "walk.gif")
    assert run(monkeypatch, "--out", out, "--frames=4", "--dimension=25,50,75", "--span", "-2", "2") == 0
    assert "of 64x48" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, says",
    [
        (["--out", "a.avi"], "must end in .gif or .mp4"),
        (["--out", "n" * 250 + ".gif"], "--out nnn"),
        (["--grid", "32x32", "--frames", "9999", "--keyframes", "9999"], "over 1 GB: lower --grid"),
        (["--frames", "1"], "--frames must be from 2"),
        (["--frames", "-5"], "--frames must be from 2"),
        (["--frames", "10000000"], "--frames must be from 2"),
        (["--fps", "0"], "--fps must be from 1"),
        (["--fps", "nan"], "--fps must be from 1"),
        (["--keyframes", "1"], "--keyframes must be from 2"),
        (["--keyframes", "500"], "--keyframes must be from 2 to 240"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--scale", "0"], "--scale must be from 1"),
        (["--scale", "200"], "lower --scale or --grid"),
        (["--grid", "100x100"], "its number of walks"),
        (["--path", "circle", "--no-loop"], "leave out --no-loop"),
        (["--path", "circle", "--through", "1,2"], "belong to --path slerp"),
        (["--through", "1"], "must be from 2"),
        (["--through", "1,x"], "as in 25,50,75"),
        (["--through", "1,-2"], "--through must be from 0"),
        (["--through", "1,2", "--z", "a.npy"], "give one of them"),
        (["--through", "1,2", "--keyframes", "4"], "leave out --keyframes"),
        (["--z", "none.npy"], "cannot read none.npy"),
        (["--between", "none.jpg,no.jpg"], "cannot read none.jpg"),
        (["--between", "a.jpg,b.jpg", "--through", "1,2"], "give one of them"),
        (["--hold", "-1"], "--hold -1"),
        (["--hold", "40"], "--hold 40 at 6 stops leaves no time"),
        (["--psi", "-1"], "--psi must be from 0"),
        (["--scale", "2", "--smooth-scale", "2"], "give one of them"),
        (["--smooth-scale", "0"], "--smooth-scale must be from 1"),
        (["--ease", "bounce"], "--ease"),
        (["--dimension", "100"], "--dimension must be from 0 to 99"),
        (["--dimension", "-1"], "--dimension must be from 0 to 99"),
        (["--dimension", "3", "--span", "2", "2"], "--span goes from a lower"),
        (["--dimension", "3", "--span", "nan", "2"], "--span goes from a lower"),
        (["--dimension", "3", "--grid", "2x2"], "--grid 1x2"),
        (["--dimension", "3", "--path", "circle"], "belongs to --path dimension"),
        (["--direction", "100"], "--direction must be from 0 to 99"),
        (["--direction", "0", "--path", "slerp"], "belongs to --path direction"),
        (["--direction", "0", "--dimension", "1"], "belongs to --path direction"),
        (["--factors"], "--factors belongs to"),
        (["--path", "spiral"], "--path"),
    ],
)
def test_a_senseless_option_gets_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, options, says):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *(["--out", "walk.gif"] + options)) == 2
    complaint = capsys.readouterr().err
    assert says in complaint and complaint.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("grid", ["0x3", "3", "axb", "-1x2", "3x4x5"])
def test_a_grid_is_rows_x_columns(monkeypatch, capsys, grid):
    assert run(monkeypatch, "--out", "walk.gif", f"--grid={grid}") == 2
    said = capsys.readouterr().err
    assert "as in 3x4" in said and said.count("\n") == 1


def test_a_checkpoint_that_is_not_there_gets_one_line(tmp_path, capsys):
    assert walk.main([str(tmp_path / "none.pt"), "--out", str(tmp_path / "walk.gif")]) == 2
    complaint = capsys.readouterr().err
    assert "none.pt" in complaint and complaint.count("\n") == 1 and os.listdir(tmp_path) == []


# ---------------------------------------------------------------- latents in files


def test_latents_come_back_from_a_file_as_they_were_saved(tmp_path):
    z = numbered_z(4, range(5), Z)
    save_z(tmp_path / "z.npy", z)
    assert torch.equal(load_z(tmp_path / "z.npy", Z), z)
    np.save(tmp_path / "double.npy", z.double().numpy())
    assert torch.equal(load_z(tmp_path / "double.npy", Z), z)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((3, 7)), r"float64 \(3, 7\)"),
        (np.zeros(Z), r"\(100,\)"),
        (np.zeros((0, Z)), r"\(0, 100\)"),
        (np.full((3, Z), np.nan), "NaN"),
        (np.full((3, Z), "x"), "<U1"),
        (np.full((3, Z), {}), "Python objects"),
        (b"not a file of numpy", "latents"),
    ],
)
def test_a_file_that_holds_no_latents_gets_one_line(tmp_path, values, says):
    path = tmp_path / "z.npy"
    path.write_bytes(values) if isinstance(values, bytes) else np.save(path, values)
    with pytest.raises(UserError, match=says) as caught:
        load_z(path, Z)
    assert "\n" not in str(caught.value)
