"""Stabilisers whose papers have no game in the plane: what each says of itself, on small faces."""

from collections.abc import Callable

from benchmarks.claims.arms import Train, short
from benchmarks.claims.claim import Claim, Rule, clearly_less, less
from benchmarks.claims.collapse import MADE
from benchmarks.claims.rates import BASE, LOST, SHOWS, ring

TITLE = "Stabilisers"
SOURCE = (
    "Their authors' examples are CIFAR-10, MNIST and photographs, for longer than fits here. These runs are "
    "600 rounds of 32 `faces` at 32×32 and width 16, and where a claim is about collapse also the games that "
    "[rates](#labels-and-rates) and [images](#collapse-of-images) have for it."
)
STEEP = "--lr-g 1e-3 --lr-d 1e-3 --beta1 0.9 --beta2 0.999"  # and five steps of D: setting F
GROWN = "--device cpu --threads 1 --image-size 32 --width 8 --batch-size 16 --lr-g 3e-3 --lr-d 3e-3"
GROWN += " --steps 1500 --sample-every 1500"
AROUND = '--penalties "DRAGAN(weight=10.0, scale=0.5)"'
RATES = "1e-3", "1e-2"  # two of the three of EBGAN's grid; at the third, 1e-4, 600 rounds are too few


def at_rate(recipe: str, rate: str) -> Train:
    return short(f"--lr-g {rate} --lr-d {rate}", recipe, 0.6)


def gentler(rule: Callable[[str, str, str], Rule], rate: str) -> Rule:
    return rule(f"EBGAN at {rate}", f"GAN at {rate}", "frechet")


CLAIMS = (
    Claim(
        "spectral-norm-at-high-rates",
        "Miyato et al. 2018, §4.1",
        "spectral norm is robust to high rates and momentum, where WGAN-GP fails: rates of 1e-3, β₁ = 0.9, "
        "five steps of D.",
        {
            "spectral norm": short(STEEP, "sngan", 1.2),
            "WGAN-GP": short(STEEP, "wgan-gp", 1.6),
        },
        less("spectral norm", "WGAN-GP", "frechet", 0.5)
        & clearly_less("spectral norm", "WGAN-GP", "frechet"),
        less("spectral norm", "WGAN-GP", "frechet"),
        ("frechet", "recall", "modes"),
        remark="That a failure is twice the distance is our rule.",
    ),
    Claim(
        "fisher-without-clipping",
        "Mroueh & Sercu 2017, abstract",
        "a constraint on the critic's second moments trains stably, and spares its capacity and the clipping "
        "of its weights.",
        {"Fisher": short("", "fisher", 0.6), "WGAN, clipped": short("", "wgan", 1.0)},
        clearly_less("Fisher", "WGAN, clipped", "frechet"),
        less("Fisher", "WGAN, clipped", "frechet"),
        ("frechet", "recall", "modes"),
        remark="By recipes: rates and steps of D differ too.",
    ),
    Claim(
        "dragan-ring",
        "Kodali et al. 2017, abstract",
        "a gradient penalty around the data leads to fewer collapses.",
        {LOST: BASE, "with DRAGAN": ring(f"--beta1 0.9 --lr-g 2e-3 --lr-d 2e-3 {AROUND}")},
        clearly_less(LOST, "with DRAGAN", "modes"),
        less(LOST, "with DRAGAN", "modes"),
        SHOWS,
    ),
    Claim(
        "dragan-faces",
        "Kodali et al. 2017, abstract",
        "a gradient penalty around the data leads to fewer collapses: here ten steps of G a round.",
        {
            "without": Train("dcgan", f"{MADE} --norm-d none", 1.2),
            "with DRAGAN": Train("dcgan", f"{MADE} --norm-d none {AROUND}", 1.4),
        },
        clearly_less("without", "with DRAGAN", "diversity")
        & clearly_less("with DRAGAN", "without", "frechet"),
        less("without", "with DRAGAN", "diversity"),
        ("diversity", "modes", "frechet"),
        remark="D has no norm in either, as a penalty of each sample's gradient asks.",
    ),
    Claim(
        "ebgan-at-many-rates",
        "Zhao et al. 2017, abstract and §4.1",
        "with an energy for D training is more stable than a GAN's: over a grid of settings it does better.",
        {f"{name} at {rate}": at_rate(recipe, rate)
         for name, recipe in (("GAN", "dcgan"), ("EBGAN", "ebgan")) for rate in RATES},
        gentler(clearly_less, RATES[0]) & gentler(clearly_less, RATES[1]),
        gentler(less, RATES[0]) & gentler(less, RATES[1]),
        ("frechet", "recall", "modes"),
        remark="Their grid is over layers, widths, dropout and optimizers too, on MNIST.",
    ),
    Claim(
        "growing-faster",
        "Karras et al. 2018, §2",
        "networks that grow come to the same quality two to six times sooner.",
        {
            "growing": Train("progressive", GROWN, 2.0),
            "full size from the start": Train("progressive", f'{GROWN} --growth ""', 3.0),
        },
        clearly_less("growing", "full size from the start", "frechet"),
        less("growing", "full size from the start", "frechet"),
        ("frechet", "recall", "modes"),
        remark="Compared after the same number of rounds, of which the early ones of small images cost less.",
    ),
)  # fmt: skip
