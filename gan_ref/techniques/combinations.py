"""Which techniques make sense together. A combination that does not is refused in one line that says why."""

import math
from collections.abc import Iterator

from gan_ref.config import POINT_NETWORKS, Config
from gan_ref.errors import UserError
from gan_ref.networks.lapgan import levels
from gan_ref.techniques import balance, build, objectives, penalties, schedules, updates


def refuse_contradictions(config: Config, shape: tuple[int, ...]) -> None:
    """Raise UserError, with the reason, for settings that contradict each other on samples of ``shape``."""
    for reason in contradictions(config, shape):
        raise UserError(reason)


def contradictions(config: Config, shape: tuple[int, ...]) -> Iterator[str]:
    """What speaks against these settings, and what to do."""
    objective = build("objectives", config.objective)
    terms = [build("penalties", line) for line in config.penalties]
    pace = build("balance", config.balance)
    update = build("updates", config.update)
    seen = [build("noise", config.instance_noise)] if config.instance_noise else []
    seen += [build("augmentation", config.augment)] if config.augment else []
    images = len(shape) == 3
    network, conditional = config.network, config.conditional != "none"
    classifies = network.startswith("improved")

    def has(*kinds: type) -> bool:
        return any(isinstance(term, kinds) for term in terms)

    # what a score means
    energy = isinstance(objective, objectives.EnergyBased)
    if energy and not config.autoencoder:
        yield "EnergyBased needs the error of an autoencoder: add --autoencoder"
    if config.autoencoder and not energy:
        yield (f"the score of an autoencoder is minus an error and never above 0, which {name(objective)} "
               "cannot use: take --objective EnergyBased")  # fmt: skip
    follows = isinstance(pace, (balance.Margin, balance.Dynamic)) or has(penalties.AdaptiveL2)
    if follows and not objective.log_odds:
        yield ("Margin, Dynamic and AdaptiveL2 compare cross entropies, and the scores of "
               f"{name(objective)} are not made for those: take --objective NonSaturating")  # fmt: skip

    # what holds a critic back
    bounds = penalties.WeightClip, penalties.GradientPenalty, penalties.DRAGAN, penalties.R1
    lipschitz = config.norm_d == "spectral" or has(*bounds)
    if type(objective) is objectives.Wasserstein and not lipschitz:
        yield ("Wasserstein has no minimum if nothing bounds the critic's slope: add --penalties WeightClip "
               "or GradientPenalty, or --norm-d spectral")  # fmt: skip
    alone = [name(term) for term in terms if term.each_sample_alone]
    said = f"{', '.join(alone)}: this is about D's gradient at each sample, and"
    if alone and images and config.norm_d == "batch" and not classifies:
        yield f"{said} batch norm in D makes a score depend on the whole batch: take --norm-d none"
    if alone and config.minibatch_discrimination:
        yield f"{said} minibatch discrimination makes a score depend on the whole batch: leave one out"
    if config.mixed_batches and config.minibatch_discrimination:
        yield ("--mixed-batches: minibatch discrimination compares the samples of one side, and a mixed "
               "batch has both: leave one out")  # fmt: skip
    pyramid = levels(config, shape) > 1
    if pyramid and (conditional or config.pack > 1):
        yield ("lapgan tells G of smaller pictures, and D of one at a time: "
               "leave --conditional and --pack out")  # fmt: skip
    matches = isinstance(objective, objectives.FeatureMatching) or has(penalties.FeatureMatchingTerm)
    if pyramid and matches:
        yield "feature matching compares features of one D, and lapgan has a D a level: leave it out"
    if config.match_layers and (network == "progressive" or not matches):
        yield ("--match-layers is for feature matching, between networks that do not grow: "
               "take --objective FeatureMatching or --penalties FeatureMatchingTerm")  # fmt: skip

    # what the update rules can play
    together = isinstance(update, (updates.Simultaneous, updates.Consensus))
    varies = isinstance(pace, (balance.Dynamic, balance.CriticWarmUp))
    if together and (varies or pace.steps(0) != (1, 1)):
        yield (f"{name(update)} moves both players at the same moment, once a round: "
               "take --balance Fixed or Margin")  # fmt: skip
    if isinstance(update, updates.Unrolled) and has(penalties.WeightClip):
        yield ("Unrolled looks ahead through D's optimizer, which knows nothing of WeightClip: "
               "take GradientPenalty")  # fmt: skip
    second = [name(part) for part in (update, *terms) if part.second_order]
    if second and config.precision == "bfloat16":
        yield (f"{', '.join(second)}: gradients of gradients lose too much in bfloat16: "
               "take --precision float32")  # fmt: skip

    # what follows a schedule
    scheduled = [build("schedules", line) for line in config.schedules]
    options = {"adam": {"betas": ()}, "rmsprop": {"alpha": ()}, "sgd": {}}
    groups = options[config.optimizer], options[config.optimizer_d or config.optimizer]
    known = schedules.settings(*groups, (objective, pace, *terms, *seen))
    for schedule in scheduled:
        if schedule.of not in known:
            choice = f"take one of {', '.join(known)}"
            yield f"{name(schedule)}: this run has no {schedule.of!r} to change: {choice}"
    highest = math.prod(max(s.first, s.last) for s in scheduled if s.of == "beta2")
    if highest * config.beta2 >= 1:
        largest = f"the largest factor of its schedules, {highest:g}"
        yield f"--beta2 {config.beta2} times {largest}, is not below 1"

    # classes
    semi_supervised = isinstance(objective, objectives.SemiSupervised)
    if not semi_supervised == classifies == (config.labels_per_class > 0) or semi_supervised and not images:
        yield ("SemiSupervised, --labels-per-class and the networks improved-dense or improved-conv go "
               "together, on labelled images: take --recipe semi-supervised")  # fmt: skip
    if semi_supervised and has(penalties.LocalStability):
        yield ("LocalStability differentiates D's whole loss in G's turn, and SemiSupervised has labels in "
               "D's turn only: leave one out")  # fmt: skip
    if (config.conditional == "auxiliary") != has(penalties.AuxiliaryClassifier):
        yield "--conditional auxiliary and --penalties AuxiliaryClassifier go together: take --recipe acgan"
    if conditional and (classifies or config.autoencoder):
        place = "an autoencoder" if config.autoencoder else network
        yield f"--conditional {config.conditional} has no place in {place}: leave it out"
    if conditional and config.pack > 1:
        yield ("a conditional D is told one class, and a pack has several: "
               "leave --pack or --conditional out")  # fmt: skip
    if classifies and config.pack > 1:
        yield f"{network} gives each sample a class, and a pack has none: leave --pack out"

    # what the networks have
    own = images and network in ("progressive", "lapgan")
    compares = config.minibatch_discrimination and network != "improved-conv"
    extras = config.autoencoder or config.d_noise or config.d_dropout
    photographs = images and network == "imagenet2016"
    if (classifies or own) and (compares or extras) or photographs and extras:
        yield f"{network} is the paper's own D: leave its noise, dropout and layers as they are"
    if images and (network in POINT_NETWORKS or config.points_std > 0):
        yield ("--network relu, tanh and maxout and --points-std are about points, and these are images: "
               "leave them out")  # fmt: skip
    if own and ({config.norm_g, config.norm_d} != {"none"} or config.weights != "own"):
        yield (f"the networks of {network} have the norms and the weights of their paper: take --norm none, "
               "and leave --weights out")  # fmt: skip
    if own and levels(config, shape) > config.latent_dim:
        yield f"--latent-dim {config.latent_dim}: each level of the pyramid needs a number of z"
    if config.growth and network != "progressive":
        yield f"{network} cannot grow: leave --growth out, or take --network progressive"
    if config.weights == "own" and config.weights_scale != 1:
        yield "--weights-scale is a factor of --weights: give both, as in --weights he --weights-scale 0.5"
    if config.autoencoder and config.minibatch_discrimination:
        yield ("an autoencoder has no score layer for minibatch discrimination, and the pulling-away term of "
               "EnergyBased does the same work: leave it out")  # fmt: skip
    if config.autoencoder and images and config.norm_d not in ("batch", "none"):
        yield f"the autoencoder has no {config.norm_d} norm: take --norm-d batch or none"
    if config.d_noise and (config.autoencoder or images and network == "face2015"):
        yield "this D has no noise layers: leave --d-noise out"
    if config.upsample != "transposed" and (network != "dcgan" or not images):
        yield "--upsample is about the G of dcgan for images: leave it out"
    if config.augment and not images:
        yield "--augment changes images, and these are points: leave it out"
    if config.autoencoder and config.d_dropout:
        yield "an autoencoder has no dropout: leave it out"
    if energy and config.batch_size == 1:
        yield "EnergyBased compares the samples of a batch: take 2 or more"


def name(technique: object) -> str:
    return type(technique).__name__
