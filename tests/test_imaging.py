"""Pictures and movies: exact pixels, exact sizes, files that are whole or absent."""

from __future__ import annotations

import os
import stat
import struct

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_ref import imaging
from gan_ref.errors import UserError


def network(image_size: int = 32, seed: int = 0) -> nn.Module:
    """A DCGAN's generator in miniature, z (N, 20) → (N, 3, S, S), with batch-norm statistics that matter."""
    width = 32
    layers: list[nn.Module] = [nn.Unflatten(1, (20, 1, 1)), nn.ConvTranspose2d(20, width, 4)]
    for _ in range(image_size.bit_length() - 4):
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1)]
    module = nn.Sequential(*layers, nn.Tanh())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in module.parameters():
            parameter.data.normal_(0, 0.2)
        module.train()(torch.randn(64, 20))
    return module.eval()


def moving(frames: int, height: int, width: int) -> list[np.ndarray]:
    """A smooth picture with a bar that moves two pixels a frame."""
    y, x = np.mgrid[:height, :width]
    still = np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], axis=-1)
    bars = [((x - 2 * t) % width < 4)[..., None] for t in range(frames)]
    return [np.where(bar, 255, still).astype(np.uint8) for bar in bars]


def boxes(data: bytes) -> list[str]:
    """The names of an MP4's outermost boxes, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


# ---------------------------------------------------------------- pictures


def test_the_256_levels_are_evenly_spaced_and_out_of_range_is_clamped():
    x = torch.tensor([-5.0, -1.0, -1 + 2 / 255, 0.0, 1 - 2 / 255, 1.0, 5.0]).view(7, 1, 1, 1)
    assert imaging.to_uint8(x).ravel().tolist() == [0, 0, 1, 128, 254, 255, 255]


def test_every_level_survives_the_way_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1
    assert (imaging.to_uint8(x) == levels).all()


def test_a_grid_is_read_like_a_page():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    page = imaging.grid(images, 2, 3, gap=2, fill=99)
    assert page.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    for i in range(5):
        row, column = divmod(i, 3)
        assert (page[row * 6 : row * 6 + 4, column * 8 : column * 8 + 6] == i).all()
    assert (page[6:, 16:] == 99).all()  # no sixth image
    assert (page[4:6] == 99).all() and (page[:, 6:8] == 99).all()
    assert imaging.grid(images, 1, 5).shape == (4, 30, 3)
    with pytest.raises(ValueError, match="images"):
        imaging.grid(images, 2, 2)


def test_upscaling_repeats_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    big = imaging.upscale(image, 3)
    assert big.shape == (6, 6, 3)
    assert all((big[y, x] == image[y // 3, x // 3]).all() for y in range(6) for x in range(6))


def test_a_disc_covers_its_area_wherever_it_falls_between_pixels():
    for x in np.linspace(-0.5, 0.5, 7):
        cover = imaging.discs(np.array([[x, x / 3]]), 64, radius=5)
        assert cover.sum() == pytest.approx(np.pi * 25, rel=0.03)
        lines, columns = np.nonzero(cover)
        assert columns.mean() + 0.5 == pytest.approx((x + 1) * 32, abs=0.5)
        assert lines.mean() + 0.5 == pytest.approx((1 - x / 3) * 32, abs=0.5)  # y upwards


def test_a_point_far_outside_or_not_a_number_is_not_drawn():
    assert imaging.discs(np.array([[1e30, 0], [np.nan, 0], [0, -np.inf], [1.5, 0]]), 32, 3).sum() == 0


# ---------------------------------------------------------------- generation


@pytest.mark.parametrize("image_size", [16, 32, 64])
def test_a_picture_does_not_see_how_the_request_was_cut(image_size):
    module, z = network(image_size), torch.randn(75, 20, generator=torch.Generator().manual_seed(1))
    batch = imaging.forward_batch(image_size)

    def ask(*sizes: int) -> torch.Tensor:
        return torch.cat(list(imaging.forward(module, z.split(list(sizes)), batch)))

    whole = ask(75)
    assert whole.shape == (75, 3, image_size, image_size)
    for sizes in [(1,) * 75, (3, 64, 8), (74, 1), (32, 32, 11)]:
        assert torch.equal(ask(*sizes), whole)
    alone = [torch.cat(list(imaging.forward(module, [z[i : i + 1]], batch))) for i in (0, 40, 74)]
    assert torch.equal(torch.cat(alone), whole[[0, 40, 74]])  # beside copies of itself, in another row


def test_every_pass_has_the_same_shape_and_its_padding_is_not_seen():
    module, shapes = network(16), []
    module.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    made = list(imaging.forward(module, torch.randn(21, 20).split(4), batch=8))
    assert shapes == [(8, 20)] * 3 and [len(x) for x in made] == [8, 8, 5]


def test_generation_leaves_the_network_as_it_was():
    module = network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    images = list(imaging.generate(module, [torch.randn(5, 20)]))
    assert [image.shape for image in images] == [(5, 32, 32, 3)] and images[0].dtype == np.uint8
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]) and value.stride() == before[name].stride()


def test_generation_takes_only_what_it_needs_of_an_endless_stream():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield torch.zeros(8, 20)

    next(imaging.generate(network(), endless(), batch=16))
    assert len(taken) <= 3


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1)])
def test_a_png_holds_the_exact_pixels(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    imaging.write_png(tmp_path / "new" / "a.png", picture)
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")).reshape(shape) == picture).all()
    assert os.listdir(tmp_path / "new") == ["a.png"]


@pytest.mark.parametrize("size", [(48, 80), (33, 21), (34, 50)])
def test_an_mp4_has_every_frame_at_its_exact_size_and_plays_anywhere(tmp_path, size):
    frames = moving(23, *size)
    imaging.write_movie(tmp_path / "a.mp4", frames, fps=30)
    back = iio.imread(tmp_path / "a.mp4")
    height, width = (n + n % 2 for n in size)
    assert back.shape == (23, height, width, 3)
    # Chroma at half resolution blurs the bar's edges; the mean error stays small.
    assert np.abs(back[:, : size[0], : size[1]].astype(int) - np.stack(frames)).mean() < 6
    meta = iio.immeta(tmp_path / "a.mp4")
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and meta["fps"] == 30
    names = boxes((tmp_path / "a.mp4").read_bytes())
    assert names[0] == "ftyp" and names.index("moov") < names.index("mdat")


def test_an_mp4_keeps_its_colours(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 120), (0, 0, 0), (255, 255, 255)]
    imaging.write_movie(tmp_path / "a.mp4", [np.full((32, 32, 3), c, np.uint8) for c in colours], 10)
    assert np.abs(iio.imread(tmp_path / "a.mp4")[:, 16, 16].astype(int) - colours).max() <= 3


@pytest.mark.parametrize("size", [(48, 80), (33, 21)])
def test_a_gif_has_every_frame_at_its_exact_size_and_loops_for_ever(tmp_path, size):
    frames = moving(20, *size)
    frames[7] = frames[6] = frames[5]  # equal frames stay frames
    imaging.write_movie(tmp_path / "a.gif", frames, fps=25)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 20 and gif.size == size[::-1] and gif.info["loop"] == 0
        back, durations = [], []
        for i in range(20):
            gif.seek(i)
            back.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
    assert durations == [40] * 20
    assert np.abs(np.stack(back) - np.stack(frames)).mean() < 8


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_gray_movie_is_gray(tmp_path, suffix):
    frames = [frame[..., 2:] // 2 + frame[..., :1] // 2 for frame in moving(5, 32, 32)]
    imaging.write_movie(tmp_path / f"a{suffix}", frames, 25)
    back = iio.imread(tmp_path / f"a{suffix}").astype(int)
    assert np.abs(back - np.stack(frames)).max() <= 12
    assert np.abs(back - back.mean(axis=-1, keepdims=True)).max() <= 2


@pytest.mark.parametrize("fps, real", [(25, 25), (50, 50), (30, 100 / 3), (120, 50), (1, 1), (7, 100 / 14)])
def test_a_gif_gets_the_nearest_rate_it_can_have(tmp_path, fps, real):
    assert float(imaging.frame_rate(tmp_path / "a.gif", fps)) == pytest.approx(real)
    assert imaging.frame_rate(tmp_path / "a.mp4", fps) == fps


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_movie_that_fails_halfway_leaves_nothing_and_keeps_the_old_one(tmp_path, suffix):
    def failing():
        yield from moving(10, 32, 32)
        raise RuntimeError("the generator broke")

    path = tmp_path / f"a{suffix}"
    for existing in (None, b"the movie of yesterday"):
        if existing:
            path.write_bytes(existing)
        with pytest.raises(RuntimeError, match="broke"):
            imaging.write_movie(path, failing(), 25)
        assert os.listdir(tmp_path) == ([path.name] if existing else [])
    assert path.read_bytes() == b"the movie of yesterday"


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_full_disk_is_one_clear_line(tmp_path, suffix, capfd):
    path = tmp_path / f"a{suffix}"
    full = tmp_path / f".a.{os.getpid()}{suffix}"
    full.symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="(?i)ffmpeg could not write .*no space left") as caught:
        imaging.write_movie(path, noise, 25)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []
    assert capfd.readouterr().err == ""


def test_a_file_can_be_read_by_whom_the_user_lets_read(tmp_path):
    """Not 0600, which a temporary file would have by itself."""
    imaging.write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "plain").touch()
    written, plain = (stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("a.png", "plain"))
    assert written == plain


def test_a_name_may_have_spaces_colons_and_letters_of_any_alphabet(tmp_path):
    path = tmp_path / "two words: 100% ñ 顔.mp4"
    imaging.write_movie(path, moving(3, 32, 32), 25)
    assert os.listdir(tmp_path) == [path.name] and len(iio.imread(path)) == 3


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file").touch()
    for name, says in [("a.avi", "gif or .mp4"), ("a", "gif or .mp4"), ("folder.gif", "is a folder"),
                       ("file/a.gif", "cannot write in")]:  # fmt: skip
        with pytest.raises(UserError, match=says):
            imaging.check_output(tmp_path / name, (".gif", ".mp4"))
    assert imaging.check_output(tmp_path / "new" / "A.GIF", (".gif", ".mp4")).name == "A.GIF"
    assert not (tmp_path / "new").exists()
