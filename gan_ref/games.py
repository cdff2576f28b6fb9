"""The command ``python -m gan_ref.games``: the games of gan_ref/dynamics.py as one GIF and one table.

    python -m gan_ref.games --out DIR [--steps N] [--lr η] [--seed N]

DIR gets games.gif, every game played every way side by side, games.txt, the distances to the equilibrium over
time, and games.json, the same as data.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_ref.dynamics import DYNAMICS, GAMES, NEED_DATA, NO_DATA, Game, Play, play
from gan_ref.errors import Parser, UserError, command

# ---------------------------------------------------------------------------------------------- picture

PANEL, GAP, MARGIN, ROW, TOP = 128, 10, 24, 200, 66  # pixels
SPAN = 1.6  # a panel shows this far from the equilibrium on each side
TAIL = 60  # steps
COLOURS = {"converges": "#1f6fb4", "circles": "#c98a12", "diverges": "#c8402f", "too short": "#6b6b6b"}
INK, QUIET = "#2b2b2b", "#8a8a8a"
CORNERS = np.array([[-1.0, -0.75], [1.0, -0.75], [0.0, 0.982]])  # rock, paper, scissors, in panel units


def place(game: Game, θ: Tensor, ψ: Tensor) -> np.ndarray:
    """(…, d) and (…, d) → (…, 2): where a state stands in its panel, in half panels from the middle.

    Scalars are drawn as the plane (θ, ψ), the point game as its plane of data, by θ, and mixed strategies as
    the triangle of p = softmax(θ).
    """
    if game.mixed:
        return θ.softmax(-1).numpy() @ CORNERS
    states = [θ, ψ] if θ.shape[-1] == 1 else [θ]
    centre = np.concatenate([np.asarray(x) for x in game.equilibrium[: len(states)]])
    return (torch.cat(states, -1).numpy() - centre) / SPAN


def lattice(game: Game, ψ: Tensor) -> tuple[Tensor, Tensor]:
    """The states (M, d), (M, d) at which a panel shows the direction of a step.

    Where the panel does not show ψ, the present one (d,) is taken, and so the needles turn with it.
    """
    if game.mixed:
        weights = [(i, j, 9 - i - j) for i in range(1, 8) for j in range(1, 9 - i)]
        θ = torch.tensor(weights, dtype=torch.float64).log()
        return θ, ψ.expand_as(θ)
    ticks = torch.linspace(-0.84, 0.84, 7, dtype=torch.float64) * SPAN
    grid = torch.cartesian_prod(ticks, ticks)
    if ψ.shape[-1] == 1:
        return grid[:, :1], grid[:, 1:]
    return grid + torch.tensor(game.equilibrium[0]), ψ.expand_as(grid)


def needles(play: Play, ψ: Tensor, η: float) -> np.ndarray:
    """(M, 3, 2) thin triangles in panel units that point where one step from each lattice point leads."""
    θ, ψ = lattice(play.game, ψ)
    base = place(play.game, θ, ψ)
    way = (place(play.game, *DYNAMICS[play.dynamics](play.game, θ, ψ, η)) - base) / η
    speed = np.linalg.norm(way, axis=-1, keepdims=True)
    across = 0.022 * way[:, ::-1] * [-1, 1] / (speed + 1e-12)
    way = 0.12 * way / (speed + 0.25)  # a long needle must not hide its neighbours
    return np.stack([base - way + across, base - way - across, base + way], 1)


def mix(colour: str, share: np.ndarray | float) -> np.ndarray:
    """``share`` (…) of a colour on white, (…, 3). Opaque mixtures keep the GIF's palette small."""
    from matplotlib.colors import to_rgb

    return 1 - np.asarray(share)[..., None] * (1 - np.array(to_rgb(colour)))


@np.errstate(over="ignore", invalid="ignore")  # a play may overflow; it has long left its panel
def draw(plays: Sequence[Play], η: float, path: Path, frames: int = 120, quiet: bool = True) -> None:
    """Write the GIF: a row a game, a column a way of playing, all advancing together.

    Text, outlines and fixed needles are drawn once; a frame adds the newest piece of each path to that
    background and then, for itself alone, the tails, the heads and the needles that turn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import CircleCollection, LineCollection, PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform
    from PIL import Image

    width = 2 * MARGIN + len(DYNAMICS) * (PANEL + GAP) - GAP
    height = TOP + len(GAMES) * ROW
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    corner = {  # (game, dynamics) → the lower left of its panel
        (game.name, name): np.array([MARGIN + i * (PANEL + GAP), height - TOP - j * ROW - 40 - PANEL])
        for j, game in enumerate(GAMES)
        for i, name in enumerate(DYNAMICS)
    }

    def pixels(play: Play, where: np.ndarray) -> np.ndarray:
        return corner[play.game.name, play.dynamics] + PANEL / 2 * (1 + where)

    paths, visible, still, turning = [], [], [], []
    for each in plays:
        turns = each.θ.shape[-1] > 1
        shown = 1 if turns else each.θ.shape[1]  # needles that turn belong to one start only
        where = place(each.game, each.θ[:, :shown], each.ψ[:, :shown])  # (steps + 1, shown, 2)
        where[~(np.abs(where).max(-1) < 0.98)] = np.nan  # outside its panel
        paths.append(pixels(each, where))
        (turning if turns else still).append(each)
        visible += [each] * shown
    paths = np.concatenate(paths, 1)  # (steps + 1, curves, 2)

    _furniture(figure, corner, plays, width, height)

    def arrows(which: Sequence[Play], t: int) -> PolyCollection:
        triangles = [pixels(each, needles(each, each.ψ[t, 0], η)) for each in which]
        tints = [mix(COLOURS[each.verdict], np.full(len(some), 0.33)) for each, some in zip(which, triangles)]
        triangles, tints = np.concatenate(triangles), np.concatenate(tints)
        return PolyCollection(triangles, facecolors=tints, transform=None, lw=0)

    if still:
        figure.add_artist(arrows(still, 0))
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)

    def paint(artist) -> None:
        artist.set_figure(figure)
        artist.draw(canvas.get_renderer())

    steps = len(paths) - 1
    times = np.unique(np.linspace(0, steps, min(frames, steps + 1)).round().astype(int))
    clock = figure.text((width - MARGIN) / width, 1 - 30 / height, "", ha="right", fontsize=11, color=INK)
    images, before = [], 0
    for t in tqdm(times, "drawing", unit="frame", leave=False, disable=quiet):
        canvas.restore_region(background)
        new = [paths[before : t + 1, i] for i in range(paths.shape[1])]
        faint = [mix(COLOURS[each.verdict], 0.45) for each in visible]
        paint(LineCollection(new, colors=faint, lw=0.9, transform=None))
        background, before = canvas.copy_from_bbox(figure.bbox), t

        if turning:
            paint(arrows(turning, t))
        first = max(0, t - TAIL)
        tail = np.stack([paths[first:t], paths[first + 1 : t + 1]], 2).swapaxes(0, 1)  # (curves, T, 2, 2)
        fade = 0.45 + 0.55 * np.linspace(0, 1, t - first + 1)[1:]
        tints = np.stack([mix(COLOURS[each.verdict], fade) for each in visible])
        paint(LineCollection(tail.reshape(-1, 2, 2), colors=tints.reshape(-1, 3), lw=1.8, transform=None))
        heads = np.isfinite(paths[t]).all(-1)
        bright = [COLOURS[each.verdict] for each, seen in zip(visible, heads) if seen]
        dots = CircleCollection([26], offsets=paths[t, heads], facecolors=bright, edgecolors="white", lw=0.8)
        dots.set_transform(IdentityTransform())
        paint(dots)
        clock.set_text(f"step {t} of {steps}")
        paint(clock)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))

    shades = [mix(INK, k / 23) for k in range(24)]
    shades += [mix(colour, k / 24) for colour in COLOURS.values() for k in range(1, 25)]
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * np.array(shades)).round().astype(np.uint8).tobytes())
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [70] * (len(images) - 1) + [2500]  # ms
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)


LEGEND = """Each dot is a pair of players, its tail their last 60 steps, the thin line all of them.
The + is the equilibrium. The needles point where one step would lead, now and here.
Below a panel: the distance to the equilibrium at the end, mean of three starts;
where the needles turn with the other player, one of the three is drawn.

Point: the plane of the data; the point θ is drawn and the critic ψ turns the needles.
Dirac-GAN, bilinear: θ or x to the right, ψ or y up.
Rock–paper–scissors: the generator's mixture; rock left, paper right, scissors on top."""


def _furniture(figure, corner: dict, plays: Sequence[Play], width: int, height: int) -> None:
    """Everything in the picture that does not move."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon, Rectangle

    def text(x: float, y: float, words: str, **style) -> None:
        figure.text(x / width, y / height, words, **{"fontsize": 8.5, "color": INK, "va": "baseline"} | style)

    def add(artist, **style) -> None:
        artist.set(transform=None, linewidth=0.8, **style)
        figure.add_artist(artist)

    text(MARGIN, height - 34, "Four small games, eight ways to play them", fontsize=15, weight="bold")
    by_name = {(each.game.name, each.dynamics): each for each in plays}
    for game in GAMES:
        x, y = corner[game.name, "simultaneous"]
        text(x, y + PANEL + 24, game.name, fontsize=11, weight="bold")
        text(x + (PANEL + GAP) * 2, y + PANEL + 24, game.formula, fontsize=10, color=QUIET)
        for name in DYNAMICS:
            x, y = corner[game.name, name]
            middle = x + PANEL / 2, y + PANEL / 2
            if name in game.blank and game.blank[name] != NO_DATA:
                text(x + PANEL / 2, y + PANEL + 6, name, ha="center", color=QUIET)
                text(*middle, textwrap.fill(game.blank[name], 18), ha="center", va="center", color=QUIET)
                add(Rectangle((x, y), PANEL, PANEL), fill=False, edgecolor=mix(INK, 0.2), linestyle="--")
            if (game.name, name) not in by_name:
                continue
            each = by_name[game.name, name]
            colour = COLOURS[each.verdict]
            text(x + PANEL / 2, y + PANEL + 6, name, ha="center")
            end = brief(each.distance[-1])
            text(x + PANEL / 2, y - 14, f"{each.verdict} → {end}", ha="center", color=colour)
            triangle = Polygon(corner[game.name, name] + PANEL / 2 * (1 + CORNERS))
            outline = triangle if game.mixed else Rectangle((x, y), PANEL, PANEL)
            add(outline, facecolor=mix(colour, 0.09), edgecolor=mix(colour, 0.35))
            here = middle[1] + PANEL / 2 * CORNERS.mean(0)[1] * game.mixed
            add(Line2D([middle[0] - 4, middle[0] + 4], [here, here]), color=INK)
            add(Line2D([middle[0], middle[0]], [here - 4, here + 4]), color=INK)

    x, y = corner["bilinear", "WGAN"]
    text(x + GAP, y + PANEL + 6, "How to read it", fontsize=11, weight="bold")
    text(x + GAP, y + PANEL - 8, LEGEND, va="top", linespacing=1.6)
    x, y = corner["rock–paper–scissors", "WGAN"]
    text(x + GAP, y + PANEL + 6, "Left out", fontsize=11, weight="bold")
    why = f"{', '.join(NEED_DATA)} for these two games:\n{NO_DATA}."
    text(x + GAP, y + PANEL - 8, why, va="top", linespacing=1.6)


# ---------------------------------------------------------------------------------------------- command


def brief(number: float) -> str:
    """A distance in at most seven characters."""
    return f"{number:.2f}" if 0.01 <= number < 1000 else f"{number:.0e}"


def table(plays: Sequence[Play], η: float) -> str:
    """The distance to the equilibrium at eight moments of each play, as text, and what is left out."""
    steps = len(plays[0].distance) - 1
    times = np.unique(np.linspace(0, steps, 8).round().astype(int))
    starts = plays[0].θ.shape[1]
    lines = [f"distance to the equilibrium (mean of {starts} starts) after so many steps at rate {η:g}", ""]
    lines += [f"{'game':29}{'dynamics':16}" + "".join(f"{t:>9}" for t in times) + "   verdict"]
    for each in plays:
        numbers = "".join(f"{brief(each.distance[t]):>9}" for t in times)
        lines.append(f"{each.game.name:29}{each.dynamics:16}{numbers}   {each.verdict}")
    lines += ["", "left out"]
    lines += [f"{game.name:29}{name:16}  {why}" for game in GAMES for name, why in game.blank.items()]
    return "\n".join(lines) + "\n"


def report(plays: Sequence[Play], η: float, seed: int) -> dict:
    """The same as data, at up to 201 moments. A distance that overflowed is null: JSON has no infinity."""
    steps = len(plays[0].distance) - 1
    times = np.unique(np.linspace(0, steps, 201).round().astype(int))
    return {
        "steps": steps,
        "lr": η,
        "seed": seed,
        "at": times.tolist(),
        "plays": [
            {
                "game": each.game.name,
                "dynamics": each.dynamics,
                "verdict": each.verdict,
                "distance": [float(f"{d:.6g}") if np.isfinite(d) else None for d in each.distance[times]],
            }
            for each in plays
        ],
        "left_out": [
            {"game": game.name, "dynamics": name, "why": why}
            for game in GAMES
            for name, why in game.blank.items()
        ],
    }


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    parser = Parser(
        prog="python -m gan_ref.games",
        description="Play four small games under eight dynamics; write games.gif, games.txt and games.json.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to, made if missing")
    add("--steps", type=int, default=600, metavar="N", help="steps of each play [600]")
    add("--lr", type=float, default=0.1, metavar="η", help="rate of both players [0.1]")
    add("--seed", type=int, default=3, metavar="N", help="of the starting points [3]")
    args = parser.parse_args(argv)
    if not 1 <= args.steps <= 20_000:
        raise UserError(f"--steps {args.steps}: give a number from 1 to 20000")
    if not 0 < args.lr <= 1:
        raise UserError(f"--lr {args.lr:g}: give a rate above 0 and at most 1; 0.1 shows the games best")
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed}: give a whole number from 0 to 2^63 − 1")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file: name a folder")

    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out, prefix=".games-") as unfinished:
        pairs = [(game, name) for game in GAMES for name in DYNAMICS if name not in game.blank]
        quiet = not sys.stderr.isatty()
        plays = [
            play(game, name, args.steps, args.lr, seed=args.seed)
            for game, name in tqdm(pairs, "playing", unit="game", leave=False, disable=quiet)
        ]
        text = table(plays, args.lr)
        Path(unfinished, "games.txt").write_text(text, encoding="utf-8")
        Path(unfinished, "games.json").write_text(json.dumps(report(plays, args.lr, args.seed)) + "\n")
        draw(plays, args.lr, Path(unfinished, "games.gif"), quiet=quiet)
        for name in ("games.txt", "games.json", "games.gif"):
            os.replace(Path(unfinished, name), args.out / name)
    print(f"{text}\nwrote games.gif, games.txt and games.json to {args.out}")


if __name__ == "__main__":
    sys.exit(main())
