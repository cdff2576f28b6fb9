"""Which techniques make sense together. A combination that does not is refused in one line that says why."""

from __future__ import annotations

import math

from gan_ref.config import POINT_NETWORKS, Config
from gan_ref.errors import UserError
from gan_ref.networks.lapgan import levels
from gan_ref.techniques import balance, build, objectives, penalties, schedules, updates


def refuse_contradictions(config: Config, shape: tuple[int, ...]) -> None:
    """Raise UserError, with the reason, for settings that contradict each other on samples of ``shape``."""
    objective = build("objectives", config.objective)
    terms = [build("penalties", line) for line in config.penalties]
    pace = build("balance", config.balance)
    update = build("updates", config.update)
    seen = [build("noise", config.instance_noise)] if config.instance_noise else []
    seen += [build("augmentation", config.augment)] if config.augment else []
    scheduled = [build("schedules", line) for line in config.schedules]
    images = len(shape) == 3
    classifies = config.network.startswith("improved")
    semi_supervised = isinstance(objective, objectives.SemiSupervised)

    def has(*kinds: type) -> bool:
        return any(isinstance(term, kinds) for term in terms)

    def refuse(when: bool, why: str) -> None:
        if when:
            raise UserError(why)

    # what a score means
    energy = isinstance(objective, objectives.EnergyBased)
    refuse(
        energy and not config.autoencoder,
        "EnergyBased needs the error of an autoencoder: add --autoencoder",
    )
    refuse(
        config.autoencoder and not energy,
        f"the score of an autoencoder is minus an error and never above 0, which {name(objective)} "
        "cannot use: take --objective EnergyBased",
    )
    follows = isinstance(pace, (balance.Margin, balance.Dynamic)) or has(penalties.AdaptiveL2)
    refuse(
        follows and not objective.log_odds,
        f"Margin, Dynamic and AdaptiveL2 compare cross entropies, and the scores of {name(objective)} are "
        "not made for those: take --objective NonSaturating",
    )

    # what holds a critic back
    lipschitz = config.norm_d == "spectral" or has(
        penalties.WeightClip, penalties.GradientPenalty, penalties.DRAGAN, penalties.R1
    )
    refuse(
        type(objective) is objectives.Wasserstein and not lipschitz,
        "Wasserstein has no minimum if nothing bounds the critic's slope: add --penalties WeightClip or "
        "GradientPenalty, or --norm-d spectral",
    )
    alone = [name(term) for term in terms if term.each_sample_alone]
    batch_norm = images and config.norm_d == "batch" and not classifies
    refuse(
        bool(alone) and batch_norm,
        f"{', '.join(alone)}: this is about D's gradient at each sample, and batch norm in D makes a score "
        "depend on the whole batch: take --norm-d none",
    )
    refuse(
        bool(alone) and config.minibatch_discrimination,
        f"{', '.join(alone)}: this is about D's gradient at each sample, and minibatch discrimination makes "
        "a score depend on the whole batch: leave one out",
    )

    refuse(
        config.mixed_batches and config.minibatch_discrimination,
        "--mixed-batches: minibatch discrimination compares the samples of one side, and a mixed batch has "
        "both: leave one out",
    )

    pyramid = levels(config, shape) > 1
    refuse(
        pyramid and (config.conditional != "none" or config.pack > 1),
        "lapgan tells G of smaller pictures, and D of one at a time: leave --conditional and --pack out",
    )
    matches = isinstance(objective, objectives.FeatureMatching) or has(penalties.FeatureMatchingTerm)
    refuse(
        pyramid and matches,
        "feature matching compares features of one D, and lapgan has a D a level: leave it out",
    )
    grows = config.network == "progressive"
    refuse(
        bool(config.match_layers) and (grows or not matches),
        "--match-layers is for feature matching, between networks that do not grow: take --objective "
        "FeatureMatching or --penalties FeatureMatchingTerm",
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

    # what follows a schedule
    options = {"adam": {"betas": ()}, "rmsprop": {"alpha": ()}, "sgd": {}}
    g_group, d_group = options[config.optimizer], options[config.optimizer_d or config.optimizer]
    known = schedules.settings(g_group, d_group, (objective, pace, *terms, *seen))
    for schedule in scheduled:
        refuse(
            schedule.of not in known,
            f"{name(schedule)}: this run has no {schedule.of!r} to change: take one of {', '.join(known)}",
        )
    highest = math.prod(max(s.first, s.last) for s in scheduled if s.of == "beta2")
    refuse(
        highest * config.beta2 >= 1,
        f"--beta2 {config.beta2} times the largest factor of its schedules, {highest:g}, is not below 1",
    )

    # classes
    refuse(
        len({semi_supervised, classifies, config.labels_per_class > 0}) == 2
        or semi_supervised
        and not images,
        "SemiSupervised, --labels-per-class and the networks improved-dense or improved-conv go together, on "
        "labelled images: take --recipe semi-supervised",
    )
    refuse(
        semi_supervised and has(penalties.LocalStability),
        "LocalStability differentiates D's whole loss in G's turn, and SemiSupervised has labels in D's turn "
        "only: leave one out",
    )
    guesses = config.conditional == "auxiliary"
    refuse(
        guesses != has(penalties.AuxiliaryClassifier),
        "--conditional auxiliary and --penalties AuxiliaryClassifier go together: take --recipe acgan",
    )
    refuse(
        config.conditional != "none" and (classifies or config.autoencoder),
        f"--conditional {config.conditional} has no place in "
        f"{'an autoencoder' if config.autoencoder else config.network}: leave it out",
    )
    compares = config.minibatch_discrimination and config.network != "improved-conv"
    refuse(
        config.conditional != "none" and config.pack > 1,
        "a conditional D is told one class, and a pack has several: leave --pack or --conditional out",
    )
    extras = (compares, config.autoencoder, config.d_noise, config.d_dropout)
    own = images and config.network in ("progressive", "lapgan")
    photographs = images and config.network == "imagenet2016"
    refuse(
        (classifies or own) and any(extras) or photographs and any(extras[1:]),
        f"{config.network} is the paper's own D: leave its noise, dropout and layers as they are",
    )

    refuse(
        classifies and config.pack > 1,
        f"{config.network} gives each sample a class, and a pack has none: leave --pack out",
    )

    # what the networks have
    refuse(
        images and (config.network in POINT_NETWORKS or config.points_std > 0),
        "--network relu, tanh and maxout and --points-std are about points, and these are images: leave them "
        "out",
    )
    refuse(
        own and ({config.norm_g, config.norm_d} != {"none"} or config.weights != "own"),
        f"the networks of {config.network} have the norms and the weights of their paper: take --norm none, "
        "and leave --weights out",
    )
    refuse(
        own and levels(config, shape) > config.latent_dim,
        f"--latent-dim {config.latent_dim}: each level of the pyramid needs a number of z",
    )
    refuse(
        bool(config.growth) and config.network != "progressive",
        f"{config.network} cannot grow: leave --growth out, or take --network progressive",
    )
    refuse(
        config.weights == "own" and config.weights_scale != 1,
        "--weights-scale is a factor of --weights: give both, as in --weights he --weights-scale 0.5",
    )
    refuse(
        config.autoencoder and config.minibatch_discrimination,
        "an autoencoder has no score layer for minibatch discrimination, and the pulling-away term of "
        "EnergyBased does the same work: leave it out",
    )
    refuse(
        config.autoencoder and images and config.norm_d not in ("batch", "none"),
        f"the autoencoder has no {config.norm_d} norm: take --norm-d batch or none",
    )
    refuse(
        bool(config.d_noise) and (config.autoencoder or images and config.network == "face2015"),
        "this D has no noise layers: leave --d-noise out",
    )
    refuse(
        config.upsample != "transposed" and (config.network != "dcgan" or not images),
        "--upsample is about the G of dcgan for images: leave it out",
    )
    refuse(
        bool(config.augment) and not images, "--augment changes images, and these are points: leave it out"
    )
    refuse(config.autoencoder and bool(config.d_dropout), "an autoencoder has no dropout: leave it out")
    refuse(energy and config.batch_size == 1, "EnergyBased compares the samples of a batch: take 2 or more")


def name(technique: object) -> str:
    return type(technique).__name__
