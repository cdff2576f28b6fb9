"""Mode collapse of images: the Helvetica scenario, and the thousand modes of stacked digits."""

from typing import Any

from benchmarks.claims.arms import Numbers, Recorded, Train
from benchmarks.claims.claim import Claim, clearly_less, less, within

TITLE = "Collapse of images"
SOURCE = (
    "Collapse made on purpose on `faces` ([failures](failures.md)), and three digits stacked as colours: "
    "1,000 modes, 26,000 samples a run as VEEGAN counts them."
)
MADE = '--device cpu --threads 1 --width 16 --balance "Fixed(g_steps=10)" --ema 0 --steps 300'
SHOWS = "modes", "reverse_kl"
LENGTH = "10,000 rounds of 64 at width 32, by the average of G; the published networks are others."


def recorded(setting: str) -> Recorded:
    """What benchmarks/stacked_mnist.py found with one of its settings."""

    def read(data: Any) -> list[Numbers]:
        return [
            {"modes": seed["modes"], "reverse_kl": seed["kl"]} for seed in data["results"][setting].values()
        ]

    return Recorded(
        "stacked.json",
        read,
        f'python benchmarks/stacked_mnist.py mnist/ --steps 10000 --settings "{setting}"',
    )


CLAIMS = (
    Claim(
        "helvetica",
        "Goodfellow et al. 2014, §6",
        "if G is trained too much without D, many z give one picture: “the Helvetica scenario”.",
        {
            "ten steps of G a round": Train("dcgan", MADE, 1.2),
            "one": Train("dcgan", "--device cpu --threads 1 --width 16 --ema 0 --steps 300", 0.3),
        },
        less("ten steps of G a round", "one", "diversity", 0.5),
        less("ten steps of G a round", "one", "diversity"),
        ("diversity", "modes", "frechet"),
        remark="Diversity is the root mean square distance of two samples; the data's is 18.4.",
    ),
    Claim(
        "minibatch-against-collapse",
        "Salimans et al. 2016, §3.2",
        "a D that compares the samples of a batch prevents collapse.",
        {
            "minibatch discrimination": Train("dcgan", f"{MADE} --minibatch-discrimination", 1.4),
            "without": Train("dcgan", MADE, 1.2),
        },
        less("without", "minibatch discrimination", "diversity", 0.5)
        & clearly_less("minibatch discrimination", "without", "frechet"),
        less("without", "minibatch discrimination", "diversity"),
        ("diversity", "modes", "frechet"),
    ),
    Claim(
        "stacked-dcgan",
        "Srivastava et al. 2017 (VEEGAN), table 2",
        "a DCGAN finds 99 of the 1,000 modes of stacked digits, with a KL of 3.4.",
        {name: recorded(name) for name in ("dcgan", "baseline")},
        within("dcgan", "modes", high=200),
        within("dcgan", "modes", high=900),
        SHOWS,
        remark=f"{LENGTH} PacGAN's authors count 78.9 ± 6.5 for theirs (table 2), and 628 for a DCGAN whose "
        "D is half as large as G (table 3).",
    ),
    Claim(
        "stacked-packing",
        "Lin et al. 2018 (PacGAN), table 2",
        "with packs of 2 it finds all 1,000, with a KL of 0.06.",
        {"packs of 2": recorded("dcgan, packs of 2"), "dcgan": recorded("dcgan")},
        within("packs of 2", "modes", low=995),
        within("packs of 2", "modes", low=900),
        SHOWS,
        remark=f"{LENGTH} Here it finds them without packs too.",
    ),
)
