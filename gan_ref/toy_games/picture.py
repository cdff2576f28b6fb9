"""The toy games as one moving picture: a row for each game, a column for each way of playing it."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gan_ref.toy_games.dynamics import DYNAMICS, GAMES, NEED_DATA, NO_DATA, Play, ToyGame

SPAN = 1.6  # a panel shows this far from the equilibrium on each side
TAIL = 60  # steps
COLOURS = {"converges": "#1f6fb4", "circles": "#c98a12", "diverges": "#c8402f", "too short": "#6b6b6b"}
INK, QUIET = "#2b2b2b", "#8a8a8a"
SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
TRIANGLE = np.array([[-1.0, -0.75], [1.0, -0.75], [0.0, 0.982]])  # rock, paper, scissors
LEGEND = f"""Each dot is a pair of players, its tail their last {TAIL} steps, the thin line all of them.
The + is the equilibrium. The needles point where one step would lead, now and here.
Below a panel: the distance to the equilibrium at the end, mean of three starts;
where the needles turn with the other player, one of the three is drawn.

Point: the plane of the data; the point θ is drawn and the critic ψ turns the needles.
Dirac-GAN, bilinear: θ or x to the right, ψ or y up.
Rock–paper–scissors: the generator's mixture; rock left, paper right, scissors on top."""


def place(game: ToyGame, θ: Tensor, ψ: Tensor) -> np.ndarray:
    """(…, d) and (…, d) → (…, 2): where a state stands in its panel, the square [−1, 1]².

    Scalars are drawn as the plane (θ, ψ), the point game as its plane of data, by θ, and mixed strategies as
    the triangle of p = softmax(θ).
    """
    if game.mixed:
        return θ.softmax(-1).numpy() @ TRIANGLE
    states = [θ, ψ] if θ.shape[-1] == 1 else [θ]
    centre = np.concatenate([np.asarray(x) for x in game.equilibrium[: len(states)]])
    return (torch.cat(states, -1).numpy() - centre) / SPAN


def lattice(game: ToyGame, ψ: Tensor) -> tuple[Tensor, Tensor]:
    """The states (M, d), (M, d) at which a panel shows the direction of a step.

    A panel that does not show ψ takes the present one (d,), so that its needles turn as ψ moves.
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


def mix(colour: str, share: np.ndarray | float) -> np.ndarray:
    """``share`` (…) of a colour on white, (…, 3)."""
    return 1 - np.asarray(share)[..., None] * (1 - np.array(to_rgb(colour)))


def brief(number: float) -> str:
    """A distance in at most seven characters."""
    return f"{number:.2f}" if 0.01 <= number < 1000 else f"{number:.0e}"


class Panel:
    """One play in its axes: what does not move is drawn once, ``show(t)`` draws the rest at step t."""

    def __init__(self, axes: Axes, play: Play, η: float):
        self.axes, self.play, self.η = axes, play, η
        self.turning = play.θ.shape[-1] > 1  # ψ is not shown, and the needles depend on it
        starts = 1 if self.turning else play.θ.shape[1]
        path = place(play.game, play.θ[:, :starts], play.ψ[:, :starts])
        self.path = np.where(np.abs(path) < 2, path, np.nan)  # (steps + 1, starts, 2)

        colour, outline = COLOURS[play.verdict], TRIANGLE if play.game.mixed else SQUARE
        axes.set_title(play.dynamics)
        axes.text(0, -1.22, f"{play.verdict} → {brief(float(play.distance[-1]))}", color=colour, ha="center")
        axes.fill(*outline.T, facecolor=mix(colour, 0.09), edgecolor=mix(colour, 0.35), lw=0.8, clip_on=False)
        axes.plot(*outline.mean(0), "+", color=INK, markersize=7)
        base, way = self.field(0)
        self.needles = axes.quiver(  # arrows that are all head
            *base.T, *way.T, color=mix(colour, 0.33), angles="xy", scale_units="xy", scale=1, pivot="middle",
            headwidth=6, headlength=20, headaxislength=20, minlength=0, animated=self.turning,
        )  # fmt: skip
        pale = mix(colour, 0.45)
        self.lines = [axes.plot([], [], color=pale, lw=0.9, animated=True)[0] for _ in range(starts)]
        self.tail = axes.add_collection(LineCollection([], linewidths=1.8, animated=True))
        self.fading = mix(colour, np.repeat(np.linspace(0.45, 1, TAIL), starts))  # (TAIL · starts, 3)
        (self.heads,) = axes.plot([], [], "o", color=colour, mec="white", markersize=6.5, animated=True)

    def field(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the needles stand, (M, 2), and which way a step leads from there at step t, (M, 2)."""
        game = self.play.game
        θ, ψ = lattice(game, self.play.ψ[t, 0])
        base = place(game, θ, ψ)
        way = (place(game, *DYNAMICS[self.play.dynamics](game, θ, ψ, self.η)) - base) / self.η
        return base, 0.28 * way / (np.linalg.norm(way, axis=-1, keepdims=True) + 0.25)

    def show(self, t: int) -> None:
        """Draw the paths up to step t over the still picture."""
        for line, points in zip(self.lines, self.path[: t + 1].swapaxes(0, 1)):
            line.set_data(*points.T)
        recent = self.path[max(0, t - TAIL) : t + 1]
        segments = np.stack([recent[:-1], recent[1:]], 2).reshape(-1, 2, 2)
        self.tail.set(segments=segments, color=self.fading[len(self.fading) - len(segments) :])
        self.heads.set_data(*self.path[t].T)
        if self.turning:
            self.needles.set_UVC(*self.field(t)[1].T)
            self.axes.draw_artist(self.needles)
        for artist in (*self.lines, self.tail, self.heads):
            self.axes.draw_artist(artist)


@rc_context({"font.size": 8.5, "text.color": INK, "axes.titlesize": 8.5, "axes.titlepad": 4})
@np.errstate(over="ignore", invalid="ignore")  # a play may overflow; it has long left its panel
def draw(plays: Sequence[Play], η: float, path: Path, frames: int = 120, quiet: bool = True) -> None:
    """Write the GIF, in which all plays advance together; its last frame stays for 2.5 seconds."""
    figure = Figure(figsize=(11.42, 8.66), dpi=100)
    canvas = FigureCanvasAgg(figure)
    sides = {"left": 0.021, "right": 0.979, "top": 0.878, "bottom": 0.037, "wspace": 0.08, "hspace": 0.56}
    grid = figure.add_gridspec(len(GAMES), len(DYNAMICS), **sides)
    by_name = {(each.game.name, each.dynamics): each for each in plays}
    panels = []
    for row, game in enumerate(GAMES):
        for column, name in enumerate(DYNAMICS):
            axes = figure.add_subplot(grid[row, column], xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
            axes.set_axis_off()
            if column == 0:
                axes.text(-1, 1.38, game.name, fontsize=11, weight="bold")
                axes.text(3.3, 1.38, game.formula, fontsize=10, color=QUIET)
            if (game.name, name) in by_name:
                panels.append(Panel(axes, by_name[game.name, name], η))
            elif (why := game.blank.get(name, NO_DATA)) != NO_DATA:
                axes.set_title(name, color=QUIET)
                axes.text(0, 0, textwrap.fill(why, 18), color=QUIET, ha="center", va="center")
                axes.fill(*SQUARE.T, fill=False, edgecolor=mix(INK, 0.2), ls="--", lw=0.8, clip_on=False)

    figure.text(0.021, 0.961, "Four small games, eight ways to play them", fontsize=15, weight="bold")
    left_out = f"{', '.join(NEED_DATA)} for these two games:\n{NO_DATA}."
    for y, title, words in ((0.426, "How to read it", LEGEND), (0.195, "Left out", left_out)):
        figure.text(0.513, y, title, fontsize=11, weight="bold")
        figure.text(0.513, y - 0.016, words, va="top", linespacing=1.6)
    clock = figure.text(0.979, 0.965, "", ha="right", fontsize=11, animated=True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)

    shades = [mix(colour, np.arange(24) / 23) for colour in (INK, *COLOURS.values())]
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * np.concatenate(shades)).round().astype(np.uint8).tobytes())
    steps, images = len(plays[0].distance) - 1, []
    times = np.unique(np.linspace(0, steps, min(frames, steps + 1)).round().astype(int))
    for t in tqdm(times, "drawing", unit="frame", leave=False, disable=quiet):
        canvas.restore_region(still)
        for panel in panels:
            panel.show(t)
        clock.set_text(f"step {t} of {steps}")
        figure.draw_artist(clock)
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        images.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
    durations = [70] * (len(images) - 1) + [2500]  # ms
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
