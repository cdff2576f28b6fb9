"""Scores: what the Fréchet distance, the inception score, precision and recall say of disturbed samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from benchmarks.claims.arms import Function, Numbers, Recorded, Train
from benchmarks.claims.claim import Claim, Results, Rule, less, rising, within
from gan_ref.checkpoint import load_generator
from gan_ref.data import Dataset, open_dataset
from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.files import write_atomically
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import generate

if TYPE_CHECKING:
    from benchmarks.claims.ledger import Ledger

SAMPLES = 2000
TITLE = "Scores"
SOURCE = (
    "On `faces` at 32×32, 2,000 images a side, over the features of the classifier of its labels. Disturbed "
    "are real images that the judge did not compare with. Levels α are the paper's (appendix A1). Blurs are "
    "a quarter of its, as these images are smaller; swirls reach further here; for its ImageNet there are "
    "negatives, upside down."
)
PICTURE = "claims-scores.png"
PICTURE_SAYS = "the Fréchet distance and the inception score of disturbed faces"


@cache
def judge_of(seed: int) -> SampleMetrics:
    train, test = (open_dataset("faces", 32, split=split) for split in ("train", "test"))
    assert train is not None
    return SampleMetrics(train, test, SAMPLES, seed)


def measured(seed: int, samples: np.ndarray) -> Numbers:
    values = judge_of(seed)(samples)
    return {name: round(values[name], 4) for name in ("frechet", "inception", "precision", "recall")}


# ------------------------------------------- disturbances: images uint8 (N, H, W, C) → images, at a level α


def noise(x: np.ndarray, α: float, rng: np.random.Generator) -> np.ndarray:
    """(1 − α)x + αε, ε Gaussian about grey."""
    return (1 - α) * x + α * (127.5 + 64 * rng.standard_normal(x.shape))


def blur(x: np.ndarray, α: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian blur with σ = α/4 pixels."""
    return np.stack([np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(α / 4))) for one in x])


def rectangles(x: np.ndarray, α: float, rng: np.random.Generator) -> np.ndarray:
    """Five black rectangles at random places."""
    x, side = x.copy(), x.shape[1]
    size = round(α * side)
    for image in x:
        for top, left in rng.integers(0, side - size + 1, (5, 2)):
            image[top : top + size, left : left + size] = 0
    return x


def swirl(x: np.ndarray, α: float, rng: np.random.Generator) -> np.ndarray:
    """Each point is turned about the centre by an angle of α·exp(−2r), r = 1 at the middle of an edge."""
    line = (torch.arange(x.shape[1]) + 0.5) / x.shape[1] * 2 - 1
    b, a = torch.meshgrid(line, line, indexing="ij")
    r, angle = torch.hypot(a, b), torch.atan2(b, a)
    angle = angle + α * torch.exp(-2 * r)
    grid = torch.stack([r * angle.cos(), r * angle.sin()], -1).expand(len(x), -1, -1, -1)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    turned = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return turned.permute(0, 2, 3, 1).numpy()


def salt_and_pepper(x: np.ndarray, α: float, rng: np.random.Generator) -> np.ndarray:
    """A share α of the pixels is black or white."""
    hit, white = rng.random((2, *x.shape[:3], 1))
    return np.where(hit < α, 255 * (white < 0.5), x)


def mixing(x: np.ndarray, α: float, rng: np.random.Generator) -> np.ndarray:
    """A share α of the images is something else: negatives, upside down (the paper has ImageNet's)."""
    others = rng.random(len(x)) < α
    return np.where(others[:, None, None, None], 255 - x[:, ::-1], x)


Disturbance = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
SHOWN = 3  # the number of the face in the picture
DISTURBANCES: dict[Disturbance, tuple[float, ...]] = {
    noise: (0.25, 0.5, 0.75), blur: (1, 2, 4), rectangles: (0.25, 0.5, 0.75), swirl: (1, 2, 4),
    salt_and_pepper: (0.1, 0.2, 0.3), mixing: (0.25, 0.5, 0.75),
}  # fmt: skip


def disturbed(disturb: Disturbance, α: float, seed: int) -> np.ndarray:
    images = disturb(judge_of(seed).held_out, α, np.random.default_rng([seed, 3]))
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


@cache
def others() -> Dataset:
    """Real images for samples: the training data's, of which the judge compares with 2,000 alone."""
    train = open_dataset("faces", 32)
    assert train is not None
    return train


def keep_classes(count: int, seed: int) -> Numbers:
    """2,000 real images of ``count`` of the 20 classes alone."""
    rng, data = np.random.default_rng([seed, 4]), others()
    assert data.labels is not None
    kept = np.flatnonzero(np.isin(data.labels, rng.permutation(20)[:count]))
    return measured(seed, data.samples[np.sort(rng.choice(kept, SAMPLES, replace=False))])


def truncated(ψ: float, seed: int) -> Numbers:
    """Samples of the package's finished generator for z times ψ."""
    demo = load_generator("demo")
    z = ψ * numbered_z(seed, range(SAMPLES), demo.config.latent_dim)
    return measured(seed, np.concatenate(list(generate(demo.module, [z]))))


def rank_correlations(file: dict[str, Any]) -> list[Numbers]:
    """Of each seed Spearman's correlation of inception scores with minus the Fréchet distances, over RUNS."""
    arms = [file[run.key]["seeds"] for run in RUNS.values() if run.key in file]
    correlations = []
    for seed in sorted(set.intersection(*map(set, arms)), key=int) if arms else ():
        runs = [arm[seed] for arm in arms if "failure" not in arm[seed]]
        pairs = np.array([(run["inception"], -run["frechet"]) for run in runs])
        ranks = pairs.argsort(0).argsort(0)
        correlations.append({"rank correlation": float(np.corrcoef(ranks.T)[0, 1])})
    return correlations


# ----------------------------------------------------------------------------------------------- claims

RECIPES = (
    "dcgan label-smoothing historical-averaging improved feature-matching feature-matching-sum ttur lsgan "
    "wgan wgan-gp dragan sngan r1 ebgan fisher consensus local-stability instance-noise"
)
FLAGS = "--device cpu --threads 1 --width 16 --steps 600 --log-every 50 --sample-every 600"
RUNS = {recipe: Train(recipe, FLAGS, 0.3) for recipe in RECIPES.split()}
REAL = Function("scores: real", lambda seed: measured(seed, judge_of(seed).held_out))
SHOWS = "frechet", "inception", "precision", "recall"


def arms_of(disturb: Disturbance) -> dict[str, Function]:
    arms, name = {"undisturbed": REAL}, words(disturb)
    for α in DISTURBANCES[disturb]:
        measure = lambda seed, α=α: measured(seed, disturbed(disturb, α, seed))
        arms[f"{name} {α:g}"] = Function(f"scores: {name} {α:g}", measure)
    return arms


def words(disturb: Disturbance) -> str:
    return disturb.__name__.replace("_", " ")


def fidelity(disturb: Disturbance) -> Claim:
    arms = arms_of(disturb)
    return Claim(
        f"frechet-{words(disturb).replace(' ', '-')}",
        "Heusel et al. 2017 (TTUR), figure 3 and appendix A1",
        f"the Fréchet distance rises with each level of disturbance by {words(disturb)}.",
        arms,
        rising(arms, "frechet"),
        less("undisturbed", list(arms)[-1], "frechet"),
        SHOWS,
    )


def unsteady(r: Results) -> bool:
    """Some disturbance raises the inception score from one level to the next, or leaves it."""
    levels = [[r(arm, "inception") for arm in arms_of(disturb)] for disturb in DISTURBANCES]
    return any(b >= a for scores in levels for a, b in zip(scores, scores[1:]))


ALL = {name: arm for disturb in DISTURBANCES for name, arm in arms_of(disturb).items()}
KEPT = {f"{n} classes": Function(f"scores: {n} classes", partial(keep_classes, n)) for n in (20, 15, 10, 5)}
ψS = {f"ψ = {ψ}": Function(f"scores: truncated {ψ}", partial(truncated, ψ)) for ψ in (1.0, 0.75, 0.5, 0.25)}
CLAIMS = (
    *map(fidelity, DISTURBANCES),
    Claim(
        "inception-unsteady",
        "Heusel et al. 2017 (TTUR), appendix A1 and figure A8",
        "under these disturbances the inception score fluctuates, stays flat or, at worst, decreases (as a "
        "distance, which should rise).",
        ALL,
        Rule("some disturbance, made stronger, raises the inception score or leaves it", unsteady),
        shows=("inception",),
        remark="Theirs is the score of an ImageNet network, ours of a classifier of the data's labels.",
    ),
    Claim(
        "dropped-classes",
        "Sajjadi et al. 2018, §4.1 and figure 5",
        "when classes are dropped, recall falls and precision does not.",
        KEPT,
        rising(reversed(KEPT), "recall") & within("5 classes", "precision", low=0.9),
        rising(reversed(KEPT), "recall", clearly=False),
        SHOWS,
    ),
    Claim(
        "truncation",
        "Kynkäänniemi et al. 2019, on truncation",
        "truncation of a G's latent space trades variation for quality: precision rises and recall falls.",
        ψS,
        rising(ψS, "precision") & rising(reversed(ψS), "recall"),
        less("ψ = 1.0", "ψ = 0.75", "precision") & less("ψ = 0.75", "ψ = 1.0", "recall"),
        SHOWS,
        remark="Theirs is StyleGAN's; here z of the package's finished DCGAN is multiplied by ψ, and its "
        "batch norm knows longer ones. The weaker rule was written after the numbers were seen.",
    ),
    Claim(
        "inception-order",
        "Salimans et al. 2016, §4",
        "the inception score correlates well with what people say of samples (here: with the Fréchet "
        "distance).",
        {"all of these": Recorded("claims/scores.json", rank_correlations, ""), **RUNS},
        within("all of these", "rank correlation", low=0.9),
        within("all of these", "rank correlation", low=0.5),
        ("rank correlation", "inception", "frechet"),
        remark="Spearman's correlation, over the recipes, of the score with minus the Fréchet distance; the "
        "runs are 600 rounds of 32 at width 16.",
    ),
)


# ---------------------------------------------------------------------------------------------- picture


def draw(ledger: Ledger, path: Path) -> None:
    """Above a face at each level; below the Fréchet distance and the inception score over the levels."""
    from matplotlib.figure import Figure

    results = ledger.results(next(claim for claim in CLAIMS if claim.arms is ALL))
    if not results.values("undisturbed", "frechet"):
        return
    figure = Figure(figsize=(13, 5.4), dpi=80, layout="constrained")
    rows = figure.subplots(3, len(DISTURBANCES), height_ratios=[1, 1.6, 1.6])
    for (above, middle, below), disturb in zip(rows.T, DISTURBANCES):
        levels = (0, *DISTURBANCES[disturb])
        faces = [judge_of(0).held_out[:8]] + [disturbed(disturb, α, 0)[:8] for α in levels[1:]]
        above.imshow(np.concatenate([x[SHOWN] for x in faces], 1))
        above.set_axis_off()
        above.set_title(words(disturb))
        for axes, quantity in ((middle, "frechet"), (below, "inception")):
            axes.plot(levels, [results(arm, quantity) for arm in arms_of(disturb)], "o-", color="#3182bd")
            for arm, α in zip(arms_of(disturb), levels):
                values = results.values(arm, quantity)
                axes.plot([α] * len(values), values, ".", color="#e6550d", markersize=4)
            axes.set_xticks(levels)
            axes.grid(alpha=0.25)
            axes.set_ylim(bottom=0)
    rows[1, 0].set_ylabel("Fréchet distance")
    rows[2, 0].set_ylabel("inception score")
    with write_atomically(path) as part:
        figure.savefig(part, format="png")
