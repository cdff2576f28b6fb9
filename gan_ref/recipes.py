"""Published combinations of settings, as data. Flags on the command line win over them.

A recipe holds what its paper, or its authors' code, says about the game: losses, penalties, balance,
normalisation, optimizer, rates. Image size, width, batch and length of a run follow the data and the device
instead, so every recipe runs anywhere. On two-dimensional data the networks are MLPs, without the norms that
are about feature maps. Where the authors have a script for such data, its settings are the recipe's
``points``, which win over the others there; batch and width are among them, because such scripts are small.
EBGAN's authors have none, and its ``points`` are a schedule of ours.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gan_ref.errors import UserError


class Recipe(NamedTuple):
    line: str  # what it does, in one line
    paper: str
    settings: dict[str, Any]
    points: Mapping[str, Any] = MappingProxyType({})  # what is otherwise on two-dimensional data


def _adam(lr: float, beta1: float, beta2: float = 0.999) -> dict[str, Any]:
    return {"optimizer": "adam", "lr_g": lr, "lr_d": lr, "beta1": beta1, "beta2": beta2}


def _rmsprop(lr: float, decay: float) -> dict[str, Any]:
    return {"optimizer": "rmsprop", "lr_g": lr, "lr_d": lr, "beta2": decay}


# The article's networks and z of 512 numbers, and RMSProp with learning rate 1e-3 and decay 0.9 as in its
# code. There D sees reals and fakes in one batch. The rate is a 50th of itself for 10 rounds and a 5th for 20
# more, and it falls by 1% an epoch, 204 rounds of 64 reals, until it is a thousandth.
_FACE_2015 = {
    "network": "face2015",
    "latent_dim": 512,
    "norm_d": "none",
    "d_dropout": 0.2,
    "mixed_batches": True,
    "schedules": (
        "Ramp(of='lr', first=0.1, last=1.0, start=0.9, rounds=10)",
        "Ramp(of='lr', first=0.2, last=1.0, start=0.97, rounds=30)",
        "Exponential(of='lr', last=0.001, rounds=140212)",
    ),
}
_FACE_2015 |= _rmsprop(1e-3, 0.9)

# With rates of 24e-4 faces are as good, but in photographs at 64×64 D sees nothing.
_BASELINE = {"objective": "Hinge", "norm_d": "spectral", "latent_dim": 64} | _adam(16e-4, 0.0, 0.99)
_BASELINE |= {"schedules": ("Ramp(of='lr', start=0.5, last=0.01)",)}

# In the plane a G whose rate does not fall leaves modes and finds them again to the end.
_FALLING = {"schedules": ("Ramp(of='lr', start=0.5, end=0.9, last=0.02)",)}

# gan_toy.py of WGAN-GP's authors, who divide points by their standard deviation.
_GAN_TOY = {"network": "relu", "width": 512, "points_std": 1.0}
_RADIUS_1 = {"points_std": 0.5**0.5, "batch_size": 512}  # the ring of three scripts, half as large as ring8
_RING = {"network": "tanh", "layers": 2, "weights": "orthogonal", "weights_scale": 1.4}
_RING |= {"latent_dim": 256, "lr_g": 1e-3} | _RADIUS_1  # the networks of two of them

DEFAULT = "baseline"  # of train.py
RECIPES: dict[str, Recipe] = {
    "baseline": Recipe(
        "the default: a DCGAN with the hinge loss, spectral norm in D, and a high rate that falls",
        "after Miyato et al. 2018",
        _BASELINE,
    ),
    "dcgan": Recipe(
        "the deep convolutional GAN, with its published settings", "Radford et al. 2016", _adam(2e-4, 0.5)
    ),
    "face-2015-bn": Recipe(
        "panel A: batch norm in D, which becomes too good",
        "Larsen & Sønderby 2015",
        _FACE_2015 | {"norm_d": "batch"},
    ),
    "face-2015-margin": Recipe(
        "panel B: a player that is too far ahead waits",
        "Larsen & Sønderby 2015",
        _FACE_2015 | {"balance": "Margin(margin=0.3)"},
    ),
    "face-2015-l2": Recipe(
        "panel C: an L2 penalty on D that follows G's error",
        "Larsen & Sønderby 2015",
        _FACE_2015 | {"penalties": ("AdaptiveL2(change=1e-5, high=1.3, low=0.9)",)},
    ),
    "feature-matching": Recipe(
        "G matches the mean of D's features and nothing else",
        "Salimans et al. 2016, §3.1",
        {"objective": "FeatureMatching", "norm_d": "weight", "d_dropout": 0.5} | _adam(3e-4, 0.5),
    ),
    "feature-matching-sum": Recipe(
        "the same term added to the adversarial loss, growing over 2,000 rounds",
        "after Salimans et al. 2016, §3.1",
        {"penalties": ("FeatureMatchingTerm(weight=1.0, rounds=2000)",)} | _adam(2e-4, 0.5),
    ),
    "improved": Recipe(
        "minibatch discrimination, virtual batch norm, label smoothing, historical averaging",
        "Salimans et al. 2016: after −L+HA of table 3, without labels",
        {
            "objective": "NonSaturating(real_label=0.9)",
            # with the weight that it has alone, below, faces are still blurs after 1,000 rounds
            "penalties": ("HistoricalAveraging(weight=0.01)",),
            "minibatch_discrimination": True,
            "norm_g": "virtual",  # in G alone (§3.5)
            "norm_d": "weight",
            "d_dropout": 0.5,
        }
        | _adam(3e-4, 0.5),
    ),
    "label-smoothing": Recipe(
        "D's target for reals is 0.9",
        "Salimans et al. 2016, §3.4",
        {"objective": "NonSaturating(real_label=0.9)"} | _adam(2e-4, 0.5),
    ),
    "historical-averaging": Recipe(
        "both players are drawn to the mean of where they have been",
        "Salimans et al. 2016, §3.3",
        # the paper gives the term no weight; a weight of 1 holds a G of images near where it began
        {"penalties": ("HistoricalAveraging(weight=0.1)",)} | _adam(2e-4, 0.5),
    ),
    "ttur": Recipe(
        "two time scales: D learns four times as fast as G",
        "Heusel et al. 2017; rates of Zhang et al. 2019",
        # Heusel et al.'s own (table 1) are 3e-4 for D and 1e-4 for G with WGAN-GP. For DCGAN G is the faster:
        # on CIFAR-10 1e-4 for D and 5e-4 for G, with β₁ = 0.5 as here. Zhang et al. have β = (0, 0.9) and
        # spectral norm.
        _adam(2e-4, 0.5) | {"lr_d": 4e-4, "lr_g": 1e-4},
    ),
    "lsgan": Recipe(
        "least squares in place of cross entropy",
        "Mao et al. 2017",
        # their rate for scenes; with their rate for characters, 2e-4, faces take five times as long
        {"objective": "LeastSquares(a=0.0, b=1.0, c=1.0)"} | _adam(1e-3, 0.5),
        # their script for eight Gaussians
        _RING | {"lr_d": 1e-4, "update": "Simultaneous"},
    ),
    "wgan": Recipe(
        "the earth mover's distance, its critic's weights clipped",
        "Arjovsky et al. 2017",
        {"objective": "Wasserstein", "penalties": ("WeightClip(limit=0.01)",), "balance": "Fixed(d_steps=5)"}
        | _rmsprop(5e-5, 0.99),
        _GAN_TOY | {"beta2": 0.9},  # its other mode
    ),
    "wgan-gp": Recipe(
        "the earth mover's distance, its critic's gradients held at norm 1",
        "Gulrajani et al. 2017",
        {
            "objective": "Wasserstein",
            "penalties": ("GradientPenalty(weight=10.0)",),
            "balance": "Fixed(d_steps=5)",
            "norm_d": "none",
        }
        | _adam(1e-4, 0.0, 0.9),
        _GAN_TOY | {"penalties": ("GradientPenalty(weight=0.1)",), "beta1": 0.5},
    ),
    "progressive": Recipe(
        "wgan-gp between networks that grow from the first plane to the image, blocks faded in",
        "Karras et al. 2018",
        {
            "network": "progressive",
            "growth": "Stages(end=0.5)",
            "objective": "Wasserstein",
            "penalties": ("GradientPenalty(weight=10.0)", "Drift(weight=0.001)"),
            "norm_g": "none",
            "norm_d": "none",
            "latent_dim": 512,
        }
        | _adam(1e-3, 0.0, 0.99),
    ),
    "dragan": Recipe(
        "D's gradients held at norm 1 around the data",
        "Kodali et al. 2017",
        {"penalties": ("DRAGAN(weight=10.0, scale=0.5)",), "norm_d": "none"} | _adam(1e-4, 0.5, 0.9),
    ),
    "sngan": Recipe(
        "spectral normalisation of D, the hinge loss",
        "Miyato et al. 2018, appendix B.2",
        {"objective": "Hinge", "norm_d": "spectral", "balance": "Fixed(d_steps=5)"} | _adam(2e-4, 0.0, 0.9),
    ),
    "sngan-points": Recipe(
        "the same, made for two-dimensional data: one step of D a round, a high rate that falls",
        "after Miyato et al. 2018",
        {"objective": "Hinge", "norm_d": "spectral"} | _FALLING | _adam(1e-3, 0.0, 0.9),
    ),
    "r1": Recipe(
        "D's gradients at the reals held small",
        "Mescheder et al. 2018",
        {"penalties": ("R1(weight=10.0)",), "norm_d": "none"} | _rmsprop(1e-4, 0.99),
    ),
    "r3gan": Recipe(
        "D compares pairs; its gradients are held small at reals and fakes; rates, γ and β₂ have schedules",
        "Huang et al. 2024, their settings for CIFAR-10",
        # From the authors' code: cosines over 20 million images, of rates from 2e-4 to 5e-5, γ from 0.05 to
        # 0.005 and β₂ from 0.9 to 0.99. Their γ grows with the image: 2 at 64×64, 150 at 256×256. Their
        # residual networks have no norms; a DCGAN's G needs its batch norm.
        {
            "objective": "Relativistic",
            "penalties": ("R1(weight=0.05)", "R2(weight=0.05)"),
            "norm_d": "none",
            "schedules": (
                "Cosine(of='lr', last=0.25)",
                "Cosine(of='R1.weight', last=0.1)",
                "Cosine(of='R2.weight', last=0.1)",
                "Cosine(of='beta2', last=1.1)",
            ),
        }
        | _adam(2e-4, 0.0, 0.9),
    ),
    "ebgan": Recipe(
        "D is an autoencoder, its error an energy; fakes' codes are pulled apart",
        "Zhao et al. 2017",
        {"objective": "EnergyBased(margin=20.0, pulling_away=0.1)", "autoencoder": True} | _adam(1e-3, 0.5),
        points=_FALLING,
    ),
    "fisher": Recipe(
        "mean difference under a constraint on the critic's second moments",
        "Mroueh & Sercu 2017",
        {"objective": "Fisher(rho=1e-6)", "balance": "Fixed(d_steps=2)"} | _adam(2e-4, 0.5),
    ),
    "unrolled": Recipe(
        "G plays against the D of five steps later",
        "Metz et al. 2017",
        {"update": "Unrolled(steps=5)", "latent_dim": 256} | _adam(1e-4, 0.5),
        # The authors' notebook. Its zero-sum game saturates on images.
        {"objective": "Minimax"} | _RING,
    ),
    "consensus": Recipe(
        "both players also shrink the gradients of both",
        "Mescheder et al. 2017",
        {"update": "Consensus(weight=10.0)", "norm_g": "none", "norm_d": "none", "latent_dim": 256}
        | _rmsprop(1e-4, 0.9),
        {"network": "relu", "width": 16, "layers": 4, "latent_dim": 16, "weights": "xavier"} | _RADIUS_1,
    ),
    "local-stability": Recipe(
        "G avoids places where D's gradient is large",
        "Nagarajan & Kolter 2017",
        # With the minimax and the η of their script, below, D was soon sure of everything on faces, so that
        # its gradient vanished and G's with it.
        {"penalties": ("LocalStability(weight=0.01)",), "latent_dim": 256} | _adam(1e-4, 0.5),
        # Their D divides points by 4, which ours does not.
        {"objective": "Minimax", "penalties": ("LocalStability(weight=0.5)",), "network": "relu", "layers": 2}
        | {"d_layers": 1, "weights": "orthogonal", "weights_scale": 0.8, "batch_size": 512},
    ),
    "instance-noise": Recipe(
        "noise on everything D sees, annealed to nothing",
        "Sønderby et al. 2017",
        {"instance_noise": "InstanceNoise(sigma=0.1, rounds=2000)"} | _adam(2e-4, 0.5),
    ),
    "pacgan": Recipe(
        "D judges two samples at once, and so sees that G's are alike",
        "Lin et al. 2018; on images with the networks and rates of dcgan",
        {"pack": 2} | _adam(2e-4, 0.5),
        # Their script: both steps at once, batches of 100 packs. Their ring8 has radius 1.
        {"network": "maxout", "layers": 4, "width": 400, "d_layers": 3, "d_width": 200, "weights": "normal"}
        | {"norm_decay": 0.95, "batch_size": 200, "update": "Simultaneous"}
        | _adam(1e-4, 0.8),
    ),
    "projection": Recipe(
        "G is told the class, D judges by projection (needs labels)",
        "Miyato & Koyama 2018, with the game of baseline",
        _BASELINE | {"conditional": "projection"},
    ),
    "acgan": Recipe(
        "G is told the class, D guesses it (needs labels)",
        "Odena et al. 2017",
        {"conditional": "auxiliary", "penalties": ("AuxiliaryClassifier(weight=1.0)",), "d_dropout": 0.5}
        | _adam(2e-4, 0.5),
    ),
    "cgan": Recipe(
        "both players are told the class, beside their other input (needs labels)",
        "Mirza & Osindero 2014, with the networks and rates of dcgan",
        {"conditional": "concatenation"} | _adam(2e-4, 0.5),
    ),
    "semi-supervised": Recipe(
        "a classifier taught by 10 labels a class, and by G (needs labelled images)",
        "Salimans et al. 2016, §5 and §6.1",
        # The authors' code trains for 180,000 steps, with rates of 3e-3 for both and an average of decay
        # 0.9999.
        {
            "objective": "SemiSupervised",
            "network": "improved-dense",
            "labels_per_class": 10,
            "width": 500,
            "d_width": 1000,
            "batch_size": 100,
            "d_ema": 0.999,
        }
        | _adam(3e-4, 0.5)
        | {"lr_d": 1e-3},
    ),
    "semi-supervised-conv": Recipe(
        "the same with the convolutional networks for photographs and 400 labels a class",
        "Salimans et al. 2016, §5 and §6.2",
        # The authors' code trains for 600,000 steps, with an average of decay 0.9999 and rates that fall to
        # 0.
        {
            "objective": "SemiSupervised",
            "network": "improved-conv",
            "labels_per_class": 400,
            "width": 128,
            "d_width": 96,
            "batch_size": 100,
            "d_ema": 0.999,
        }
        | _adam(3e-4, 0.5),
    ),
    "semi-supervised-minibatch": Recipe(
        "better pictures and a worse classifier: minibatch discrimination instead of feature matching",
        "Salimans et al. 2016, §6.2",
        # The authors' second script: G takes three steps a round, for log(1 − D). As above, it trains for
        # 600,000 rounds, with an average of decay 0.9999 and rates that fall to 0.
        {
            "objective": "SemiSupervisedMinimax",
            "network": "improved-conv",
            "minibatch_discrimination": True,
            "balance": "Fixed(g_steps=3)",
            "labels_per_class": 400,
            "width": 128,
            "d_width": 96,
            "batch_size": 100,
            "d_ema": 0.999,
        }
        | _adam(3e-4, 0.5),
    ),
    "lapgan": Recipe(
        "a pyramid of G and D: each level makes the details of its size, from noise and the smaller picture",
        "Denton et al. 2015, §3",
        {
            "network": "lapgan",
            "norm_g": "none",
            "norm_d": "none",
            "latent": "uniform",
            "latent_dim": 300,
            "optimizer": "sgd",
            "lr_g": 0.02,
            "lr_d": 0.02,
            "beta1": 0.5,
        },
    ),
    "improved-imagenet": Recipe(
        "for photographs of many kinds: virtual batch norm, similarities by 300 kernels, smooth labels",
        "Salimans et al. 2016, §6.4, and their code",
        # In their code G has planes of noise beside each layer's, D also guesses the class, and each of them
        # takes one step a round, for batches of 16 on each of four GPUs.
        {
            "objective": "NonSaturating(real_label=0.75, g_label=0.375)",
            "network": "imagenet2016",
            "minibatch_discrimination": True,
            "norm_g": "virtual",
            "latent": "uniform",
            "latent_dim": 8192,
        }
        | _adam(4e-4, 0.5),
    ),
}


def settings(name: str, points: bool = False) -> dict[str, Any]:
    """The settings of recipe ``name``, on two-dimensional data those for ``points``.

    Raises UserError for a name that is not in the list.
    """
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}; `python train.py --recipes` lists them: {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    return {**recipe.settings, **recipe.points} if points else recipe.settings


def listing() -> str:
    """One line for each recipe, for ``--recipes``."""
    width = max(map(len, RECIPES))
    return "\n".join(f"{name:<{width}}  {recipe.line} ({recipe.paper})" for name, recipe in RECIPES.items())
