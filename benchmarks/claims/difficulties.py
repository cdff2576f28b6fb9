"""Shekkizhar 2017 on the difficulties of training a GAN: how it begins, what it matches, what it averages."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.claims.arms import Function, Numbers, Train, short
from benchmarks.claims.claim import Claim, clearly_less, less, within
from gan_ref.checkpoint import LoadedGenerator, load_generator
from gan_ref.latents.numbers import numbered_z

TITLE = "Difficulties of training"
NOTES = "Shekkizhar 2017"
SOURCE = (
    f"{NOTES}, “Difficulties in training a generative adversarial network”: notes of somebody who trained a "
    "DCGAN on photographs of people and of flowers at 64×64. Here it is the recipe `dcgan` on Oxford's 102 "
    "flowers ([photographs](photographs.md)), 1,500 rounds of 32 at 32×32 and width 16. Distances are over "
    "the features of a classifier of the flowers; modes are kinds of flower among 2,000 samples. Gradients "
    "that die are tried on `faces`."
)
PICTURE = "claims-flowers.png"
PICTURE_SAYS = "samples of seed 0: N(0, 0.02²), N(0, 0.2²), Xavier; feature matching alone, and added"
SHOWS = "frechet", "recall", "modes", "d_loss", "sees_fakes"


def one_sided(generator: LoadedGenerator, seed: int = 0) -> Numbers:
    """By how much more a number of z changes the picture on its stronger side of zero, median over all."""
    z = numbered_z(seed, range(32), generator.config.latent_dim)
    with torch.inference_mode():
        changes = []
        for k in range(generator.config.latent_dim):
            pictures = []
            for value in (-2.0, 0.0, 2.0):
                moved = z.clone()
                moved[:, k] = value
                pictures.append(generator.module(moved))
            below, zero, above = pictures
            sides = [(side - zero).square().flatten(1).sum(1).sqrt().mean().item() for side in (below, above)]
            changes.append(max(sides) / min(sides))
    return {"stronger over weaker side": float(np.median(changes)), "most": max(changes)}


def of_demo(seed: int) -> Numbers:
    return one_sided(load_generator("demo"), seed)


def flowers(flags: str = "", **settings: Any) -> Train:
    base = "--device cpu --threads 1 --data flowers102-64px.zip --image-size 32 --width 16 --steps 1500"
    return Train("dcgan", f"{base} --log-every 10 --sample-every 1500 {flags}".strip(), 0.5, **settings)


BASE = flowers(also=one_sided)
SLOW = flowers("--norm-decay 0.999")

CLAIMS = (
    Claim(
        "init-wide",
        f"{NOTES}; Radford et al. 2016, §4",
        "weights from N(0, 0.2²) gave no result, and those from N(0, 0.02²) did.",
        {"N(0, 0.02²)": BASE, "N(0, 0.2²)": flowers("--weights normal --weights-scale 10")},
        less("N(0, 0.02²)", "N(0, 0.2²)", "frechet", 0.5),
        less("N(0, 0.02²)", "N(0, 0.2²)", "frechet"),
        SHOWS,
    ),
    Claim(
        "init-xavier",
        NOTES,
        "Xavier's initial weights gave no result, and N(0, 0.02²) did.",
        {"N(0, 0.02²)": BASE, "Xavier": flowers("--weights xavier")},
        less("N(0, 0.02²)", "Xavier", "frechet", 0.5),
        less("N(0, 0.02²)", "Xavier", "frechet"),
        SHOWS,
    ),
    Claim(
        "feature-matching-alone",
        f"{NOTES}; Salimans et al. 2016, §3.1",
        "with feature matching alone D's loss is almost zero from the beginning, contrary to the paper; "
        "added to the adversarial loss, which outweighs it at first, it works.",
        {
            "alone": flowers("--objective FeatureMatching"),
            "added": flowers('--penalties "FeatureMatchingTerm(weight=1.0, rounds=300)"'),
        },
        within("alone", "d_loss", high=0.05) & less("added", "alone", "frechet", 0.5),
        less("alone", "added", "d_loss") & less("added", "alone", "frechet"),
        SHOWS,
    ),
    Claim(
        "batch-norm-decay",
        NOTES,
        "an improper or slow decay of batch norm's statistics hinders training, and 0.9 is the sweet spot.",
        {
            "0.9": replace(BASE, own=True),
            "0.999": replace(SLOW, own=True),
            "0.999, statistics measured anew": SLOW,
        },
        clearly_less("0.9", "0.999", "frechet"),
        less("0.9", "0.999", "frechet"),
        SHOWS,
        remark="The claim was changed: samples are of G itself with its running statistics. Elsewhere here "
        "the statistics are measured anew before G draws, as in the third arm, and before the change both "
        "arms were equal to the last digit. What a slow decay spoils is thus the samples; training is the "
        "same, as it never sees the running statistics.",
    ),
    Claim(
        "weights-of-half",
        NOTES,
        "equally many layers, and weights in a ratio of about 0.5, so that neither lags, help.",
        {
            "half: 16 filters against 23": flowers("--d-width 23"),
            "equal: 16 against 16": BASE,
            "twice: 16 against 11": flowers("--d-width 11"),
        },
        clearly_less("half: 16 filters against 23", "equal: 16 against 16", "frechet")
        & clearly_less("half: 16 filters against 23", "twice: 16 against 11", "frechet"),
        less("half: 16 filters against 23", "equal: 16 against 16", "frechet")
        & less("half: 16 filters against 23", "twice: 16 against 11", "frechet"),
        SHOWS,
        remark="The notes do not say whose weights are the half, and are not sure that it matters; the rule "
        "takes G's.",
    ),
    Claim(
        "dead-gradients",
        "Goodfellow et al. 2014, §3; Arjovsky & Bottou 2017, theorem 2.4",
        "when D wins, G's gradient vanishes under the minimax loss, and not under the non-saturating one.",
        {
            "minimax": short('--objective Minimax --balance "Fixed(d_steps=3)"', minutes=0.7),
            "non-saturating": short('--balance "Fixed(d_steps=3)"', minutes=0.7),
        },
        less("minimax", "non-saturating", "g_norm_last", 0.1),
        less("minimax", "non-saturating", "g_norm_last"),
        ("d_loss", "g_norm_first", "g_norm_last", "frechet"),
        remark="Gradients are measured by their norms.",
    ),
    Claim(
        "one-sided-numbers",
        NOTES,
        "along a number of z (25, 50, 75 of 100) the pictures differ on the two sides of zero.",
        {"flowers": BASE, "the package's finished G": Function("difficulties: one-sided", of_demo)},
        within("flowers", "stronger over weaker side", low=2),
        within("flowers", "most", low=2),
        ("stronger over weaker side", "most"),
        remark="The change from 0 to 2 beside that from 0 to −2, of 32 pictures, median and largest over all "
        "numbers of z: the rule takes the notes' word more sharply than they mean it, that only one side "
        "counts.",
    ),
)
