"""Mode collapse in the plane, between the networks and settings of the authors' own scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.claims.arms import Train
from benchmarks.claims.claim import Claim, Rule, clearly_less, less, within
from gan_ref.files import write_atomically

if TYPE_CHECKING:
    from benchmarks.claims.ledger import Ledger

TITLE = "Mode collapse in the plane"
SOURCE = (
    "8 Gaussians on a ring and 25 on a grid (`--data ring8`, `grid25`), with the settings of the authors' "
    "own scripts ([techniques](techniques.md)) but far fewer rounds than their 25,000 to 400,000. Modes and "
    "high quality are those of 2,500 points of G itself, as VEEGAN counts them, the mean over the last fifth "
    "of a run's rounds. The same page has more recipes on the grid, and one whose G fills it."
)
PICTURE = "claims-points.png"
PICTURE_SAYS = "modes and high quality of each arm; a dot a seed, triangles for the papers' tables"
SHOWS = "modes", "high_quality", "reverse_kl"
TABLES = "Srivastava et al. 2017 (VEEGAN), table 1; Lin et al. 2018 (PacGAN), table 1"


def plane(recipe: str, data: str, steps: int, minutes: float, flags: str = "") -> Train:
    base = f"--data {data} --device cpu --threads 1 --steps {steps} --log-every 100 --sample-every {steps}"
    return Train(recipe, f"{base} {flags}".strip(), minutes)


def covers(arm: str) -> Rule:
    """Nearly all eight modes, and not by a cloud over all of them."""
    return within(arm, "modes", low=7.6) & within(arm, "high_quality", low=0.3)


def grid(pack: int) -> Train:
    return plane("pacgan", "grid25", 20_000, 2.0 * (pack + 2), f"--pack {pack} --batch-size {100 * pack}")


IN_TABLES = {  # data: what both tables say of a plain GAN, and the modes that packs of 2 have in PacGAN's
    "ring8": ("6.3 ± 0.5 of 8 modes and 98.2% in PacGAN's table, and 1 mode and 99.3% in VEEGAN's", 7.9),
    "grid25": (
        "17.3 ± 0.8 of 25 modes and 94.8% in PacGAN's table, and 3.3 modes and 0.5% in VEEGAN's",
        23.8,
    ),
}


def beside_tables(data: str, arm: str, source: str, says: str, flags: str, minutes: float) -> Claim:
    """A method that neither table has, between PacGAN's networks, beside the plain GAN of both."""
    plain, packed = IN_TABLES[data]
    flags = f"--pack 1 --batch-size 100 {flags}"
    return Claim(
        f"{data[:4]}-{arm.split()[0]}",
        f"{source}; {TABLES}",
        f"{says}. A plain GAN has {plain}.",
        {"plain GAN": ALONE[data], arm: plane("pacgan", data, 20_000, minutes, flags)},
        clearly_less("plain GAN", arm, "modes") & within(arm, "modes", low=packed),
        less("plain GAN", arm, "modes"),
        SHOWS,
        remark=f"Neither table has it: the rule asks for the {packed} modes of packs of 2 in PacGAN's. "
        f"{SHORTER}",
    )


ALONE = {data: plane("pacgan", data, 20_000, 6.0, "--pack 1 --batch-size 100") for data in IN_TABLES}
SHORTER = "PacGAN's runs have 400,000 rounds and these 20,000."
R3GAN = '--objective Relativistic --penalties "R1(weight=0.05)" "R2(weight=0.05)"'
OF_IMAGES = '--penalties "GradientPenalty(weight=10.0)" --beta1 0'
CLAIMS = (
    Claim(
        "grid-wgan-gp",
        "Gulrajani et al. 2017, their script for points",
        "a small λ makes things faster on points: there it is 0.1, with β₁ = 0.5, and 10 for images, with "
        "β₁ = 0.",
        {
            "their script": plane("wgan-gp", "grid25", 6000, 3.0, "--width 128"),
            "for images": plane("wgan-gp", "grid25", 6000, 3.0, f"--width 128 {OF_IMAGES}"),
        },
        within("their script", "modes", low=24) & clearly_less("for images", "their script", "modes"),
        less("for images", "their script", "modes"),
        SHOWS,
        remark="Their width of 512 takes eight times as long a round. That G finds the modes is our rule: "
        "their figure 1 holds G fixed at the data and noise, and shows the critic.",
    ),
    Claim(
        "ring-unrolled",
        "Metz et al. 2017, §3.1 and figure 2; VEEGAN, table 1 (7.6 modes, 35.6%)",
        "a G that sees ten steps of D ahead spreads over the ring, where otherwise it rotates through the "
        "modes.",
        {
            "unrolled": plane("unrolled", "ring8", 5000, 4.5),
            "simultaneous": plane("unrolled", "ring8", 5000, 0.6, "--update Simultaneous"),
        },
        covers("unrolled") & clearly_less("simultaneous", "unrolled", "modes"),
        less("simultaneous", "unrolled", "modes"),
        SHOWS,
        remark="Five steps, as in their notebook, and the bounds are those of VEEGAN's table, rounded down.",
    ),
    Claim(
        "ring-lsgan",
        "Mao et al. 2017, stability on a mixture of Gaussians, and their script for it",
        "with least squares G learns the eight Gaussians, where with cross entropy it collapses to one.",
        {
            "least squares": plane("lsgan", "ring8", 20_000, 3.0),
            "cross entropy": plane("lsgan", "ring8", 20_000, 3.0, "--objective NonSaturating"),
        },
        covers("least squares") & clearly_less("cross entropy", "least squares", "modes"),
        less("cross entropy", "least squares", "modes"),
        SHOWS,
        remark="Their script has 35,000 steps, and draws one of the eight twice as often. The bounds are "
        "those of ring-unrolled.",
    ),
    Claim(
        "ring-consensus",
        "Mescheder et al. 2017, on a circle of Gaussians",
        "consensus optimisation converges to the ring, where simultaneous steps do not.",
        {
            "consensus": plane("consensus", "ring8", 20000, 1.7),
            "simultaneous": plane("consensus", "ring8", 20000, 1.0, "--update Simultaneous"),
        },
        covers("consensus") & clearly_less("simultaneous", "consensus", "modes"),
        less("simultaneous", "consensus", "modes"),
        SHOWS,
    ),
    Claim(
        "ring-local-stability",
        "Nagarajan & Kolter 2017, abstract; η is their script's",
        "η = 0.5 times D's squared gradient in G's loss speeds up convergence and works against mode "
        "collapse.",
        {
            "with the penalty": plane("local-stability", "ring8", 10000, 1.0),
            "without": plane("local-stability", "ring8", 10000, 0.7, "--penalties"),
        },
        covers("with the penalty") & clearly_less("without", "with the penalty", "modes"),
        less("without", "with the penalty", "modes"),
        SHOWS,
    ),
    Claim(
        "grid-plain-gan",
        TABLES,
        "plain GANs on the same grid: 17.3 ± 0.8 modes (ten runs, standard error) and 94.8% of high quality "
        "in PacGAN's table, and 3.3 modes and 0.5% in VEEGAN's. The rule takes PacGAN's.",
        {"plain GAN": grid(1)},
        within("plain GAN", "modes", 15, 20) & within("plain GAN", "high_quality", low=0.9),
        within("plain GAN", "modes", low=10.3),
        SHOWS,
        remark=SHORTER,
    ),
    Claim(
        "grid-packing",
        "Lin et al. 2018 (PacGAN), table 1",
        "the more samples D judges together the more modes G has: 17.3 of 25 alone, 23.8 in packs of 2, 24.8 "
        "in packs of 4.",
        {"alone": grid(1), "packs of 2": grid(2), "packs of 4": grid(4)},
        clearly_less("alone", "packs of 2", "modes") & less("packs of 2", "packs of 4", "modes"),
        less("alone", "packs of 2", "modes"),
        SHOWS,
        remark=SHORTER,
    ),
    *(
        beside_tables(
            data,
            "minibatch discrimination",
            "Salimans et al. 2016, §3.2",
            "a D that compares the samples of a batch does not let G collapse",
            "--minibatch-discrimination",
            9.0,
        )
        for data in IN_TABLES
    ),
    *(
        beside_tables(
            data,
            "r3gan with γ = 0.05",
            "Huang et al. 2024 (R3GAN), §2.4",
            "pairs with R1 and R2 find all modes where the classic loss drops some",
            R3GAN,
            11.0,
        )
        for data in IN_TABLES
    ),
)


PUBLISHED = {  # arm of grid- or ring-…: modes and high quality in the papers' tables 1
    ("ring-minibatch", "plain GAN"): ((6.3, 0.982), (1.0, 0.993)),
    ("ring-unrolled", "unrolled"): ((7.6, 0.356),),
    ("grid-plain-gan", "plain GAN"): ((17.3, 0.948), (3.3, 0.005)),
    ("grid-packing", "packs of 2"): ((23.8, 0.913),),
    ("grid-packing", "packs of 4"): ((24.8, 0.936),),
}


def draw(ledger: Ledger, path: Path) -> None:
    """A row an arm: its modes and its high quality, with a dot for each seed, and what the papers print."""
    from matplotlib.figure import Figure

    arms = {}  # key: claim, arm and results; arms of two claims once
    for claim in sorted(CLAIMS, key=lambda claim: claim.name.split("-")[0], reverse=True):
        results = ledger.results(claim)
        for name, arm in claim.arms.items():
            if within(name, "modes").holds(results):
                arms.setdefault(arm.key, (claim.name, name, results))
    if not arms:
        return
    figure = Figure(figsize=(9, 0.32 * len(arms) + 1), dpi=90, layout="constrained")
    columns = figure.subplots(1, 2, sharey=True)
    for k, (claim, arm, results) in enumerate(arms.values()):
        of = 8 if claim.startswith("ring") else 25
        for axes, quantity, scale, column in zip(columns, SHOWS, (1 / of, 1), (0, 1)):
            values = [scale * value for value in results.values(arm, quantity)]
            colour = "#3182bd" if of == 8 else "#31a354"
            axes.barh(k, scale * results(arm, quantity), color=colour, alpha=0.5)
            axes.plot(values, [k] * len(values), "k.")
            for row in PUBLISHED.get((claim, arm), ()):
                axes.plot(scale * row[column], k, "v", color="#de2d26", markersize=7)
    columns[0].set_yticks(range(len(arms)), [f"{claim}: {arm}" for claim, arm, _ in arms.values()])
    columns[0].invert_yaxis()
    for axes, words in zip(columns, ("share of the modes", "share of high quality")):
        axes.set(xlabel=words, xlim=(0, 1.03))
        axes.grid(alpha=0.25, axis="x")
    with write_atomically(path) as part:
        figure.savefig(part, format="png")
