"""Files of MATLAB's version 5, as the published format describes them."""

import struct
import zlib

import numpy as np

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
KINDS = {"uint8": (9, 2), "float64": (6, 9), "int32": (12, 5)}  # of the class, and of the numbers


def element(kind: int, content: bytes) -> bytes:
    """A tag and its bytes, filled up to a multiple of 8; four bytes or fewer go into the tag."""
    if 0 < len(content) <= 4:
        return struct.pack("<HH", kind, len(content)) + content.ljust(4, b"\0")
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(name: str, array: np.ndarray, flags: int = 0) -> bytes:
    of_class, numbers = KINDS[array.dtype.name]
    parts = [
        (6, struct.pack("<II", of_class | flags << 8, 0)),
        (5, np.array(array.shape, "<i4").tobytes()),
        (1, name.encode()),
        (numbers, array.tobytes(order="F")),
    ]
    return element(14, b"".join(element(*part) for part in parts))


def mat_file(variables: dict[str, np.ndarray], packed: bool = True) -> bytes:
    """These variables in a file, each compressed by itself if ``packed``."""
    content = HEADER
    for name, array in variables.items():
        plain = matrix(name, array)
        squeezed = zlib.compress(plain)
        content += struct.pack("<II", 15, len(squeezed)) + squeezed if packed else plain
    return content
