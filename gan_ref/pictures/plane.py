"""Pictures of two-dimensional runs: where G's points lie and what D thinks of each place."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.layers import MinibatchDiscrimination
from gan_ref.techniques.objectives import Objective

SIDE, CAPTION = 320, 24  # pixels of draw_plane's square and of the line of words below it
SCATTER = 256  # pixels of draw_scatter's square
FIELD = 80  # D is asked at 80×80 places, and the picture interpolates in between
FAKE, REAL, INK, RING, MODE, WALK = "#4e88b6", "#ed9c44", "#101224", "#3c3c42", "#e2e2e8", "#1f5aa5"
DPI = 72  # so that a point, matplotlib's unit of sizes, is a pixel


def reach(means: np.ndarray) -> float:
    """a of the square [−a, a]² that all pictures of modes at ``means`` (M, 2) show: 1.3 · max |means|."""
    return 1.3 * float(np.abs(means).max())


# ---------------------------------------------------------------- what D believes


@torch.no_grad()
def belief_field(
    discriminator: nn.Module,
    objective: Objective,
    fake: Tensor,
    real: np.ndarray,
    reach: float,
    pack: int = 1,
) -> np.ndarray:
    """What D believes of places in [−reach, reach]², from −1 (fake) to 1 (real): (FIELD, FIELD), y downwards.

    Where scores s are log odds, the belief is 2σ(s) − 1 = tanh(s/2). Other scores are counted from the
    objective's threshold, in units of their own median size. A critic's zero means nothing, so its threshold
    is halfway between the mean scores of ``real`` (N, 2) and ``fake`` (N, 2). A D that judges packs is asked
    about ``pack`` copies of each place.
    """
    axis = (torch.arange(FIELD, dtype=torch.float32) + 0.5) * (2 * reach / FIELD) - reach
    places = torch.cartesian_prod(-axis, axis).flip(1)  # read like a page: y falls, x rises
    judge = _judge(discriminator)

    def scores(x: Tensor) -> Tensor:
        return judge(x.to(fake.device).repeat(1, pack)).scores.float()

    s = scores(places)
    if objective.log_odds:
        belief = torch.tanh(s / 2)
    else:
        away = torch.nan_to_num(s - objective.middle(scores(torch.from_numpy(real)), scores(fake)))
        belief = torch.tanh(away / (away.abs().median() + 1e-12))
    return torch.nan_to_num(belief).view(FIELD, FIELD).cpu().numpy()


def score_gradients(discriminator: nn.Module, x: Tensor, pack: int = 1) -> np.ndarray:
    """∇s(x), the way from each of x (N, 2) to where D's score is higher: (N, 2).

    D sees each place alone, or ``pack`` copies of it that move together.
    """
    x = x.detach().clone().requires_grad_()
    scores = _judge(discriminator)(x.repeat(1, pack)).scores
    return torch.autograd.grad(scores.float().sum(), x)[0].cpu().numpy()


def _judge(discriminator: nn.Module) -> nn.Module:
    """A copy of D that sees each place alone: no noise, no dropout, and no other sample in its batch.

    All similarities of minibatch discrimination are zero in it. The layer is not called at all, because it
    would take seconds to compare 6,400 places with each other.
    """
    judge = copy.deepcopy(discriminator).eval()
    for layer in judge.modules():
        if isinstance(layer, MinibatchDiscrimination):
            layer.forward = lambda features, zeros=layer.num_kernels: F.pad(features, (0, zeros))
    return judge


# ---------------------------------------------------------------- what is drawn


def draw_plane(
    points: np.ndarray, field: np.ndarray, means: np.ndarray, sigma: float | None, caption: Sequence[str]
) -> np.ndarray:
    """Points over D's field → uint8 (344, 320, 3), in about 35 ms on one core.

    Dots are ``points`` (N, 2). Circles are 3σ about each of ``means`` (M, 2): a dot inside is a sample of
    high quality. (Without σ they are small.) ``field`` (FIELD, FIELD) is orange where D says real and blue
    where it says fake, and a line runs where it cannot tell. Below stand the three phrases of ``caption``.
    """
    from matplotlib.colors import LinearSegmentedColormap

    a = reach(means)
    axes = _square(a, SIDE, CAPTION)
    colours = LinearSegmentedColormap.from_list("belief", [FAKE, "#fafafa", REAL])
    axes.imshow(field, colours, extent=(-a, a, -a, a), vmin=-1, vmax=1, interpolation="bilinear")
    if field.min() < 0 < field.max():
        axis = (np.arange(-1, FIELD + 1) + 0.5) * (2 * a / FIELD) - a  # a cell more, to reach the border
        axes.contour(axis, -axis, np.pad(field, 1, "edge"), [0], colors=INK, linewidths=1, alpha=0.55)
    pixel = 2 * a / SIDE
    _discs(axes, means, max(3 * (sigma or 0), 2.5 * pixel), facecolors="none", edgecolors=RING, alpha=0.7)
    _discs(axes, points, 0.9 * pixel, facecolors=INK, linewidths=0, alpha=0.8)
    height = CAPTION / (SIDE + CAPTION) / 2
    for x, side, words in zip((0.025, 0.5, 0.975), ("left", "center", "right"), caption):
        axes.figure.text(x, height, words, ha=side, va="center_baseline", fontsize=12, color=INK)
    return _pixels(axes)


def draw_scatter(points: np.ndarray, means: np.ndarray, scale: int = 1) -> np.ndarray:
    """points (T, W, 2) → uint8 (256·scale, 256·scale, 3): W points now, each with the trail that led to it.

    The dots are points[-1]; the trails fade to nothing over the T instants. Pale discs are the modes of the
    real data, ``means`` (M, 2). With 64 points it takes about 12 ms on one core.
    """
    from matplotlib.collections import LineCollection

    a = reach(means)
    axes = _square(a, SCATTER, scale=scale)
    pixel = 2 * a / SCATTER
    _discs(axes, means, 7 * pixel, facecolors=MODE, linewidths=0)
    segments = list(np.stack([points[:-1], points[1:]], axis=2).reshape(-1, 2, 2))
    alphas = np.repeat(np.linspace(0, 1, len(points))[1:] ** 2, points.shape[1])
    colours = [(WALK, alpha) for alpha in alphas]
    axes.add_collection(LineCollection(segments, colors=colours, linewidths=2.5, snap=False))
    _discs(axes, points[-1], 2.5 * pixel, facecolors=WALK, linewidths=0)
    return _pixels(axes)


def _square(reach: float, side: int, caption: int = 0, scale: int = 1) -> Any:
    """Empty axes that show [−reach, reach]² on side×side pixels, above a strip of ``caption`` pixels."""
    axes = _axes(reach, side, caption, scale)
    for artist in (*axes.collections, *axes.images, *axes.figure.texts):
        artist.remove()
    return axes


@functools.cache  # new axes for each picture would take 20 ms
def _axes(reach: float, side: int, caption: int, scale: int) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and needs no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side / DPI, (side + caption) / DPI), dpi=scale * DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, caption / (side + caption), 1, side / (side + caption)))
    axes.set_axis_off()
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), autoscale_on=False)
    return axes


def _discs(axes: Any, centres: np.ndarray, radius: float, **style: Any) -> None:
    """Discs about centres (N, 2) at their exact places: matplotlib's markers jump from pixel to pixel."""
    from matplotlib.collections import EllipseCollection

    centres = centres[(np.abs(centres) < 2 * axes.get_xlim()[1]).all(axis=1)]  # others, or NaN, are not seen
    size = np.full(len(centres), 2 * radius)
    where = {"units": "xy", "offsets": centres, "offset_transform": axes.transData}
    if len(centres):  # matplotlib 3.10 draws one at the corner if there is none
        axes.add_collection(EllipseCollection(size, size, np.zeros(len(centres)), **where, **style))


def _pixels(axes: Any) -> np.ndarray:
    canvas = axes.figure.canvas
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
