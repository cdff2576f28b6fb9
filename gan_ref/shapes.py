"""Which shapes an image can have, and the small plane that its networks begin with.

An image size is 64, for a square, or "96x64", height by width. Both sides are k·2ⁿ with the same n ≥ 2, the
largest that leaves both k from 3 to 16. G begins with a plane of k_h×k_w and doubles it n times, and D goes
the way back: 64×64 begins at 4×4, and 96×64 at 6×4.
"""

import math
import re
from typing import Any

from gan_ref.errors import UserError

ImageSize = int | str | tuple[int, ...]  # 64, "96x64" or (96, 64)
MAX_SIDE = 512


def read_image_size(given: Any) -> int | str:
    """The one form of a size: 64 for 64, "64", "64x64" and (64, 64); "96x64" for "96x64" and (96, 64).

    Raises UserError for what is no size, and for one that cannot be, with the two nearest that can.
    """
    height, width = sides(given)
    first_plane((height, width))
    return text(height, width)


def sides(size: Any) -> tuple[int, int]:
    """(height, width) of a size in any form. Raises UserError for what is no size."""
    if isinstance(size, str) and (found := re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", size, re.ASCII)):
        return int(found[1]), int(found[2] or found[1])
    pair: Any = size if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(type(side) is int for side in pair):
        raise UserError(f"--image-size is a side, as in 64, or height x width, as in 96x64; not {size!r}")
    return pair[0], pair[1]


def first_plane(size: Any) -> tuple[int, int, int]:
    """(k_h, k_w, n) of a size in any form. Raises UserError, with the two nearest sizes, if there is none.

    >>> first_plane(64), first_plane("96x64"), first_plane("144x256")
    ((4, 4, 4), (6, 4, 4), (9, 16, 4))
    """
    height, width = sides(size)
    plane = _plane(height, width)
    if plane is None:
        near = " or ".join(str(text(*other)) for other in nearest(height, width))
        raise UserError(
            f"image size {text(height, width)} is not 3 to 16 pixels a side, doubled at least twice, "
            f"up to {MAX_SIDE}; use {near}"
        )
    return plane


def _plane(height: int, width: int) -> tuple[int, int, int] | None:
    for n in range(7, 1, -1):
        (k_h, rest_h), (k_w, rest_w) = divmod(height, 2**n), divmod(width, 2**n)
        if not (rest_h or rest_w) and 3 <= min(k_h, k_w) <= max(k_h, k_w) <= 16:
            return (k_h, k_w, n) if max(height, width) <= MAX_SIDE else None
    return None


def nearest(height: int, width: int) -> list[tuple[int, int]]:
    """The two sizes nearest to one that cannot be, the smaller first; their ratio of sides counts most."""

    def distance(other: tuple[int, int]) -> float:
        taller, wider = (math.log(new / max(1, old)) for new, old in zip(other, (height, width)))
        return abs(taller) + abs(wider) + 2 * abs(taller - wider)

    steps = range(12, MAX_SIDE + 1, 4)
    possible = [(h, w) for h in steps for w in steps if _plane(h, w)]
    return sorted(sorted(possible, key=distance)[:2])


def text(height: int, width: int) -> int | str:
    return height if height == width else f"{height}x{width}"
