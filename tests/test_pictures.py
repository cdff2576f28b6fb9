"""Pictures and movies: exact pixels, exact sizes, files that are whole or absent."""

import os
import stat
import struct

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from gan_ref.errors import UserError
from gan_ref.pictures import movies, pages


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
    assert pages.to_uint8(x).ravel().tolist() == [0, 0, 1, 128, 254, 255, 255]


def test_every_level_survives_the_way_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1
    assert (pages.to_uint8(x) == levels).all()


def test_a_grid_is_read_like_a_page():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    page = pages.grid(images, 2, 3, gap=2, fill=99)
    assert page.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    for i in range(5):
        row, column = divmod(i, 3)
        assert (page[row * 6 : row * 6 + 4, column * 8 : column * 8 + 6] == i).all()
    assert (page[6:, 16:] == 99).all()  # no sixth image
    assert (page[4:6] == 99).all() and (page[:, 6:8] == 99).all()
    assert pages.grid(images, 1, 5).shape == (4, 30, 3)
    with pytest.raises(ValueError, match="images"):
        pages.grid(images, 2, 2)


def test_upscaling_repeats_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    big = pages.upscale(image, 3)
    assert big.shape == (6, 6, 3)
    assert all((big[y, x] == image[y // 3, x // 3]).all() for y in range(6) for x in range(6))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1)])
def test_a_png_holds_the_exact_pixels(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pages.write_png(tmp_path / "new" / "a.png", picture)
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")).reshape(shape) == picture).all()
    assert os.listdir(tmp_path / "new") == ["a.png"]


@pytest.mark.parametrize("size", [(48, 80), (33, 21), (34, 50)])
def test_an_mp4_has_every_frame_at_its_exact_size_and_plays_anywhere(tmp_path, size):
    frames = moving(23, *size)
    movies.write_movie(tmp_path / "a.mp4", frames, fps=30)
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
    movies.write_movie(tmp_path / "a.mp4", [np.full((32, 32, 3), c, np.uint8) for c in colours], 10)
    assert np.abs(iio.imread(tmp_path / "a.mp4")[:, 16, 16].astype(int) - colours).max() <= 3


@pytest.mark.parametrize("size", [(48, 80), (33, 21)])
def test_a_gif_has_every_frame_at_its_exact_size_and_loops_for_ever(tmp_path, size):
    frames = moving(20, *size)
    frames[7] = frames[6] = frames[5]  # equal frames stay frames
    movies.write_movie(tmp_path / "a.gif", frames, fps=25)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 20 and gif.size == size[::-1] and gif.info["loop"] == 0
        back, durations = [], []
        for i in range(20):
            gif.seek(i)
            back.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
    assert durations == [40] * 20
    assert np.abs(np.stack(back) - np.stack(frames)).mean() < 8


@pytest.mark.parametrize("channels", [1, 3])
def test_an_apng_keeps_every_pixel_and_a_webp_every_frame(tmp_path, channels):
    frames = [frame[..., :channels] for frame in moving(9, 33, 21)]
    for suffix in ("apng", "webp"):
        movies.write_movie(tmp_path / f"a.{suffix}", frames, 25)
        with Image.open(tmp_path / f"a.{suffix}") as movie:
            assert (movie.n_frames, movie.size, movie.info["loop"]) == (9, (21, 33), 0)
            back = [np.asarray(movie.convert("RGB")).astype(int) for _ in map(movie.seek, range(9))]
            assert movie.info["duration"] == 40
        error = np.abs(np.stack(back) - np.stack(frames))
        assert error.max() == 0 if suffix == "apng" else error.mean() < 8


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_gray_movie_is_gray(tmp_path, suffix):
    frames = [frame[..., 2:] // 2 + frame[..., :1] // 2 for frame in moving(5, 32, 32)]
    movies.write_movie(tmp_path / f"a{suffix}", frames, 25)
    back = iio.imread(tmp_path / f"a{suffix}").astype(int)
    assert np.abs(back - np.stack(frames)).max() <= 12
    assert np.abs(back - back.mean(axis=-1, keepdims=True)).max() <= 2


@pytest.mark.parametrize("fps, real", [(25, 25), (50, 50), (30, 100 / 3), (120, 50), (1, 1), (7, 100 / 14)])
def test_a_gif_gets_the_nearest_rate_it_can_have(tmp_path, fps, real):
    assert float(movies.frame_rate(tmp_path / "a.gif", fps)) == pytest.approx(real)
    assert movies.frame_rate(tmp_path / "a.mp4", fps) == movies.frame_rate(tmp_path / "a.apng", fps) == fps
    assert float(movies.frame_rate(tmp_path / "a.webp", fps)) == pytest.approx(fps, rel=0.05)


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
            movies.write_movie(path, failing(), 25)
        assert os.listdir(tmp_path) == ([path.name] if existing else [])
    assert path.read_bytes() == b"the movie of yesterday"


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_full_disk_is_one_clear_line(tmp_path, suffix, capfd):
    path = tmp_path / f"a{suffix}"
    full = tmp_path / f".a.part{suffix}"
    full.symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="(?i)ffmpeg could not write .*no space left") as caught:
        movies.write_movie(path, noise, 25)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []
    assert capfd.readouterr().err == ""


def test_a_file_can_be_read_by_whom_the_user_lets_read(tmp_path):
    """Not 0600, which a temporary file would have by itself."""
    pages.write_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "plain").touch()
    written, plain = (stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("a.png", "plain"))
    assert written == plain


def test_a_name_may_have_spaces_colons_and_letters_of_any_alphabet(tmp_path):
    path = tmp_path / "two words: 100% ñ 顔.mp4"
    movies.write_movie(path, moving(3, 32, 32), 25)
    assert os.listdir(tmp_path) == [path.name] and len(iio.imread(path)) == 3
