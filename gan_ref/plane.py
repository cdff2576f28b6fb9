"""A game in the plane, seen from above: where G's points lie, what D thinks of each place, and a film of it.

What is drawn and counted is the G that plays, not the average of its weights: the average hides how modes are
left and found again. The counts of the average stand beside its own in metrics.jsonl.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from gan_ref import imaging
from gan_ref.data import Dataset
from gan_ref.evaluation import MixtureCoverage, mixture_coverage
from gan_ref.layers import MinibatchDiscrimination
from gan_ref.techniques.objectives import Objective

SAMPLES = 2500  # as many as Srivastava et al. 2017 (VEEGAN, §4.1) draw to count modes
SIDE, CAPTION = 320, 24  # of a picture, in pixels
FIELD = 80  # D is asked at 80×80 places, and in between the field is interpolated
FAKE, REAL = np.array([58.0, 124, 178]), np.array([236.0, 146, 52])  # blue, orange: apart to the colour-blind
INK, RING = np.array([16.0, 18, 36]), np.array([60.0, 60, 66])

# ---------------------------------------------------------------- what is counted


@torch.no_grad()
def coverage(generator: nn.Module, z: Tensor, dataset: Dataset) -> MixtureCoverage:
    """Modes, high-quality share and reverse KL of G(z), z (N, Z): see evaluation.mixture_coverage."""
    return mixture_coverage(_points(generator, z).cpu().numpy(), dataset.means, dataset.sigma)


def scores(generator: nn.Module, average: nn.Module, z: Tensor, dataset: Dataset) -> dict[str, float]:
    """For metrics.jsonl: the counts of G, and as ``average_…`` those of the average of its weights."""
    row = {}
    for prefix, module in (("", generator), ("average_", average)):
        found = coverage(module, z, dataset)
        values = {"modes": found.modes, "high_quality": found.high_quality, "reverse_kl": found.reverse_kl}
        row |= {prefix + name: value for name, value in values.items()}
    return row


def _points(generator: nn.Module, z: Tensor) -> Tensor:
    with _judging(generator):
        return generator(z).float()


# ---------------------------------------------------------------- what is drawn


@torch.no_grad()
def picture(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    z: Tensor,
    dataset: Dataset,
    step: int,
) -> np.ndarray:
    """Points over D's field → uint8 (344, 320, 3), in 30 ms on one core.

    The square is [−a, a]² with a = 1.3 · max |means|, y upwards. Dots are G(z). Circles are 3σ about each
    mode: a dot inside is a sample of high quality. The field is orange where D says real, blue where it says
    fake, and a line runs where it cannot tell. Below stand the round, the modes covered and the high-quality
    share.
    """
    reach = 1.3 * float(np.abs(dataset.means).max())
    fake = _points(generator, z)
    belief, points = field(discriminator, objective, fake, dataset, reach), fake.cpu().numpy()

    shade = np.abs(belief)[..., None] * 0.9
    page = 250.0 * (1 - shade) + shade * np.where(belief[..., None] > 0, REAL, FAKE)
    for cover, colour, strength in (
        (_contour(belief), INK, 0.55),
        (_circles(dataset.means / reach, 3 * dataset.sigma / reach), RING, 0.7),
        (imaging.discs(points / reach, SIDE, radius=0.9), INK, 0.8),
    ):
        page += strength * cover[..., None] * (colour - page)

    found = mixture_coverage(points, dataset.means, dataset.sigma)
    words = f"{found.modes}/{found.total} modes", f"{found.high_quality:.0%} high quality"
    return np.concatenate([page.round().astype(np.uint8), _caption(f"step {step:,}", *words)])


def field(
    discriminator: nn.Module, objective: Objective, fake: Tensor, dataset: Dataset, reach: float
) -> np.ndarray:
    """What D believes, from −1 (fake) to 1 (real), at each pixel of [−reach, reach]²: (SIDE, SIDE).

    With log odds s it is 2σ(s) − 1 = tanh(s/2). Other scores are counted from the objective's threshold, or
    from halfway between the means of reals and fakes where zero means nothing, in units of their own spread.
    """
    axis = (torch.arange(FIELD, dtype=torch.float32) + 0.5) * (2 * reach / FIELD) - reach
    places = torch.cartesian_prod(-axis, axis).flip(1).to(fake.device)  # read like a page: y falls, x rises
    with _judging(discriminator), _alone(discriminator):
        s = discriminator(places).scores
        if objective.log_odds:
            belief = torch.tanh(s / 2)
        else:
            threshold = objective.threshold
            if threshold is None:
                real = torch.from_numpy(dataset.samples[: len(fake)]).to(fake.device)
                threshold = (discriminator(real).scores.mean() + discriminator(fake).scores.mean()) / 2
            away = torch.nan_to_num(s - threshold)
            belief = torch.tanh(away / (away.abs().median() + 1e-12))
    belief = torch.nan_to_num(belief).view(1, 1, FIELD, FIELD)
    return F.interpolate(belief, size=(SIDE, SIDE), mode="bilinear")[0, 0].cpu().numpy()


@contextmanager
def _judging(network: nn.Module) -> Iterator[None]:
    """Without noise or dropout, and without leaving a trace."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@contextmanager
def _alone(network: nn.Module) -> Iterator[None]:
    """Each place by itself: minibatch discrimination sees no other sample, and all similarities are zero.

    The layer is not asked at all: 6,400 places compared with each other would take it seconds.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, MinibatchDiscrimination)]
    for layer in layers:
        layer.forward = lambda x, zeros=layer.num_kernels: F.pad(x, (0, zeros))
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _contour(belief: np.ndarray) -> np.ndarray:
    """The share of each pixel that the line belief = 0, 1.2 pixels wide, covers: by its distance |b|/‖∇b‖."""
    slope = np.hypot(*np.gradient(belief))
    return np.clip(1.1 - np.abs(belief) / (slope + 1e-6), 0, 1)


def _circles(means: np.ndarray, radius: float) -> np.ndarray:
    """Anti-aliased circles about means (K, 2) in [−1, 1]²."""
    pixels = max(radius * SIDE / 2, 2.5)
    return imaging.discs(means, SIDE, pixels + 0.6) - imaging.discs(means, SIDE, pixels - 0.6)


def _caption(left: str, middle: str, right: str) -> np.ndarray:
    """A line of words, uint8 (CAPTION, SIDE, 3)."""
    strip = Image.new("RGB", (SIDE, CAPTION), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    for x, anchor, words in ((8, "lm", left), (SIDE // 2, "mm", middle), (SIDE - 8, "rm", right)):
        draw.text((x, CAPTION // 2), words, fill=(40, 42, 54), font=_font(), anchor=anchor)
    return np.asarray(strip)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=13)


# ---------------------------------------------------------------- the film


class Film:
    """``frames/NNNNNN.png`` at equal steps of a run, and ``training.gif`` made of them at its end.

    A frame every 2^k steps with the k that gives 64 to 128 of them. A run that is lengthened takes a larger
    k, whose steps are among those already drawn. Frames after ``start``, of a run that died past its
    checkpoint, go.
    """

    def __init__(self, folder: Path, start: int, steps: int):
        self.folder, self.steps = folder, steps
        self.every = 1 << max(0, math.floor(math.log2(steps / 64)))
        for step, path in self._frames():
            if step > start:
                path.unlink()

    def wants(self, step: int) -> bool:
        return step % self.every == 0 or step == self.steps

    def add(self, step: int, picture: np.ndarray) -> None:
        imaging.write_png(self.folder / "frames" / f"{step:06}.png", picture)

    def develop(self, fps: float = 20.0) -> Path:
        """Write training.gif, its last frame held for a second and a half."""
        paths = [path for step, path in self._frames() if self.wants(step)]
        frames = (np.asarray(Image.open(path)) for path in [*paths, *[paths[-1]] * int(1.5 * fps)])
        imaging.write_movie(self.folder / "training.gif", frames, fps)
        return self.folder / "training.gif"

    def _frames(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem), path) for path in (self.folder / "frames").glob("[0-9]*.png"))
