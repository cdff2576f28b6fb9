"""Faces drawn by code: an endless, labelled data set that needs no download.

A face is a point: a few dozen numbers, some of them labels (hair style, expression, …), the rest continuous
(gaze, tilt, head width, the shade of every colour), so that the pictures form a manifold with named modes.
A style is a row of numbers in one of the tables below, and every face goes through the same drawing,
whatever its styles.

Three shapes draw everything: silhouettes symmetric about a line (head, hair, hats, clothes), ellipses and
their square-shouldered kin (eyes, cheeks, lenses), and bands between two parabolas (mouths, brows, brims).
Each has the distance to its edge in closed form, made of terms in x and terms in y; clipped to one pixel,
it is the anti-aliasing. A shape is computed only in the rows and columns that it needs, and arrays keep the
faces along their last axis, (rows, columns, faces), so that numpy's inner loop runs over faces however
small the feature is.

Coordinates: x to the right and y downwards, the picture about 1.7 wide, a head about 1 wide and 1.2 high.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

VERSION = 1  # raise it whenever a picture changes: the cache is keyed by it

FACTORS: dict[str, tuple[str, ...]] = {
    "hair_style": ("buzz", "short", "fringe", "bob", "long", "curly", "pigtails"),
    "hair_colour": ("black", "brown", "ginger", "blond", "silver", "pink"),
    "skin": ("porcelain", "peach", "tan", "brown", "deep"),
    "expression": ("neutral", "smile", "grin", "surprised", "sad"),
    "glasses": ("none", "round", "square", "sunglasses"),
    "hat": ("none", "beanie", "cap", "sunhat"),
    "background": ("sky", "mint", "butter", "rose", "sunset", "night"),
}
_RATES = {"glasses": (0.4, 0.2, 0.2, 0.2), "hat": (0.46, 0.18, 0.18, 0.18)}  # the other factors are uniform

# The continuous part of a face: each trait is uniform in [0, 1). Its place in this tuple is its counter, so
# new traits must be appended.
_TRAITS = (
    "x", "y", "lean", "turn", "nod", "head_width", "jaw", "eye_spacing", "eye_size", "gaze_x", "gaze_y",
    "eye_colour", "eye_tone", "brow_height", "brow_weight", "nose_size", "mouth_width", "mouth_size",
    "mouth_height", "blush", "light", "hair_volume", "hair_length", "part", "hair_tone", "hair_warmth",
    "skin_tone", "skin_warmth", "clothes", "clothes_tone", "trim", "neckline", "shoulders", "hat_colour",
    "hat_tone", "hat_size", "frame_colour", "lens_size", "backdrop_tone", "backdrop_warmth",
)  # fmt: skip


def _palette(text: str) -> np.ndarray:
    """Colours written as in a style sheet, "ffe0c8 …", as float32 (K, 3)."""
    return np.array([list(bytes.fromhex(colour)) for colour in text.split()], np.float32)


# Colours, in the order of FACTORS.
_SKIN = _palette("ffe3d0 f7c69f dba06c a86c43 7c4c35")
_SKIN_SHADE = _palette("eeb49c dd9970 b57445 7d4a2c 573022")
_LIPS = _palette("c2494f b8403f a03334 6d1f25 34090f")
_BLUSH = _palette("ff8d86 f5806a d8684a b04c3a 9a4636")
_HAIR = _palette("252233 56301e c9551f f2c14e c3c9d3 ee6fae")
_HAIR_SHADE = _palette("14121d 371c12 8f3413 c48a26 8b93a3 b8407f")
_HAIR_LIGHT = _palette("575072 8d5838 ee8744 ffe394 eef2f7 ffa6d2")
_BACKDROP_TOP = _palette("79c3f0 93dcb8 fbe08a f6a5ac ff9a56 1c2250")
_BACKDROP_BOTTOM = _palette("9ad4f5 aee6c9 fdebaa f9bcc0 b0509a 5a4aa6")

# Colours that no label names.
_IRIS = _palette("3a2418 5b3a1e 2f6d4f 2c6fb0 4d5b6b")
_CLOTHES = _palette("e4572e 2e86ab 4c9f70 f4f1e8 5b3f8c 2f3e55 f2a541 d1495b")
_TRIM = _palette("ffffff f6d55c 22314a ef7b6c")
_HAT = _palette("d7263d 1b998b 2e4e9e f0a202 6a4c93 f2efe6")
_FRAME = _palette("1d1a22 7a1f2b 14385c 4a2511")
_INK, _WHITE, _MOUTH, _TONGUE = _palette("261a22 ffffff 601422 ec6870")
_STRAW = _palette("f0d494 f7e8c4 dca762 e9c3b0")

# Styles as rows of numbers. Widths of hair are added to the head's own. Columns: width over the temples,
# top, width at the lower end, lower end; the face's opening in it: half-width, top, flatness (−1 pointed, 1
# straight), shift of the parting; scallops, bunches, opacity.
_HAIR_STYLES = np.array([
    (0.010, -0.545, -0.030, 0.060, 0.445, -0.300, 0.60, 0.00, 0.0, 0.0, 0.80),  # buzz
    (0.070, -0.680, 0.020, 0.160, 0.430, -0.230, 0.10, 0.17, 0.0, 0.0, 1.00),  # short
    (0.090, -0.640, 0.070, 0.330, 0.440, -0.120, 1.00, 0.00, 0.0, 0.0, 1.00),  # fringe
    (0.110, -0.650, 0.230, 0.640, 0.390, -0.240, 0.15, 0.12, 0.0, 0.0, 1.00),  # bob
    (0.100, -0.640, 0.210, 1.400, 0.390, -0.360, -0.40, 0.00, 0.0, 0.0, 1.00),  # long
    (0.265, -0.800, -0.080, 0.560, 0.430, -0.220, 0.25, 0.00, 1.0, 0.0, 1.00),  # curly
    (0.060, -0.640, 0.010, 0.180, 0.440, -0.260, -0.30, 0.00, 0.0, 1.0, 1.00),  # pigtails
], np.float32)  # fmt: skip

# Columns: the mouth's half-width, upper curve, lower curve and thickness (see `_Canvas.band`), openness,
# teeth; eye height, lift of the brows, lift of their inner ends.
_EXPRESSIONS = np.array([
    (0.150, 0.000, 0.012, 0.026, 0.0, 0.0, 1.00, 0.00, 0.00),  # neutral
    (0.215, 0.115, 0.135, 0.028, 0.0, 0.0, 0.94, 0.02, 0.00),  # smile
    (0.235, 0.000, 0.210, 0.030, 1.0, 1.0, 0.88, 0.03, 0.00),  # grin
    (-0.030, 0.000, 0.000, 0.130, 1.0, 0.0, 1.12, 0.09, 0.00),  # surprised
    (0.180, -0.125, -0.100, 0.028, 0.0, 0.0, 0.92, 0.02, 0.11),  # sad
], np.float32)  # fmt: skip

# Columns: drawn, a lens's half-width, half-height and squareness, the rim's thickness, tint.
_GLASSES = np.array([
    (0.0, 0.100, 0.100, 0.0, 0.05, 0.0),  # none
    (1.0, 0.195, 0.195, 0.0, 0.050, 0.0),  # round
    (1.0, 0.205, 0.150, 1.0, 0.050, 0.0),  # square
    (1.0, 0.215, 0.165, 0.5, 0.030, 1.0),  # sunglasses
], np.float32)  # fmt: skip

# Columns: drawn, the crown's half-width and top, the band's thickness, the brim's half-width, droop and
# shift to the side, bobble, straw.
_HATS = np.array([
    (0.0, 0.60, -0.60, 0.00, 0.10, 0.01, 0.00, 0.0, 0.0),  # none
    (1.0, 0.56, -0.67, 0.090, 0.10, 0.01, 0.00, 1.0, 0.0),  # beanie
    (1.0, 0.59, -0.78, 0.00, 0.50, 0.12, 0.26, 0.0, 0.0),  # cap
    (1.0, 0.50, -0.80, 0.06, 0.80, 0.17, 0.00, 0.0, 1.0),  # sunhat
], np.float32)  # fmt: skip
_FRAME_HALF, _FRAME_MIDDLE = 0.87, 0.045  # a square picture is x within ±half, y within middle ± half
_BRIM = -0.36  # where every hat ends, above the eyes and the fringe


def factors(indices: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The labels of faces `indices` (N,) of a seed, int64 (N,) for each factor, without drawing them."""
    uniform = _uniform(indices, seed, range(len(FACTORS)))
    labels = {}
    for (name, values), number in zip(FACTORS.items(), uniform):
        rates = _RATES.get(name, (1 / len(values),) * len(values))
        labels[name] = np.searchsorted(np.cumsum(rates)[:-1], number, side="right").astype(np.int64)
    return labels


def classes(
    labels: Mapping[str, np.ndarray], names: Sequence[str] = ("expression", "glasses")
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Combine factors into one class: index int64 (N,), the last name varying fastest, and each class's name.

    The default has 20 classes, all of them visible at 16×16: "expression smile, glasses round", …
    """
    if isinstance(names, str) or not names or len(set(names)) != len(names) or not set(names) <= set(FACTORS):
        raise ValueError(f"names must be different factors out of {', '.join(FACTORS)}, not {names!r}")
    index, readable = np.zeros(1, np.int64), ("",)
    for name in names:
        index = index * len(FACTORS[name]) + labels[name]
        readable = tuple(f"{r}, {name} {value}".lstrip(", ") for r in readable for value in FACTORS[name])
    return index, readable


def draw(
    indices: np.ndarray, size: int | tuple[int, int], seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw faces `indices` (N,) of a seed: uint8 (N, H, W, 3) RGB, and their labels (see `factors`).

    `size` is H = W, or (H, W). The shorter side shows what a square shows, and the longer one more around it.
    Face i of a seed is the same face at every size, and the same bytes in every batch and order.
    Raises ValueError for a side outside 12 to 512, negative indices, or a seed outside 0 to 2⁶⁴ − 1.
    Measured on one core (AMD EPYC): 8,000 faces a second at 32×32, 2,900 at 64×64, 600 at 128×128.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, (int, np.integer)) or not 12 <= side <= 512:
            raise ValueError(f"size must be an integer from 12 to 512, or two, not {size!r}")
    labels = factors(indices, seed)
    indices = np.asarray(indices)
    images = np.empty((len(indices), height, width, 3), np.uint8)
    at_once = max(8, min(128, 2**18 // (height * width)))  # measured: the working set stays in the cache
    for start in range(0, len(indices), at_once):
        part = slice(start, start + at_once)
        uniform = _uniform(indices[part], seed, range(64, 64 + len(_TRAITS))).astype(np.float32)
        traits: dict[str, np.ndarray] = dict(zip(_TRAITS, uniform))
        own = {name: label[part] for name, label in labels.items()}
        images[part] = _portrait(own, traits, (int(height), int(width)))
    return images, labels


def _uniform(indices: np.ndarray, seed: int, counters: range) -> np.ndarray:
    """Numbers in [0, 1) that depend on (seed, index, counter) alone: float64 (counters, N).

    SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") hashes the three
    in turn.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" and indices.size:
        raise ValueError(f"indices must be 1-D integers, not {indices.dtype} of shape {indices.shape}")
    if indices.size and indices.min() < 0:
        raise ValueError("indices must not be negative")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise ValueError(f"seed must be an integer from 0 to 2**64 - 1, not {seed!r}")
    state = _splitmix64(_splitmix64(np.array([seed], np.uint64)) ^ indices.astype(np.uint64))
    state = _splitmix64(state + np.array(counters, np.uint64)[:, None])
    return (state >> np.uint64(11)) * 2.0**-53


def _splitmix64(z: np.ndarray) -> np.ndarray:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# --- shapes ------------------------------------------------------------------------------------------


class _Coverage(NamedTuple):
    """How much of each pixel a shape covers: alpha (rows, columns, N) in [0, 1], exactly 0 elsewhere."""

    rows: slice
    columns: slice
    alpha: np.ndarray

    def cut(self, other: np.ndarray) -> _Coverage:
        """This shape where `other` is, an alpha over the whole frame (`_Canvas.full`)."""
        return self._replace(alpha=self.alpha * other[self.rows, self.columns])

    def fade(self, opacity: np.ndarray | float) -> _Coverage:
        return self._replace(alpha=self.alpha * np.float32(opacity))


class _Canvas:
    """N pictures: image (H, W, 3, N), pixel centres x (W, 1) and y (H, 1)."""

    def __init__(self, height: int, width: int, count: int) -> None:
        short = min(height, width)
        self.pixel = np.float32(2 * _FRAME_HALF / short)

        def centres(side: int) -> np.ndarray:
            half = _FRAME_HALF * (side / short)
            return ((np.arange(side) + 0.5) * self.pixel - half).astype(np.float32)[:, None]

        self.x, self.y = centres(width), centres(height) + np.float32(_FRAME_MIDDLE)
        self.image = np.empty((height, width, 3, count), np.float32)

    def paint(self, shape: _Coverage, colour: np.ndarray) -> None:
        """Lay a colour, (3,) or (3, N), over the picture: image += alpha·(colour − image)."""
        window = self.image[shape.rows, shape.columns]
        step = np.subtract(colour if colour.ndim == 2 else colour[:, None], window)
        step *= shape.alpha[:, :, None]
        window += step

    def full(self, shape: _Coverage) -> np.ndarray:
        """The shape's alpha over the whole frame, (H, W, N)."""
        alpha = np.zeros((len(self.y), len(self.x), shape.alpha.shape[-1]), np.float32)
        alpha[shape.rows, shape.columns] = shape.alpha
        return alpha

    def silhouette(
        self,
        centre: np.ndarray,
        profile: Callable[[np.ndarray], np.ndarray],
        soft: float = 0.0,
        ripple: np.ndarray | None = None,
    ) -> _Coverage:
        """The set u² < P(y), u = x − centre(y): P is the half-width squared, negative where there is nothing.

        On its edge |∇(P − u²)|² = 4P + P'², a function of y alone: the distance is (P − u²)·gain(y).
        `centre` is (H, N) or (1, N), `soft` the width of a blurred edge, `ripple` (W, N) a term in x.
        """
        width = profile(self.y)
        step = self.pixel / 4
        slope = (profile(self.y + step) - profile(self.y - step)) / (2 * step)
        steep = np.sqrt(4 * np.maximum(width, 0) + slope * slope + 1e-6)
        gain = 1 / (max(self.pixel, np.float32(soft)) * steep)
        level = 0.5 + gain * width  # alpha = level − gain·u², so a row with a negative level is empty
        slack = 0 if ripple is None else 0.2
        reach = np.sqrt(np.maximum(level / gain + slack, 0))
        rows = _extent((level + gain * slack > 0).any(1))
        centre = np.broadcast_to(centre, width.shape)[rows]
        if not len(centre):
            return _Coverage(rows, slice(0, 0), np.zeros((0, 0, width.shape[1]), np.float32))
        low, high = (centre - reach[rows]).min(), (centre + reach[rows]).max()
        columns = _extent((self.x[:, 0] >= low) & (self.x[:, 0] <= high))
        alpha = self.x[columns] - centre[:, None]
        alpha *= alpha
        if ripple is not None:
            alpha += ripple[columns]
        alpha *= -gain[rows, None]
        alpha += level[rows, None]
        return _Coverage(rows, columns, np.clip(alpha, 0, 1, out=alpha))

    def ellipse(self, cx, cy, rx, ry, soft: float = 0.0, square: np.ndarray | float = 0.0) -> _Coverage:
        """|x/rx|ᵖ + |y/ry|ᵖ < 1, arguments (N,): p goes from 2 (an ellipse) to 8 as `square` goes 0 to 1."""
        rx, ry = np.float32(rx), np.float32(ry)
        across, down = _power((self.x - cx) / rx, square), _power((self.y - cy) / ry, square)
        gain = np.minimum(rx, ry) / (max(self.pixel, np.float32(soft)) * (2 + 6 * np.float32(square)))
        across, down = 0.5 + gain * (1 - across), gain * down
        rows, columns = _extent((down < 0.5 + gain).any(1)), _extent((across > 0).any(1))
        alpha = across[columns] - down[rows, None]
        return _Coverage(rows, columns, np.clip(alpha, 0, 1, out=alpha))

    def band(self, cx, cy, half_width, upper, lower, thickness, slope=0.0) -> _Coverage:
        """Between cy + slope·dx + {upper, lower}·(1 − (dx/half_width)²), thickened: a mouth, a brow.

        Arguments are (N,). The parabolas meet in the corners, dx = ±half_width; an ellipse thickens them,
        `thickness` high and half_width + thickness wide. Flat parabolas with a negative half_width leave a
        tall ellipse: "oh!".
        """
        reach = half_width + thickness
        dx = self.x - cx
        columns = _extent((np.abs(dx) < reach + self.pixel).any(1))
        dx = np.clip(dx[columns], -reach - self.pixel, reach + self.pixel)
        t, s = np.clip(dx / half_width, -1, 1), dx / reach
        cap = np.sqrt(np.maximum(1 - s * s, 0.01))
        edges = []
        for bend, sign in ((upper, -1), (lower, 1)):
            steep = slope - 2 * bend * t / half_width - sign * thickness * s / (reach * cap)
            edge = cy + slope * dx + bend * (1 - t * t) + sign * thickness * cap
            edges.append((edge, 1 / np.sqrt(1 + np.minimum(steep * steep, 4))))
        (top, top_gain), (bottom, bottom_gain) = edges
        margin = 3 * self.pixel
        rows = _extent((self.y[:, 0] > top.min() - margin) & (self.y[:, 0] < bottom.max() + margin))
        y = self.y[rows, None]
        alpha = np.minimum((y - top) * top_gain, (bottom - y) * bottom_gain)
        np.minimum(alpha, reach - np.abs(dx), out=alpha)
        alpha /= self.pixel
        alpha += 0.5
        return _Coverage(rows, columns, np.clip(alpha, 0, 1, out=alpha))


def _extent(hit: np.ndarray) -> slice:
    """The slice from the first to the last True, and one more on each side."""
    where = np.flatnonzero(hit)
    return slice(max(where[0] - 1, 0), where[-1] + 2) if len(where) else slice(0, 0)


def _power(t: np.ndarray, square: np.ndarray | float) -> np.ndarray:
    """t² for square = 0, t⁸ for 1, and a mixture between them: a profile from round to flat."""
    t = t * t
    return t + np.float32(square) * (t * t * t * t - t)


def _scallop(t: np.ndarray) -> np.ndarray:
    """A row of round bumps of period 1, from 0 to 1, made of parabolas."""
    t = t - np.floor(t) - np.float32(0.5)
    return 1 - 4 * t * t


def _spread(uniform: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.float32(low) + np.float32(high - low) * uniform


def _shade(
    colour: np.ndarray, tone: np.ndarray, warmth: np.ndarray | float = 0.5, by: float = 0.14
) -> np.ndarray:
    """Vary colours (3, N): lighter or darker by up to by/2, and warmer or cooler."""
    warm = np.array([16, 0, -16], np.float32)[:, None]
    return np.clip(colour * (1 + np.float32(by) * (tone - 0.5)) + warm * np.float32(warmth - 0.5), 0, 255)


def _pick(palette: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return palette[(uniform * len(palette)).astype(np.int64)].T


# --- the portrait ------------------------------------------------------------------------------------


def _portrait(label: dict[str, np.ndarray], r: dict[str, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Paint N faces back to front: uint8 (N, H, W, 3). Below 32 pixels, at twice the size, averaged."""
    fine = 1 if min(size) >= 32 else 2
    canvas = _Canvas(fine * size[0], fine * size[1], len(r["x"]))
    paint, y = canvas.paint, canvas.y

    # Where things are. The head leans about its chin; turning and nodding move the features across it.
    head_x, head_y = _spread(r["x"], -0.04, 0.04), _spread(r["y"], 0.06, 0.11)
    lean = _spread(r["lean"], -0.07, 0.07)
    turn, nod = _spread(r["turn"], -0.06, 0.06), _spread(r["nod"], -0.025, 0.025)
    axis = head_x - lean * (y - 0.7)  # (H, N), the head's line of symmetry
    width = _spread(r["head_width"], 0.475, 0.55)

    def place(right, down):
        """A point of the upright face in the frame; (0, 0) is between the eyes."""
        return head_x + turn + right - lean * (down - 0.6), head_y + nod + down + lean * right

    # Colours.
    skin = _shade(_SKIN[label["skin"]].T, r["skin_tone"], r["skin_warmth"], 0.10)
    shadow = _shade(_SKIN_SHADE[label["skin"]].T, r["skin_tone"], r["skin_warmth"], 0.10)
    hair, hair_dark, hair_light = (
        _shade(palette[label["hair_colour"]].T, r["hair_tone"], r["hair_warmth"])
        for palette in (_HAIR, _HAIR_SHADE, _HAIR_LIGHT)
    )
    lips, blush = _LIPS[label["skin"]].T, _BLUSH[label["skin"]].T
    clothes = _shade(_pick(_CLOTHES, r["clothes"]), r["clothes_tone"])

    _background(canvas, label["background"], r)

    # Hair behind, neck, clothes.
    style = _HAIR_STYLES[label["hair_style"]].T
    over, top, end_width, end, inner, inner_top, flat, part, curls, bunches, density = style
    over = width + over * _spread(r["hair_volume"], 0.85, 1.15)
    end_width = np.maximum(width + end_width, 0.1)
    end = end + head_y - 0.1 + _spread(r["hair_length"], -0.04, 0.04)
    top = top + head_y - 0.1 - 0.12 * (r["hair_volume"] - 0.5) * (over - width)
    temple = head_y - 0.15
    brim_y = _BRIM + head_y - 0.1

    def hair_profile(y):
        dome = over * over * (1 - ((y - temple) / (temple - top)) ** 2)
        s = np.clip((y - temple) / (end - temple), 0, 1.2)
        fall = over + (end_width - over) * s * s
        profile = np.where(y < temple, dome, np.minimum(fall * fall, 2.5 * (end - y)))
        profile += curls * 0.07 * (_scallop(y * 4.0 + r["part"]) - 0.5)
        return np.where(label["hat"] > 0, np.minimum(profile, 5 * (y - brim_y + 0.08)), profile)  # hats press

    ripple = -0.05 * curls * (_scallop(4 * canvas.x + r["hair_length"]) - 0.5)
    mane = canvas.silhouette(axis, hair_profile, ripple=ripple).fade(density)
    mane_alpha = canvas.full(mane)
    for side in (-1, 1):
        bunch_x, bunch_y = place(side * (width + 0.21) - turn, 0.10 - nod)
        grown = _spread(r["hair_length"], 0.9, 1.15)
        paint(canvas.ellipse(bunch_x, bunch_y, 0.20 * grown, 0.30 * grown).fade(bunches), hair)
        shine = canvas.ellipse(bunch_x - 0.06, bunch_y - 0.06, 0.055 * grown, 0.15 * grown, soft=0.06)
        paint(shine.fade(0.6 * bunches), hair_light)
        knot_x, knot_y = place(side * (width + 0.07) - turn, -0.05 - nod)
        paint(canvas.ellipse(knot_x, knot_y, 0.075, 0.085).fade(bunches), _pick(_HAT, r["trim"]))
    paint(mane, hair_dark)

    def pill(half_width, middle, half_height, square=1.0):
        return lambda y: half_width * half_width * (1 - _power((y - middle) / half_height, square))

    neck = canvas.silhouette(head_x[None] * 0.7, pill(0.20 * width / 0.51, 0.75, 0.45))
    paint(neck, skin)
    chin_shadow = canvas.ellipse(head_x * 0.8, head_y + 0.60, 0.30, 0.16, soft=0.08)
    paint(chin_shadow.cut(canvas.full(neck)).fade(0.9), shadow)
    broad, collar = _spread(r["shoulders"], 0.72, 0.90), _spread(r["neckline"], 0.05, 0.15)
    shoulders = pill(broad, 1.28, 0.52, 0.25)
    torso = canvas.silhouette(head_x[None] * 0.5, lambda y: shoulders(np.minimum(y, 1.28)))
    paint(torso, clothes)
    hem = canvas.ellipse(head_x * 0.6, 0.77, 0.29, collar + 0.07).cut(canvas.full(torso))
    paint(hem, _pick(_TRIM, r["trim"]))
    paint(canvas.ellipse(head_x * 0.6, 0.77, 0.22, collar), skin * 0.6 + shadow * 0.4)

    # Ears and head; the side away from the light is darker.
    for side in (-1, 1):
        ear_x, ear_y = place(side * (width + 0.005) - turn, 0.10)
        paint(canvas.ellipse(ear_x, ear_y, 0.085, 0.125), skin)
        paint(canvas.ellipse(ear_x, ear_y + 0.01, 0.045, 0.075), shadow)
    jaw = _spread(r["jaw"], 0.02, 0.20)
    head = canvas.silhouette(axis, lambda y: _head(y, width, head_y, jaw))
    paint(head, skin)
    head_alpha = canvas.full(head)
    light = np.where(r["light"] < 0.5, np.float32(-1), np.float32(1)) * (0.05 + 0.05 * r["blush"])
    lit = canvas.silhouette(axis + light, lambda y: 0.98 * _head(y + 0.05, width, head_y, jaw), soft=0.16)
    paint(head.cut(1 - canvas.full(lit)).fade(0.65), shadow)

    for side in (-1, 1):
        cheek_x, cheek_y = place(side * 0.30 * width / 0.51, 0.21)
        cheek = canvas.ellipse(cheek_x, cheek_y, 0.13, 0.09, soft=0.09)
        paint(cheek.cut(head_alpha).fade(_spread(r["blush"], 0.35, 0.85)), blush)

    # Hair in front: the same silhouette with an opening for the face, which drops a shadow on the forehead.
    parting = np.where(r["part"] < 0.5, np.float32(-1), np.float32(1)) * part
    opening_y = head_y + 0.10

    def opening_profile(y):
        t = np.minimum((y - opening_y) / (opening_y - inner_top), 0)
        arch = _power(t, np.maximum(flat, 0))
        arch = arch + np.maximum(-flat, 0) * (-t - arch)
        return (inner * inner * (width / 0.51) ** 2) * (1 - arch)

    shift = parting * np.clip((opening_y - y) / 0.5, 0, 1)
    under = canvas.silhouette(axis + shift, lambda y: opening_profile(y - 0.075), soft=0.05)
    paint(head.cut(1 - canvas.full(under)).cut(mane_alpha).fade(0.7), shadow)
    opening = canvas.full(canvas.silhouette(axis + shift, opening_profile))
    mane = mane.cut(1 - opening)
    paint(mane, hair)
    mane_alpha = canvas.full(mane)
    gloss_x, gloss_y = place(0.0, -0.43)
    gloss = canvas.band(gloss_x + 3 * light, gloss_y, 0.8 * over, -0.14, -0.14, 0.035)
    paint(gloss.cut(mane_alpha).fade(0.75 * (1 - curls)), hair_light)

    below = np.maximum(head_alpha, mane_alpha)
    _hat(canvas, label["hat"], r, axis, lean, np.sign(light), head_x, head_y, width, below)
    _glasses(canvas, label["glasses"], r, place, width, behind=True)
    _features(canvas, label["expression"], r, place, hair_dark, skin, shadow, lips)
    _glasses(canvas, label["glasses"], r, place, width, behind=False)
    image = canvas.image
    if fine == 2:
        image = (image[0::2] + image[1::2]) * np.float32(0.5)
        image = (image[:, 0::2] + image[:, 1::2]) * np.float32(0.5)
    image += np.float32(0.5)
    return image.astype(np.uint8).transpose(3, 0, 1, 2)


def _head(y, width, head_y, jaw):
    t = np.minimum((y - head_y) / np.float32(0.60), 2)  # far below, both factors would be negative
    return width * width * (1 - _power(t, 0.22)) * (1 - jaw * np.maximum(t, 0))


def _background(canvas: _Canvas, label: np.ndarray, r: dict[str, np.ndarray]) -> None:
    top = _shade(_BACKDROP_TOP[label].T, r["backdrop_tone"], r["backdrop_warmth"], 0.08)
    bottom = _shade(_BACKDROP_BOTTOM[label].T, r["backdrop_tone"], r["backdrop_warmth"], 0.08)
    canvas.image[:] = (top + (bottom - top) * np.clip(0.5 + 0.55 * canvas.y[:, :, None], 0, 1.01))[:, None]
    canvas.paint(canvas.ellipse(0.0, 0.0, 0.75, 0.75, soft=0.7).fade(0.28), _WHITE)


def _features(canvas, label, r, place, brow_colour, skin, shadow, lips) -> None:
    """Brows, eyes, nose and mouth."""
    paint = canvas.paint
    mouth, upper, lower, thick, openness, teeth, lid, lift, worry = _EXPRESSIONS[label].T
    spacing = _spread(r["eye_spacing"], 0.205, 0.245)
    eye = _spread(r["eye_size"], 0.115, 0.135)
    iris = _shade(_pick(_IRIS, r["eye_colour"]), r["eye_tone"], by=0.4)
    gaze_x, gaze_y = _spread(r["gaze_x"], -0.035, 0.035), _spread(r["gaze_y"], -0.015, 0.02)
    brow_y = -0.195 - _spread(r["brow_height"], 0.0, 0.035) - lift
    for side in (-1, 1):
        brow_x, y = place(side * (spacing + 0.01), brow_y)
        weight = _spread(r["brow_weight"], 0.024, 0.036)
        tilt = side * worry / 0.13
        arch = -0.045 + 0.2 * worry
        paint(canvas.band(brow_x, y, 0.115, arch, arch, weight, tilt), brow_colour)
        x, y = place(side * spacing, 0.0)
        height = eye * lid * 1.05
        paint(canvas.ellipse(x, y - 0.022, eye + 0.012, height + 0.012), _INK)
        paint(canvas.ellipse(x, y + 0.008, eye - 0.006, height - 0.006), _WHITE)
        ball = 0.76 * np.minimum(eye, height)
        x, y = x + gaze_x, y + gaze_y + 0.004
        paint(canvas.ellipse(x, y, ball, ball), iris)
        paint(canvas.ellipse(x, y, 0.58 * ball, 0.58 * ball), _INK)
        paint(canvas.ellipse(x - 0.33 * ball, y - 0.38 * ball, 0.36 * ball, 0.36 * ball), _WHITE)

    nose = _spread(r["nose_size"], 0.85, 1.2)
    x, y = place(0.5 * (r["turn"] - 0.5) * 0.06, 0.19)
    paint(canvas.ellipse(x, y, 0.068 * nose, 0.048 * nose), shadow)
    paint(canvas.ellipse(x, y - 0.028, 0.052 * nose, 0.040 * nose, soft=0.03), skin)

    mouth = mouth * _spread(r["mouth_width"], 0.92, 1.1)
    size = _spread(r["mouth_size"], 0.92, 1.12)
    x, y = place(0.0, 0.355 + _spread(r["mouth_height"], -0.012, 0.02))
    y = y - 0.4 * (upper + lower)
    upper, lower = size * upper, size * lower
    paint(canvas.band(x, y, mouth, upper, lower, thick), lips)
    inside = np.maximum(thick - 0.024, 0.006)
    paint(canvas.band(x, y, mouth, upper, lower, inside).fade(openness), _MOUTH)
    tongue_width, tongue_height = 0.55 * (mouth + inside), 0.26 * np.abs(lower) + 0.25 * inside + 0.01
    tongue = canvas.ellipse(x, y + 0.72 * lower + 0.6 * inside, tongue_width, tongue_height, soft=0.03)
    paint(tongue.fade(openness * 0.9), _TONGUE)
    paint(canvas.band(x, y, mouth - 0.02, upper + 0.006, 0.46 * lower + 0.006, inside).fade(teeth), _WHITE)


def _glasses(canvas, label, r, place, width, behind: bool) -> None:
    """Clear lenses go behind the eyes, as a lighter patch of skin; the rest goes in front of them."""
    drawn, half_width, half_height, square, rim, tint = _GLASSES[label].T
    size = _spread(r["lens_size"], 0.94, 1.06)
    half_width, half_height = half_width * size, half_height * size
    apart = _spread(r["eye_spacing"], 0.225, 0.245)
    frame = _pick(_FRAME, r["frame_colour"])
    for side in (-1, 1):
        x, y = place(side * apart, 0.01)
        lens = canvas.ellipse(x, y, half_width, half_height, square=square)
        if behind:
            canvas.paint(lens.fade(0.3 * drawn), _WHITE)
            continue
        canvas.paint(lens.fade(0.94 * tint), 0.35 * frame + 0.5 * _INK[:, None])
        canvas.paint(canvas.ellipse(x - 0.08, y - 0.07, 0.05, 0.035, soft=0.04).fade(0.55 * tint), _WHITE)
        hole = canvas.full(canvas.ellipse(x, y, half_width - rim, half_height - rim, square=square))
        canvas.paint(lens.cut(1 - hole).fade(drawn), frame)
        arm = 0.5 * np.maximum(width - apart - half_width, 0.02)
        x, y = place(side * (apart + half_width + arm), -0.02)
        canvas.paint(canvas.band(x, y, arm, 0.0, 0.0, 0.022).fade(drawn), frame)
    if not behind:
        x, y = place(0.0, -0.02)
        bridge = canvas.band(x, y, np.maximum(apart - half_width, 0.02), -0.03, -0.03, 0.022)
        canvas.paint(bridge.fade(drawn), frame)


def _hat(canvas, label, r, axis, lean, side, head_x, head_y, width, below) -> None:
    paint = canvas.paint
    drawn, crown, top, band, brim, droop, shift, bobble, straw = _HATS[label].T
    size = _spread(r["hat_size"], 0.97, 1.04)
    crown, brim = crown * size + (width - 0.51), brim * size
    colour = np.where(straw > 0, _pick(_STRAW, r["hat_colour"]), _pick(_HAT, r["hat_colour"]))
    colour = _shade(colour, r["hat_tone"])
    dark, light = 0.76 * colour, colour + 0.3 * (255 - colour)
    trim = np.where(straw > 0, _pick(_HAT, r["trim"]), dark)
    lift = head_y - 0.1
    top, bottom = top + lift - 0.05 * (r["hat_size"] - 0.5), _BRIM + lift

    def profile(y):
        t = np.minimum((y - bottom) / (bottom - top), 0)
        dome = crown * crown * (1 - _power(t, 0.15 + 0.35 * straw))
        return np.minimum(dome, 40 * (bottom + 0.03 - 0.07 * bobble - y))

    x = head_x - lean * (bottom - 0.7)
    shade = canvas.ellipse(x, bottom + 0.03, crown, 0.11, soft=0.08)
    paint(shade.cut(below).fade(0.35 * drawn), _INK)
    paint(canvas.ellipse(x + 0.05 * shift, top - 0.02, 0.13, 0.13).fade(bobble), light)
    shape = canvas.silhouette(axis, profile).fade(drawn)
    paint(shape, colour)
    shape_alpha = canvas.full(shape)
    glow = canvas.ellipse(x - 0.4 * crown * side, 0.6 * top + 0.4 * bottom, 0.5 * crown, 0.18, soft=0.2)
    paint(glow.cut(shape_alpha).fade(0.6), light)
    fold = canvas.band(x, bottom - 0.03 - 0.13 * straw, crown - 0.05 - 0.01 * straw, -0.03, -0.03, band, lean)
    paint(fold.fade(drawn * (band > 0)), trim)
    rib = _scallop((canvas.x[fold.columns] - x) * np.float32(9))
    paint(fold._replace(alpha=fold.alpha * rib).fade(0.35 * bobble), light)
    under = canvas.band(x + shift * side, bottom + 0.025, brim, -droop, -0.2 * droop, 0.035, lean)
    paint(under.fade(drawn * (brim > 0.2)), dark)
    over = canvas.band(x + shift * side, bottom, brim, -droop, -0.4 * droop, 0.03, lean)
    paint(over.fade(drawn * (brim > 0.2)), colour)
