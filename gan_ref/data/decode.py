"""One image file, from whoever made it, to one square uint8 array.

Formats are named one by one: Pillow knows many more, and some of those run other programs on their input.
"""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
from PIL import Image

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .pgm .ppm .pbm .pnm".split())
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_BYTES = 256 << 20

GRAY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"))
ROTATIONS = {  # EXIF tag 274: what undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(file: BinaryIO, size: int, channels: int) -> np.ndarray:
    """The image in ``file`` as uint8 (size, size, channels); of an animation, the first frame.

    The largest centred square is cropped and resized with a Lanczos filter as wide as the reduction.
    Transparency is laid over white, 16-bit samples are scaled to 8, EXIF's orientation is applied. Raises
    some Exception or other, Pillow's or ValueError, if the file is not such an image, is damaged, or declares
    too many pixels.
    """
    image = open_image(file)
    # JPEG can decode straight to 1/2, 1/4 or 1/8; stop at twice the size, and let the filter do the rest.
    image.draft(None, (2 * size, 2 * size))
    image.load()
    orientation = _orientation(image)  # after load, which already turns a TIFF
    image = fit(to_eight_bits(image), size)
    if orientation in ROTATIONS:  # a centred square crop may as well be turned after it was made small
        image = image.transpose(ROTATIONS[orientation])
    return to_array(image, channels)


def is_gray(file: BinaryIO) -> bool:
    """Does the file's header (or its palette) promise only grays?"""
    image = open_image(file)
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GRAY_MODES


def open_image(file: BinaryIO) -> Image.Image:
    """Read the header only. Pillow refuses one that declares over 179 million pixels (512 MiB in colour)."""
    try:
        return Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes to L, RGB or RGBA."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        samples = np.asarray(image)
        # 65535/255 = 257, so this is the nearest 8-bit value.
        return Image.fromarray(((np.clip(samples, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit samples have no agreed range; save it with 8 or 16 bits")
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    if image.mode in ("LA", "RGBA", "RGBa", "La", "PA") or "transparency" in image.info:
        return image.convert("RGBA")  # one grey becomes three equal ones, which come back as the same grey
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resize it, antialiased, to ``size``."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.size != (side, side):  # resize's own box would let the filter look outside it
        image = image.crop((left, top, left + side, top + side))
    return image if side == size else image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """Lay what is transparent over white: uint8 (H, W, channels)."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(image).reshape(image.height, image.width, channels)


def fit_arrays(arrays: np.ndarray, size: int, channels: int, pad: bool = False) -> np.ndarray:
    """Decoded images (n, H, W, 1, 3 or 4) to (n, S, S, channels); ``pad`` frames small ones in black."""
    height, width, depth = arrays.shape[1:]
    if pad and height < size and width < size:
        top, left = (size - height) // 2, (size - width) // 2
        frame = np.zeros((len(arrays), size, size, depth), np.uint8)
        frame[:, top : top + height, left : left + width] = arrays
        arrays = frame
    if arrays.shape[1:] == (size, size, channels):
        return arrays
    out = np.empty((len(arrays), size, size, channels), np.uint8)
    for i, array in enumerate(arrays):
        out[i] = to_array(fit(Image.fromarray(array[..., 0] if depth == 1 else array), size), channels)
    return out


def read_bytes(file: BinaryIO) -> io.BytesIO:
    """All of a file that may not be seekable, or ValueError if it is too large to be an image."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
    if not data:
        raise ValueError("empty file")
    return io.BytesIO(data)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(274, 1)
    except Exception:  # broken metadata is no reason to refuse a good picture
        return 1
