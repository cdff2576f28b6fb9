"""Stabilisers whose papers have no game in the plane: what each says of itself, on small faces."""

from benchmarks.claims.arms import Train, short
from benchmarks.claims.claim import Claim, Rule, clearly_less, less
from benchmarks.claims.collapse import MADE
from benchmarks.claims.rates import BASE, LOST, SHOWS, ring

TITLE = "Stabilisers"
SOURCE = (
    "Their authors' examples are CIFAR-10, MNIST and photographs, for longer than fits here. Most of these "
    "runs are 600 rounds of 32 `faces` at 32×32 and width 16. Where a claim is about collapse, they are the "
    "games that [rates](#labels-and-rates) and [images](#collapse-of-images) have for it. Samples are heads "
    "at best by then: the numbers say who is still lost, and not who ends well."
)
STEEP = "--lr-g 1e-3 --lr-d 1e-3 --beta1 0.9 --beta2 0.999"
GROWN = "--device cpu --threads 1 --image-size 32 --width 8 --batch-size 16 --lr-g 3e-3 --lr-d 3e-3"
GROWN += " --steps 1500 --sample-every 1500"
PYRAMID = "--device cpu --threads 1 --image-size 32 --width 16 --steps 2000 --sample-every 2000"
AROUND = '--penalties "DRAGAN(weight=10.0, scale=0.5)"'
RATES = "1e-3", "1e-2"
SEEN = "frechet", "recall", "modes"


def at_rate(recipe: str, rate: str) -> Train:
    return short(f"--lr-g {rate} --lr-d {rate}", recipe, 0.3)


def better(arm: str, than: str) -> Rule:
    return clearly_less(arm, than, "frechet")


CLAIMS = (
    Claim(
        "spectral-norm",
        "Miyato et al. 2018, abstract",
        "spectral norm gives images as good as earlier stabilisers do, or better.",
        {
            "spectral norm": short("", "sngan", 0.6),
            "WGAN-GP": short("", "wgan-gp", 1.1),
            "spectral norm, steep": short(STEEP, "sngan", 0.6),
            "WGAN-GP, steep": short(STEEP, "wgan-gp", 1.1),
        },
        better("spectral norm", "WGAN-GP") & better("spectral norm, steep", "WGAN-GP, steep"),
        less("spectral norm", "WGAN-GP", "frechet")
        & less("spectral norm, steep", "WGAN-GP, steep", "frechet"),
        SEEN,
        remark="By recipes, with their rates of 2e-4 and 1e-4, and with a steep 1e-3 and β₁ = 0.9, where a "
        "stabiliser is needed. After 2,000 rounds at width 32 one run of each, not steep, had 8.8 and 13.1 "
        "(benchmarks/results/faces.json).",
    ),
    Claim(
        "fisher-without-clipping",
        "Mroueh & Sercu 2017, abstract",
        "a constraint on the critic's second moments trains stably, and spares its capacity and the clipping "
        "of its weights.",
        {"Fisher": short("", "fisher", 0.4), "WGAN, clipped": short("", "wgan", 0.7)},
        better("Fisher", "WGAN, clipped"),
        less("Fisher", "WGAN, clipped", "frechet"),
        SEEN,
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
            "without": Train("dcgan", f"{MADE} --norm-d none", 0.6),
            "with DRAGAN": Train("dcgan", f"{MADE} --norm-d none {AROUND}", 0.8),
        },
        clearly_less("without", "with DRAGAN", "diversity") & better("with DRAGAN", "without"),
        less("without", "with DRAGAN", "diversity"),
        ("diversity", "modes", "frechet"),
        remark="D has no norm in either, as a penalty of each sample's gradient asks.",
    ),
    Claim(
        "ebgan-at-high-rates",
        "Zhao et al. 2017, abstract",
        "with an energy for D training is more stable than a GAN's.",
        {
            f"{name} at {rate}": at_rate(recipe, rate)
            for name, recipe in (("GAN", "dcgan"), ("EBGAN", "ebgan"))
            for rate in RATES
        },
        better("EBGAN at 1e-3", "GAN at 1e-3") & better("EBGAN at 1e-2", "GAN at 1e-2"),
        less("EBGAN at 1e-3", "GAN at 1e-3", "frechet") & less("EBGAN at 1e-2", "GAN at 1e-2", "frechet"),
        SEEN,
        remark="Stable is here: better at a high rate and at a too high one.",
    ),
    Claim(
        "growing-faster",
        "Karras et al. 2018, abstract",
        "growing both networks speeds the training up and stabilises it.",
        {
            "growing": Train("progressive", GROWN, 1.4),
            "full size from the start": Train("progressive", f'{GROWN} --growth ""', 1.4),
        },
        better("growing", "full size from the start"),
        less("growing", "full size from the start", "frechet"),
        SEEN,
        remark="Compared after the same number of rounds.",
    ),
    Claim(
        "pyramid-against-one",
        "Denton et al. 2015, §4.3",
        "samples of a pyramid pass for real more often than those of one GAN of full size (40% and 10%, of "
        "CIFAR-10, as people see them).",
        {
            "pyramid": Train("lapgan", PYRAMID, 1.5),
            "one GAN": Train("lapgan", f"{PYRAMID} --network dcgan", 0.5),
        },
        better("pyramid", "one GAN"),
        less("pyramid", "one GAN", "frechet"),
        SEEN,
        remark="By Fréchet distance and not by people. Both have LAPGAN's settings: no norms, plain descent "
        "with momentum. One GAN draws one pattern for all z, or diverges.",
    ),
)
