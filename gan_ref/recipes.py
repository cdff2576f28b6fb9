"""Published combinations, each a set of overrides of Config. Flags on the command line win over them.

A recipe holds what its paper, or its authors' code, says of the game: losses, penalties, balance,
normalisation, optimizer, rates. Image size, width, batch and length of a run follow the data and the device
instead, so that every recipe runs anywhere. On two-dimensional data the networks are MLPs, without the norms
that speak of feature maps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gan_ref.config import Config
from gan_ref.errors import UserError


class Recipe(NamedTuple):
    line: str  # what it is, in one line
    paper: str
    settings: dict[str, Any]


def _adam(lr: float, beta1: float, beta2: float = 0.999) -> dict[str, Any]:
    return {"optimizer": "adam", "lr_g": lr, "lr_d": lr, "beta1": beta1, "beta2": beta2}


def _rmsprop(lr: float, decay: float) -> dict[str, Any]:
    return {"optimizer": "rmsprop", "lr_g": lr, "lr_d": lr, "beta2": decay}


# The article's networks, z of 512 numbers, and its code's RMSProp with learning rate 1e-3 and decay 0.9.
# (There the first 30 steps are smaller, and the rate falls by 1% an epoch.)
_FACE_2015 = {"network": "face2015", "latent_dim": 512, "norm_d": "none", "d_dropout": 0.2}
_FACE_2015 |= _rmsprop(1e-3, 0.9)

RECIPES: dict[str, Recipe] = {
    "dcgan": Recipe(
        "the deep convolutional GAN, with its published settings",
        "Radford et al. 2016",
        _adam(2e-4, 0.5),
    ),
    "face-2015-bn": Recipe(
        "panel A: batch norm in D, which becomes too good",
        "Larsen & Sønderby 2015",
        _FACE_2015 | {"norm_d": "batch"},
    ),
    "face-2015-margin": Recipe(
        "panel B: whoever is too far ahead waits",
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
        {"penalties": ("FeatureMatching(weight=1.0, rounds=2000)",)} | _adam(2e-4, 0.5),
    ),
    "improved": Recipe(
        "minibatch discrimination, virtual batch norm, label smoothing, historical averaging",
        "Salimans et al. 2016: after −L+HA of table 3, without labels",
        {
            "objective": "NonSaturating(real_label=0.9)",
            # at the weight it has alone, below, faces are still blurs after 1,000 rounds
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
        # the paper gives the term no weight; at 1 it holds an image G near where it began
        {"penalties": ("HistoricalAveraging(weight=0.1)",)} | _adam(2e-4, 0.5),
    ),
    "ttur": Recipe(
        "two time scales: D learns four times as fast as G",
        "Heusel et al. 2017; rates of Zhang et al. 2019",
        # Heusel et al.'s own (table 1) are D 3e-4, G 1e-4 for WGAN-GP, and the other way round for DCGAN: on
        # CIFAR-10 D 1e-4, G 5e-4, with β₁ = 0.5 as here. Zhang et al. have β = (0, 0.9) and spectral norm.
        _adam(2e-4, 0.5) | {"lr_d": 4e-4, "lr_g": 1e-4},
    ),
    "lsgan": Recipe(
        "least squares in place of cross entropy",
        "Mao et al. 2017",
        # the rate of their scenes; with that of their characters, 2e-4, faces take five times as long
        {"objective": "LeastSquares(a=0.0, b=1.0, c=1.0)"} | _adam(1e-3, 0.5),
    ),
    "wgan": Recipe(
        "the earth mover's distance, its critic's weights clipped",
        "Arjovsky et al. 2017",
        {"objective": "Wasserstein", "penalties": ("WeightClip(limit=0.01)",), "balance": "Fixed(d_steps=5)"}
        | _rmsprop(5e-5, 0.99),
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
        "the same, made for two-dimensional data: one step of D a round, five times the rate",
        "after Miyato et al. 2018",
        {"objective": "Hinge", "norm_d": "spectral"} | _adam(1e-3, 0.0, 0.9),
    ),
    "r1": Recipe(
        "D's gradients at the reals held small",
        "Mescheder et al. 2018",
        {"penalties": ("R1(weight=10.0)",), "norm_d": "none"} | _rmsprop(1e-4, 0.99),
    ),
    "ebgan": Recipe(
        "D is an autoencoder, its error an energy; fakes' codes are pulled apart",
        "Zhao et al. 2017",
        {"objective": "EnergyBased(margin=20.0, pulling_away=0.1)", "autoencoder": True} | _adam(1e-3, 0.5),
    ),
    "fisher": Recipe(
        "mean difference under a constraint on the critic's second moments",
        "Mroueh & Sercu 2017",
        {"objective": "Fisher(rho=1e-6)", "balance": "Fixed(d_steps=2)"} | _adam(2e-4, 0.5),
    ),
    "unrolled": Recipe(
        "G plays against the D of five steps later",
        "Metz et al. 2017",
        # on mixtures the authors' code plays the zero-sum game, --objective Minimax; on images that saturates
        {"update": "Unrolled(steps=5)", "latent_dim": 256} | _adam(1e-4, 0.5),
    ),
    "consensus": Recipe(
        "both players also shrink the gradients of both",
        "Mescheder et al. 2017",
        {"update": "Consensus(weight=10.0)", "norm_g": "none", "norm_d": "none", "latent_dim": 256}
        | _rmsprop(1e-4, 0.9),
    ),
    "local-stability": Recipe(
        "G avoids places where D's gradient is large",
        "Nagarajan & Kolter 2017",
        # their code plays mixtures at minimax with η = 0.5: there G fell into one mode, and on faces D soon is
        # sure of everything, so that its gradient, and with it G's, is gone
        {"penalties": ("LocalStability(weight=0.01)",), "latent_dim": 256} | _adam(1e-4, 0.5),
    ),
    "instance-noise": Recipe(
        "noise on everything D sees, annealed to nothing",
        "Sønderby et al. 2017",
        {"instance_noise": "InstanceNoise(sigma=0.1, rounds=2000)"} | _adam(2e-4, 0.5),
    ),
    "semi-supervised": Recipe(
        "a classifier taught by 10 labels a class, and by G (needs labelled images)",
        "Salimans et al. 2016, §5 and §6.1",
        # the authors' code, over 180,000 steps: rates of 3e-3 for both, and an average of decay 0.9999
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
        # the authors' code, over 600,000 steps: an average of decay 0.9999, rates falling to 0 at the end
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
}


def settings(name: str) -> dict[str, Any]:
    """The overrides that recipe ``name`` makes. Raises UserError for a name that is not in the list."""
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}; `python train.py --recipes` lists them: {', '.join(RECIPES)}")
    return RECIPES[name].settings


def listing() -> str:
    """One line a recipe, for ``--recipes``."""
    width = max(map(len, RECIPES))
    return "\n".join(f"{name:<{width}}  {recipe.line} ({recipe.paper})" for name, recipe in RECIPES.items())


def check(config: Config, shape: tuple[int, ...]) -> None:
    """Raise UserError, saying why, for settings that make no sense together on samples of ``shape``."""
    from gan_ref.techniques import balance, build, objectives, penalties, updates  # torch loads here

    objective = build("objectives", config.objective)
    terms = [build("penalties", line) for line in config.penalties]
    pace, update = build("balance", config.balance), build("updates", config.update)
    if config.instance_noise:
        build("noise", config.instance_noise)
    images = len(shape) == 3

    def has(*kinds: type) -> bool:
        return any(isinstance(term, kinds) for term in terms)

    def refuse(when: bool, why: str) -> None:
        if when:
            raise UserError(why)

    # what a score means
    energy = isinstance(objective, objectives.EnergyBased)
    refuse(energy and not config.autoencoder, "EnergyBased needs an autoencoder's error: add --autoencoder")
    refuse(
        config.autoencoder and not energy,
        f"an autoencoder's score is minus an error, never above 0, which {name(objective)} cannot use: "
        "take --objective EnergyBased",
    )
    follows = isinstance(pace, (balance.Margin, balance.Dynamic)) or has(penalties.AdaptiveL2)
    refuse(
        follows and not objective.log_odds,
        f"Margin, Dynamic and AdaptiveL2 compare cross entropies, which scores under {name(objective)} are "
        "not made for: take --objective NonSaturating",
    )

    # what holds a critic back
    lipschitz = config.norm_d == "spectral" or has(
        penalties.WeightClip, penalties.GradientPenalty, penalties.DRAGAN, penalties.R1
    )
    refuse(
        type(objective) is objectives.Wasserstein and not lipschitz,
        "Wasserstein with nothing to bound the critic's slope has no minimum: add --penalties WeightClip or "
        "GradientPenalty, or --norm-d spectral",
    )
    refuse(
        has(penalties.GradientPenalty) and images and config.norm_d == "batch" and not config.autoencoder,
        "GradientPenalty is about the gradient at each sample, and batch norm in D makes a score depend on "
        "the whole batch: take --norm-d none",
    )
    refuse(
        has(penalties.GradientPenalty) and config.minibatch_discrimination,
        "GradientPenalty is about the gradient at each sample, and minibatch discrimination makes a score "
        "depend on the whole batch: leave one out",
    )

    # what the update rules can play
    together = isinstance(update, (updates.Simultaneous, updates.Consensus))
    varies = isinstance(pace, (balance.Dynamic, balance.CriticWarmUp))
    refuse(
        together and (varies or pace.steps(0) != (1, 1)),
        f"{name(update)} moves both players at the same moment, once a round: take --balance Fixed or Margin",
    )
    refuse(
        isinstance(update, updates.Unrolled) and has(penalties.WeightClip),
        "Unrolled looks ahead through D's optimizer, which knows nothing of WeightClip: take GradientPenalty",
    )
    second = [name(part) for part in (update, *terms) if part.second_order]
    refuse(
        bool(second) and config.precision == "bfloat16",
        f"{', '.join(second)}: gradients of gradients lose too much in bfloat16: take --precision float32",
    )

    # classes
    classifies = config.network.startswith("improved")
    semi = isinstance(objective, objectives.SemiSupervised)
    refuse(
        len({semi, classifies, config.labels_per_class > 0}) == 2 or semi and not images,
        "SemiSupervised, --labels-per-class and the networks improved-dense or improved-conv go together, on "
        "labelled images: take --recipe semi-supervised",
    )
    refuse(
        classifies
        and any((config.minibatch_discrimination, config.autoencoder, config.d_noise, config.d_dropout)),
        f"{config.network} is the paper's own D: leave its noise, dropout and layers as they are",
    )

    # what the networks have
    refuse(
        config.autoencoder and config.minibatch_discrimination,
        "an autoencoder has no score layer for minibatch discrimination; EnergyBased's pulling-away term "
        "does its work: leave it out",
    )
    refuse(
        config.autoencoder and images and config.norm_d not in ("batch", "none"),
        f"the autoencoder has no {config.norm_d} norm: take --norm-d batch or none",
    )
    refuse(
        bool(config.d_noise) and (config.autoencoder or images and config.network == "face2015"),
        "this D has no noise layers: leave --d-noise out",
    )
    refuse(config.autoencoder and bool(config.d_dropout), "an autoencoder has no dropout: leave it out")
    refuse(energy and config.batch_size == 1, "EnergyBased compares the samples of a batch: take 2 or more")


def name(technique: object) -> str:
    return type(technique).__name__
