"""One image file to one square array, whatever kind of file it is."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gan_ref.data.decode import decode, fit_arrays, is_gray


def saved(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def scene(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture in which every corner differs."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return Image.fromarray(np.stack([255 * x, 255 * y, 255 * (1 - x) * (1 - y)], axis=-1).astype(np.uint8))


def test_pixels_of_the_right_size_are_kept():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(decode(saved(Image.fromarray(pixels)), 32, 3), pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "JPEG"])
def test_every_format_shows_the_same_picture(kind):
    expected = decode(saved(scene(64, 64)), 32, 3).astype(int)
    options = {"quality": 95} if kind in ("WEBP", "JPEG") else {}
    shown = decode(saved(scene(64, 64), kind, **options), 32, 3).astype(int)
    assert np.abs(expected - shown).mean() < (0.01 if kind in ("PNG", "BMP", "TIFF", "PPM") else 6)


def test_the_centre_square_is_kept():
    thirds = np.zeros((32, 96, 3), np.uint8)
    thirds[:, :32, 0] = thirds[:, 32:64, 1] = thirds[:, 64:, 2] = 255
    for size in (16, 32, 64):
        assert (decode(saved(Image.fromarray(thirds)), size, 3) == [0, 255, 0]).all()
    assert (decode(saved(Image.fromarray(thirds.transpose(1, 0, 2))), 16, 3) == [0, 255, 0]).all()


@pytest.mark.parametrize("side", [64, 512, 1000])
def test_fine_patterns_become_gray_not_other_patterns(side):
    checks = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = decode(saved(Image.fromarray(checks)), 32, 1).astype(int)
    assert np.abs(small - 127.5).max() < 12


def test_large_jpegs_are_reduced_as_faithfully_as_large_pngs():
    large = scene(1500, 1100)
    png, jpeg = decode(saved(large), 32, 3), decode(saved(large, "JPEG", quality=95), 32, 3)
    assert np.abs(png.astype(int) - jpeg.astype(int)).max() <= 4


def test_one_pixel_fills_the_image():
    assert (decode(saved(Image.new("RGB", (1, 1), (10, 20, 30))), 16, 3) == [10, 20, 30]).all()
    assert decode(saved(Image.new("RGB", (1, 900), (10, 20, 30))), 16, 3).shape == (16, 16, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((40, 40, 40, 255), (0, 0, 20, 10))
    options = {}
    if mode == "P":
        image = image.convert("RGB").quantize(4)
        top, bottom = image.getpixel((0, 0)), image.getpixel((0, 19))
        assert top != bottom
        options = {"transparency": bottom}
    else:
        image = image.convert(mode)
    array = decode(saved(image, **options), 20, 3)
    assert (array[:10] == 40).all() and (array[10:] == 255).all()


def test_half_transparent_edges_are_not_darkened_by_hidden_colours():
    """Colour under zero alpha must not bleed in when the image is resized."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, 32:] = (255, 255, 255, 255)  # left: transparent black; right: white
    assert decode(saved(Image.fromarray(pixels)), 16, 3).min() >= 254


@pytest.mark.parametrize("value", [0, 1, 100, 255])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM"])
def test_sixteen_bits_are_scaled_to_eight(kind, value):
    samples = np.full((20, 20), value * 257, np.uint16)
    if kind == "PGM":
        file = io.BytesIO(b"P5 20 20 65535\n" + samples.astype(">u2").tobytes())
    else:
        file = saved(Image.fromarray(samples), kind)
    assert is_gray(file)
    file.seek(0)
    assert (decode(file, 16, 1) == value).all()


def test_cmyk_becomes_colour():
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert not is_gray(saved(image, "JPEG"))
    red, green, blue = decode(saved(image, "JPEG", quality=95), 32, 3)[16, 16]
    assert red > 220 and green < 40 and blue < 40


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_camera_s_orientation_is_undone(orientation, kind):
    """The eight orientations as arrays: what the camera stored, given how it was held (TIFF 6.0)."""
    upright = np.asarray(scene(64, 64))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 95} if kind == "JPEG" else {}
    file = saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    for size in (32, (48, 32)):
        shown = decode(file, size, 3).astype(int)
        assert np.abs(shown - decode(saved(scene(64, 64)), size, 3)).max() < 12


def test_gray_is_told_from_the_header_or_the_palette():
    for mode in ("1", "L", "LA"):
        assert is_gray(saved(Image.new(mode, (4, 4))))
    assert not is_gray(saved(Image.new("RGB", (4, 4))))
    gray, colour = Image.new("P", (4, 4)), Image.new("P", (4, 4))
    gray.putpalette([0, 0, 0, 90, 90, 90])
    colour.putpalette([0, 0, 0, 90, 91, 90])
    assert is_gray(saved(gray)) and not is_gray(saved(colour))


def test_channels_convert_both_ways():
    gray = decode(saved(Image.new("RGB", (16, 16), (255, 0, 0))), 16, 1)
    assert gray.shape == (16, 16, 1) and (gray == 76).all()  # ITU-R 601: 0.299 of red
    colour = decode(saved(Image.new("L", (16, 16), 9)), 16, 3)
    assert colour.shape == (16, 16, 3) and (colour == 9).all()


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True})):
        file = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode(file, 16, 3) == [255, 0, 0]).all()


def test_a_header_that_declares_billions_of_pixels_is_refused_unread():
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")):
        file += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    with pytest.raises(Image.DecompressionBombError):
        decode(io.BytesIO(file), 32, 3)


def test_sixteen_bits_are_scaled_in_a_picture_that_is_cropped():
    big_endian = np.tile(np.array([[0, 257 * 99, 65535]], ">u2").repeat(16, axis=1), (16, 1))
    file = io.BytesIO(b"P5 48 16 65535\n" + big_endian.tobytes())
    assert (decode(file, 16, 1) == 99).all()


def test_a_png_that_would_take_gigabytes_is_refused_unread():
    for mode in ("I;16", "RGB"):
        header = struct.pack(">IIBBBBB", 13_000, 13_000, 16, 0 if mode == "I;16" else 2, 0, 0, 0)
        file = b"\x89PNG\r\n\x1a\n"
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")):
            file += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ValueError, match="13000×13000"):
            decode(io.BytesIO(file), 32, 3)


@pytest.mark.full
def test_a_jpeg_may_be_larger_since_it_is_reduced_while_it_is_decoded():
    with pytest.warns(Image.DecompressionBombWarning):
        large = decode(saved(Image.new("L", (12_000, 12_000), 77), "JPEG"), 32, 1)
    assert (large == 77).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_half_a_file_is_no_image(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = saved(noise, kind).getvalue()
    with pytest.raises(Exception, match="."):
        decode(io.BytesIO(whole[: len(whole) // 2]), 32, 3)


def test_formats_that_run_programs_are_not_tried():
    with pytest.raises(ValueError, match="known format"):
        decode(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"), 32, 3)


def test_digits_get_a_black_frame_and_keep_their_pixels():
    digits = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    framed = fit_arrays(digits, 32, 1, pad=True)
    assert np.array_equal(framed[:, 2:30, 2:30], digits) and framed.sum() == digits.sum()
    assert fit_arrays(digits, 64, 1).shape == (2, 64, 64, 1)
    assert fit_arrays(digits, 32, 3, pad=True).shape == (2, 32, 32, 3)
