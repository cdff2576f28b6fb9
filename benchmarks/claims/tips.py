"""The list of tips, each on and off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.claims.arms import Arm, short
from benchmarks.claims.claim import Claim, clearly_less, less, within
from gan_ref.files import write_atomically

if TYPE_CHECKING:
    from benchmarks.claims.ledger import Ledger

TITLE = "The list of tips"
SOURCE = (
    "Chintala, Denton, Arjovsky & Mathieu 2016, “How to train a GAN?” (ganhacks), each tip on and off, and "
    "one number: the Fréchet distance after 600 rounds of 32 `faces` at 32×32, recipe `dcgan`, width 16. "
    "[Tips](tips.md) has the settings. Tip 1 (tanh), 7 (a DCGAN) and 17 (dropout in G) cannot be switched "
    "here, and 10 (watch for failures) is no setting."
)
PICTURE = "claims-tips.png"
PICTURE_SAYS = "the Fréchet distance with each tip over that without it; grey: within two errors, or one seed"
BASE = short()
SHOWS = "frechet", "recall", "modes", "sees_fakes", "sees_reals"


def tip(number: int, name: str, says: str, on: Arm, off: Arm = BASE, remark: str = "") -> Claim:
    return Claim(
        f"tip-{number:02}-{name}",
        f"ganhacks, tip {number}",
        says,
        {"on": on, "off": off},
        clearly_less("on", "off", "frechet"),
        less("on", "off", "frechet"),
        SHOWS,
        remark=remark,
    )


ACGAN = '--conditional auxiliary --penalties "AuxiliaryClassifier(weight=1.0)"'
CLAIMS = (
    tip(2, "non-saturating", "G maximises log D.", BASE, short("--objective Minimax")),
    tip(3, "normal-z", "z is normal, not uniform.", BASE, short("--latent uniform")),
    tip(4, "separate-batches", "reals and fakes pass D in batches of their own.",
        BASE, short("--mixed-batches")),
    tip(4, "instance-norm", "instance norm where batch norm is no option.",
        short("--norm-d instance"), short("--norm-d none"), "On and off in D alone."),
    tip(5, "strided-upsampling", "G enlarges by transposed convolutions of stride 2, or by pixel shuffle.",
        BASE, short("--upsample nearest", minutes=0.6),
        "Of the tip this is the part that can be switched. Off is nearest neighbours, then a convolution. "
        "The claim was changed: until its text was checked, it had on and off exchanged."),
    tip(6, "soft-labels", "labels are soft: from 0.7 to 1.2 for reals, from 0 to 0.3 for fakes.",
        short('--objective "NonSaturating(spread=0.3)"'),
        remark="Up to 1 for reals. The claim was changed: it had 0.7 to 0.85, and 0 to 0.15 for fakes."),
    tip(6, "noisy-labels", "labels are noisy: D is occasionally told the wrong one.",
        short('--objective "NonSaturating(flip=0.05)"'), remark="Here 5% are; the tip has no number."),
    tip(8, "averaging", "stability tricks: past generations and older checkpoints come back.",
        BASE, short("--ema 0"), "In their place G's average draws the samples, which the tip does not name."),
    tip(8, "history", "stability tricks: past generations and older checkpoints come back.",
        short('--penalties "HistoricalAveraging(weight=0.1)"'),
        remark="In their place weights are drawn to their mean, which the tip does not name."),
    tip(9, "sgd-for-d", "Adam for G, SGD for D.", short("--optimizer-d sgd --lr-d 1e-2"),
        remark="SGD with a rate of 1e-2 and momentum 0.5; the tip names none."),
    tip(11, "no-balance-by-margin", "do not balance by the losses.",
        BASE, short('--balance "Margin(margin=0.3)"'),
        "Off is the margin rule of the balancing article."),
    tip(11, "no-dynamic-balance", "do not balance by the losses.", BASE, short("--balance Dynamic"),
        "Off is the kind of loop that the tip shows."),
    tip(12, "labels", "use the labels: D guesses the class too.", short(ACGAN, minutes=0.5)),
    tip(13, "instance-noise", "noise on what D sees, which decays.",
        short('--instance-noise "InstanceNoise(sigma=0.1, rounds=400)"')),
    tip(13, "noise-in-layers", "Gaussian noise in every layer of G.", short("--d-noise 0.1"),
        remark="Here it is between the layers of D; G has none to switch on."),
    tip(14, "more-steps-of-d", "train D more, sometimes (“not sure”).",
        short('--balance "Fixed(d_steps=2)"', minutes=0.5), remark="Here two steps a round."),
    tip(15, "minibatch", "batch discrimination (“not sure”: mixed results).",
        short("--minibatch-discrimination")),
    tip(16, "embedding", "classes of conditional GANs pass an embedding and are added as channels.",
        short("--conditional projection"), short("--conditional concatenation"),
        "The list has both and does not set one against the other; that is our comparison."),
)  # fmt: skip


def draw(ledger: Ledger, path: Path) -> None:
    """A bar a tip: the Fréchet distance on over off, with two standard errors; a dot a seed."""
    from matplotlib.figure import Figure

    found = [(claim, ledger.results(claim)) for claim in CLAIMS]
    found = [
        (claim, r) for claim, r in found if within("on", "frechet").holds(r) and r.values("off", "frechet")
    ]
    if not found:
        return
    found.sort(key=lambda pair: pair[1]("on", "frechet") / pair[1]("off", "frechet"))
    figure = Figure(figsize=(9, 0.36 * len(found) + 1.2), dpi=90, layout="constrained")
    axes = figure.subplots()
    for k, (_, r) in enumerate(found):
        off = r("off", "frechet")
        ratio = r("on", "frechet") / off
        error = 2 * np.hypot(r.error("on", "frechet"), r.error("off", "frechet")) / off
        colour = "#31a354" if ratio + error < 1 else "#de2d26" if ratio - error > 1 else "#969696"
        axes.barh(k, ratio - 1, left=1, color=colour, alpha=0.6)
        axes.errorbar(ratio, k, xerr=np.nan_to_num(error), color="k", capsize=3, linewidth=1)
        axes.plot(
            [value / off for value in r.values("on", "frechet")], [k] * len(r.values("on", "frechet")), "k."
        )
    axes.axvline(1, color="k", linewidth=1)
    axes.set_yticks(range(len(found)), [claim.name.removeprefix("tip-") for claim, _ in found])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="Fréchet distance with the tip, over that without it: below 1 it helps")
    ticks = [0.3, 0.4, 0.5, 0.7, 1.0, 1.2, 1.5, 2.0]
    low, high = axes.get_xlim()
    axes.set_xticks([t for t in ticks if low <= t <= high], [f"{t:g}" for t in ticks if low <= t <= high])
    axes.minorticks_off()
    axes.grid(alpha=0.25, axis="x")
    with write_atomically(path) as part:
        figure.savefig(part, format="png")
