"""Images of any shape: which sizes there are, what is cropped, and a run of pictures that are not square."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from runs import config_of

from gan_ref.checkpoint import load, load_generator
from gan_ref.commands import evaluate, sample, train, walk
from gan_ref.config import Config
from gan_ref.data import faces
from gan_ref.data.decode import decode, fit_arrays
from gan_ref.errors import UserError
from gan_ref.layers import reference_pass
from gan_ref.networks import build_discriminator, build_generator
from gan_ref.networks.size import training_bytes
from gan_ref.shapes import first_plane, read_image_size

# ---------------------------------------------------------------- the sizes


@pytest.mark.parametrize(
    "size, plane",
    [(16, (4, 4, 2)), (32, (4, 4, 3)), (64, (4, 4, 4)), (128, (4, 4, 5)), (256, (4, 4, 6)), (512, (4, 4, 7)),
     (12, (3, 3, 2)), (48, (3, 3, 4)), (96, (3, 3, 5)), (192, (3, 3, 6)), (104, (13, 13, 3)),
     ("96x64", (6, 4, 4)), ("64x96", (4, 6, 4)), ("144x256", (9, 16, 4)), ("512x288", (16, 9, 5)),
     ("512x96", (16, 3, 5))],
)  # fmt: skip
def test_a_size_is_a_small_plane_doubled(size, plane):
    assert first_plane(size) == plane
    height, width = size if isinstance(size, tuple) else map(int, f"{size}x{size}".split("x")[:2])
    assert (plane[0] << plane[2], plane[1] << plane[2]) == (height, width)


@pytest.mark.parametrize(
    "size, nearest",
    [(0, "12 or 16"), (-3, "12 or 16"), (8, "12 or 16"), (50, "48 or 52"), (100, "96 or 104"),
     (999, "480 or 512"), ("100x64", "96x64 or 104x64"), ("96x65", "96x64 or 104x72"),
     ("512x90", "480x96 or 512x96"), ("1080x1920", "288x512 or 320x512")],
)  # fmt: skip
def test_another_size_is_refused_with_the_nearest_two(size, nearest):
    with pytest.raises(UserError, match=f"{size} .*use {nearest}$"):
        read_image_size(size)


def test_a_size_has_one_form_in_a_config():
    forms = {64: (64, "64", "64x64", (64, 64)), "96x64": ("96x64", (96, 64), [96, 64])}
    for one, given in forms.items():
        for size in given:
            assert Config(image_size=size).image_size == one
    assert json.loads(json.dumps(Config(image_size=(96, 64)).to_dict()))["image_size"] == "96x64"


@pytest.mark.parametrize(
    "size", ["", "x", "64x", "6.4", "64x64x3", "٦٤", "-64", 64.0, True, (64,), ("64", 64), b"64"]
)
def test_what_is_no_size_is_refused_in_one_line(size):
    with pytest.raises(UserError, match="as in 96x64"):
        Config(image_size=size)


# ---------------------------------------------------------------- the pictures


@pytest.mark.parametrize("wide", [True, False])
def test_the_centre_of_the_ratio_is_kept_and_nothing_is_squeezed(wide):
    """A picture of 240 by 80 pixels, red, green, red: its middle 120 by 80 are green."""
    across = np.zeros((80, 240, 3), np.uint8)
    across[:, :60, 0] = across[:, 180:, 0] = across[:, 60:180, 1] = 255
    across[30:50, 110:130] = 255  # a white square of 20 by 20
    pixels, size = (across, (32, 48)) if wide else (across.transpose(1, 0, 2).copy(), (48, 32))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    shown = decode(file, size, 3).astype(int)
    assert np.array_equal(shown, fit_arrays(pixels[None], size, 3)[0])
    assert shown.shape == (*size, 3) and shown[..., 1].min() >= 254  # no red is left at any edge
    white = shown[..., 0] > 127
    assert np.ptp(np.nonzero(white), axis=1).tolist() == [7, 7]  # 8×8: the square is still one


def test_a_face_that_is_not_square_has_more_around_it():
    square, _ = faces.draw(np.arange(8), 64)
    for size, middle in (((64, 96), np.s_[:, :, 16:80]), ((96, 64), np.s_[:, 16:80])):
        drawn, _ = faces.draw(np.arange(8), size)
        assert drawn.shape == (8, *size, 3)
        assert np.abs(drawn[middle].astype(int) - square).max() <= 1


# ---------------------------------------------------------------- the networks


@pytest.mark.parametrize("name", ["baseline", "face-2015-bn", "improved", "ebgan", "semi-supervised",
                                  "semi-supervised-conv"])  # fmt: skip
@pytest.mark.parametrize("size", [(24, 16), (12, 60), (96, 144)])
def test_every_network_has_the_shape_of_its_images(name, size):
    config = config_of(name, "faces", image_size=size, latent_dim=8, d_width=4)
    shape = (3, *size)
    with torch.no_grad():
        generator, discriminator = build_generator(config, shape), build_discriminator(config, shape, 10)
        with reference_pass(generator):
            x = generator(torch.randn(2, 8))
        assert x.shape == (2, *shape) and discriminator(x).scores.shape == (2,)


def test_the_foreseen_memory_follows_both_sides():
    config = config_of("baseline", "faces", latent_dim=8, d_width=4)
    square, tall, large = (training_bytes(config, (3, *size)) for size in ((64, 64), (96, 64), (96, 96)))
    assert square < tall < large


# ---------------------------------------------------------------- a run

TINY = "--image-size 24x16 --width 4 --latent-dim 8 --batch-size 8 --device cpu --precision float32".split()


def play(data: str, out, steps: int, *more: str) -> int:
    return train.main(["--data", data, *TINY, "--steps", str(steps), "--out", str(out), *more])


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """Two rounds, then two more after a resume, and the walk."""
    run = tmp_path_factory.mktemp("shapes") / "run"
    assert play(images, run, 2, "--no-walk") == 0
    assert train.main(["--resume", str(run), "--steps", "4", "--image-size", "24x16", "--walk"]) == 0
    return run


def test_a_resumed_run_equals_an_unbroken_one(finished, images, tmp_path):
    assert play(images, tmp_path / "whole", 4, "--no-walk") == 0
    resumed, whole = load(finished), load(tmp_path / "whole")
    assert resumed["shape"] == [3, 24, 16] and resumed["config"].image_size == "24x16"
    for name in ("generator", "discriminator", "average"):
        for key, value in whole[name].items():
            assert torch.equal(value, resumed[name][key]), (name, key)


def test_another_size_contradicts_the_run(finished, capsys):
    assert train.main(["--resume", str(finished), "--steps", "9", "--image-size", "16x24"]) == 2
    assert "--image-size 16x24 (it has 24x16)" in capsys.readouterr().err


def test_its_pages_and_movies_have_the_shape(finished, tmp_path):
    with Image.open(finished / "samples" / "000004.png") as page:
        assert page.size == (8 * 16, 8 * 24)
    with Image.open(finished / "walk.gif") as movie:
        assert movie.size == (4 * 16, 4 * 24)
    generator = load_generator(finished)
    walk.render(generator, tmp_path / "walk.gif", frames=4, grid=(2, 3), scale=2)
    with Image.open(tmp_path / "walk.gif") as movie:
        assert movie.size == (2 * 3 * 16, 2 * 2 * 24)
    sample.write(generator, tmp_path / "page.png", tmp_path / "each", count=6, columns=3)
    with Image.open(tmp_path / "page.png") as page, Image.open(tmp_path / "each" / "000000.png") as one:
        assert page.size == (3 * 16 + 2 * 2, 2 * 24 + 2) and one.size == (16, 24)
        assert np.array_equal(np.asarray(page)[:24, :16], np.asarray(one))


def test_it_is_evaluated(finished, tmp_path):
    assert evaluate.main([str(finished), "--samples", "20", "--out", str(tmp_path / "report.json")]) == 0
    values = json.loads((tmp_path / "report.json").read_text())["metrics"]["samples"]
    assert {"frechet", "precision", "recall", "modes"} <= set(values)
