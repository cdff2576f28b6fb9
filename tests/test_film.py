"""The film of a run shows its pages in order, each with its step."""

import os
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from gan_ref.commands import film, train
from gan_ref.pictures import pages
from gan_ref.watch.film import pages_of


def page(level: int, channels: int = 3) -> np.ndarray:
    return np.full((40, 64, channels), level, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A run with pages at step 200, 400, … 1000, each of one gray; something else lies there too."""
    for k in range(1, 6):
        pages.write_png(tmp_path / "run" / "samples" / f"{200 * k:06}.png", page(40 * k))
    (tmp_path / "run" / "samples" / "12 notes.png").write_text("mine")
    return tmp_path / "run"


def test_a_film_has_the_pages_in_order_with_their_steps_and_dwells_on_the_last(folder, capsys):
    assert film.main([str(folder), "--out", str(folder / "film.apng")]) == 0
    assert "5 pages, step 200 to 1,000, at 10 a second" in capsys.readouterr().out
    frames = [frame[..., :3] for frame in iio.imiter(folder / "film.apng")]
    steps = [200, 400, 600, 800, 1000, *[1000] * 15]
    assert len(frames) == len(steps)
    for frame, step in zip(frames, steps):
        assert (frame == pages.label(page(step // 5)[None], [f"step {step:,}"])[0]).all()


def test_a_long_run_is_shown_by_pages_evenly_chosen_from_first_to_last(folder):
    found, captions = pages_of(folder, 3)
    assert [number for number, _ in found] == [200, 600, 1000] and captions


def test_scale_enlarges_the_step_too(folder):
    film.render(folder, folder / "a.gif", scale=2)
    with Image.open(folder / "a.gif") as movie:
        assert movie.size == (128, 2 * (40 + pages.LABEL))


def test_pictures_drawn_for_a_run_in_the_plane_have_their_step_already(folder):
    for k in range(4):
        pages.write_png(folder / "frames" / f"{k:06}.png", page(50 * k))
    film.render(folder, folder / "a.apng")
    assert next(iio.imiter(folder / "a.apng")).shape[:2] == (40, 64)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda run: shutil.rmtree(run / "samples"), "no two pages"),
        (lambda run: (run / "samples" / "000400.png").write_bytes(b"torn"), "000400.png is not a page"),
        (lambda run: pages.write_png(run / "samples" / "000400.png", page(1, 1)), "another size"),
        (lambda run: shutil.rmtree(run), "is no folder"),
    ],
)
def test_pages_that_make_no_film_get_one_line_and_leave_nothing(folder, capsys, spoil, says):
    spoil(folder)
    assert film.main([str(folder)]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not (folder / "film.mp4").exists()


@pytest.mark.parametrize("options", [["--fps", "0"], ["--frames", "1"], ["--scale", "0"], ["--out", "a.avi"]])
def test_a_senseless_option_gets_one_line(folder, capsys, options):
    assert film.main([str(folder), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.full
def test_a_run_of_images_leaves_its_film(tmp_path, images):
    small = "--width 4 --image-size 16 --batch-size 8 --steps 4 --sample-every 2 --device cpu".split()
    assert train.main(["--data", images, "--out", str(tmp_path), *small]) == 0
    assert {"film.mp4", "walk.gif"} <= set(os.listdir(tmp_path))
    assert iio.imread(tmp_path / "film.mp4").shape == (2 + 15, 8 * 16 + pages.LABEL, 8 * 16, 3)
