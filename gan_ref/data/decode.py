"""One image file, from whoever made it, to one uint8 array of the size that is wanted.

Formats are named one by one: Pillow knows many more, and some of those run other programs on their input.
"""

from contextlib import suppress
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from gan_ref.data.workers import UNIT, UNITS, reserve
from gan_ref.shapes import ImageSize, sides

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .pgm .ppm .pbm .pnm".split())
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
BYTES_PER_PIXEL, WEBP = 10, 17  # the most that decoding was measured to hold at once; WebP holds more
MAX_PIXELS = UNITS * UNIT // BYTES_PER_PIXEL

GRAY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"))
_TURN = Image.Transpose
UPRIGHT = {  # EXIF's orientations
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE, 6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (_TURN.TRANSPOSE, _TURN.ROTATE_270, _TURN.TRANSVERSE, _TURN.ROTATE_90)
TO_EIGHT_BITS = [(value + 128) // 257 for value in range(65536)]  # 65535/255 = 257, so this is the nearest


def decode(file: BinaryIO, size: ImageSize, channels: int) -> np.ndarray:
    """The image in ``file`` as uint8 (height, width, channels) of ``size``; of an animation, the first frame.

    The largest centred part of this ratio is resized with a Lanczos filter as wide as the reduction.
    Transparency is laid over white, 16-bit samples are scaled to 8, EXIF's orientation is applied. Raises an
    Exception of some kind, Pillow's or ValueError, if the file is not such an image, is damaged, or would
    take more than 768 MiB, after the reduction that JPEG can do while it decodes.
    """
    wanted = sides(size)
    image = open_image(file)
    width, height = image.size
    # JPEG can decode straight to 1/2, 1/4 or 1/8; stop at twice the size, and let the filter do the rest.
    image.draft(None, (2 * max(wanted), 2 * max(wanted)))
    if not image.info.get("progressive"):  # a progressive JPEG is held whole all the same
        width, height = image.size
    kind = image.format
    needed = width * height * (WEBP if kind == "WEBP" else BYTES_PER_PIXEL)
    if needed > UNITS * UNIT:
        most = UNITS * UNIT >> 20
        raise ValueError(f"{width}×{height} pixels take {needed >> 20} MiB to decode, more than {most}")
    with reserve(needed):
        image.load()
        turn = orientation(image)
        stored = (wanted[1], wanted[0]) if turn in SIDEWAYS else wanted
        image = crop(image, stored)
        image = to_eight_bits(image, kind)
        image = resize(image, stored)
    return to_array(image if turn is None else image.transpose(turn), channels)


def is_gray(file: BinaryIO) -> bool:
    """Does the file's header (or its palette) promise only grays?"""
    image = open_image(file)
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GRAY_MODES


def open_image(file: BinaryIO) -> Image.Image:
    """Read the header only. Pillow refuses one that declares over 179 million pixels."""
    try:
        return Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What puts a loaded image upright, as EXIF says; None if nothing does, or if its metadata are broken."""
    with suppress(Exception):
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred part with the ratio of ``size``, (height, width), to the nearest pixel.

    (The box that resize takes would let its filter look outside.)
    """
    height, width = size
    across = max(1, min(image.width, round(image.height * width / height)))
    down = max(1, min(image.height, round(image.width * height / width)))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    whole = image.size == (across, down)
    return image if whole else image.crop((left, top, left + across, top + down))


def to_eight_bits(image: Image.Image, kind: str | None) -> Image.Image:
    """Any of Pillow's modes to L, RGB or RGBA; ``kind`` is the file's format."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        return image.convert("I").point(TO_EIGHT_BITS, "L")
    if image.mode in ("I", "F"):
        raise ValueError("32-bit samples have no agreed range; save it with 8 or 16 bits")
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    if image.mode in ("LA", "RGBA", "RGBa", "La", "PA") or "transparency" in image.info:
        return image.convert("RGBA")  # one gray becomes three equal ones, which come back as the same gray
    return image.convert("RGB")


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize what has the ratio of ``size``, (height, width), antialiased."""
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """Lay what is transparent over white: uint8 (H, W, channels)."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(image).reshape(image.height, image.width, channels)


def fit_arrays(arrays: np.ndarray, size: ImageSize, channels: int, pad: bool = False) -> np.ndarray:
    """Decoded images (n, H, W, 1, 3 or 4) in this size and these channels; ``pad`` frames small ones."""
    wanted, (height, width, depth) = sides(size), arrays.shape[1:]
    if pad and height < wanted[0] and width < wanted[1]:
        top, left = (wanted[0] - height) // 2, (wanted[1] - width) // 2
        frame = np.zeros((len(arrays), *wanted, depth), np.uint8)
        frame[:, top : top + height, left : left + width] = arrays
        arrays = frame
    if arrays.shape[1:] == (*wanted, channels):
        return arrays
    out = np.empty((len(arrays), *wanted, channels), np.uint8)
    for i, array in enumerate(arrays):
        image = Image.fromarray(array[..., 0] if depth == 1 else array)
        out[i] = to_array(resize(crop(image, wanted), wanted), channels)
    return out
