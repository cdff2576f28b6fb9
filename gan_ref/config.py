"""Every setting that decides a run, typed, validated and serialisable, in one place."""

from __future__ import annotations

import argparse
import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gan_ref.devices import DEVICES, HELP
from gan_ref.errors import UserError
from gan_ref.shapes import ImageSize, read_image_size

NORMS_OF_D = ("batch", "virtual", "instance", "spectral", "weight", "none")
NORMS_OF_G = ("batch", "virtual", "instance", "none")
CONDITIONAL = ("none", "projection", "auxiliary", "concatenation")
WEIGHTS = ("own", "normal", "xavier", "he", "orthogonal", "uniform")
IMAGE_NETWORKS = tuple("dcgan face2015 improved-dense imagenet2016 improved-conv progressive lapgan".split())
UPSAMPLE = ("transposed", "nearest", "shuffle")
OPTIMIZERS = ("adam", "rmsprop", "sgd")
POINT_NETWORKS = ("relu", "tanh", "maxout")
GROUPS = {  # the headings of train.py --help, in order
    "first": "what people set first",
    "networks": "the two networks",
    "game": "the game: losses, penalties, who moves when, optimizers",
    "run": "the run: precision, speed, what is written and when",
}


def _setting(
    group: str,
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    read: Callable[[Any], Any] | None = None,
    bare: str | None = None,
) -> Any:
    """A field with its help text and its values: low ≤ value ≤ high, one of choices, or what ``read`` makes
    of what is given. ``bare`` is what the flag means without a value.
    """
    limits = {"low": low, "high": high, "choices": choices, "read": read}
    return field(default=default, metadata={"group": group, "help": help, "bare": bare, **limits})


first, networks, game, run = (partial(_setting, group) for group in GROUPS)


@dataclass(frozen=True)
class Config:
    """The settings of one run.

    A setting whose default is None may be None, which means "choose for me". A complete Config, as a run has
    it and config.json holds it, has none of these left (but image_size and channels, where the samples are
    points).

    A technique is named as Python would write it, ``"R1(weight=10)"``: see gan_ref/techniques.
    """

    data: str = first(
        "faces",
        "faces, ring8, grid25, swissroll, a published set (mnist), or a path: folder, .zip, .tar, points.npy",
    )
    recipe: str = first("", "named settings, over which flags win; see --recipes [baseline]")
    image_size: ImageSize = first(None, "side, or height x width as 96x64, up to 512", read=read_image_size)
    width: int = first(None, "filters of the layer beside the image", low=1, high=1024)
    steps: int = first(None, "rounds to play", low=1, high=10**9)
    batch_size: int = first(None, "samples in a batch", low=1, high=2**16)
    flip: bool = first(False, "mirror half of the images (not for digits or text)")
    norm_g: str = first("batch", "normalisation in G", choices=NORMS_OF_G)
    norm_d: str = first("batch", "normalisation in D", choices=NORMS_OF_D)
    lr_g: float = first(2e-4, "G's learning rate", low=0.0, high=10.0)
    lr_d: float = first(2e-4, "D's learning rate", low=0.0, high=10.0)
    seed: int = first(0, "seed of all random numbers", low=0, high=2**63 - 1)
    device: str = first("auto", f"where to train; {HELP}", choices=DEVICES)

    network: str = networks(
        "dcgan",
        "the image networks; for points relu, tanh or maxout, or else ReLU in G and leaky ReLU in D",
        choices=IMAGE_NETWORKS + POINT_NETWORKS,
    )
    upsample: str = networks("transposed", "how the dcgan's G doubles a plane", choices=UPSAMPLE)
    channels: int = networks(None, "1 for gray images, 3 for colour", low=1, high=3)
    d_width: int = networks(None, "the width of D, if not the same as --width", low=1, high=1024)
    layers: int = networks(3, "hidden layers of the networks for points", low=1, high=16)
    d_layers: int = networks(None, "those of D, if not the same as --layers", low=1, high=16)
    points_std: float = networks(0.0, "standard deviation to scale points to; 0: none", low=0.0, high=1e3)
    latent_dim: int = networks(None, "numbers in z", low=1, high=8192)
    latent: str = networks("normal", "what G makes of z", choices=("normal", "uniform"))
    weights: str = networks("own", "how both networks begin; own: as their paper's", choices=WEIGHTS)
    weights_scale: float = networks(1.0, "a factor of --weights", low=1e-6, high=1e3)
    norm_decay: float = networks(0.9, "share of its old statistics that batch norm keeps", low=0, high=1)
    conditional: str = networks(
        "none",
        "G is told a class, and D judges by projection, guesses it (auxiliary), or sees it (concatenation); "
        "projection without a word",
        choices=CONDITIONAL,
        bare="projection",
    )
    label_factor: str = networks("", "of faces: one factor as the labels, as hair_style")
    minibatch_discrimination: bool = networks(False, "let D compare the samples of a batch")
    pack: int = networks(1, "samples that D judges together (PacGAN)", low=1, high=64)
    autoencoder: bool = networks(False, "let D reconstruct: its score is minus the error (EBGAN)")
    d_noise: float = networks(0.0, "σ of the Gaussian noise between D's layers", low=0.0, high=10.0)
    d_dropout: float = networks(0.0, "probability that D drops a feature map", low=0.0, high=0.95)
    ema: float = networks(0.999, "decay of the average of G that draws samples; 0: none", low=0, high=1)
    d_ema: float = networks(0.0, "decay of the average of D that is tested on labels", low=0, high=1)

    objective: str = game("NonSaturating", "the players' losses")
    penalties: tuple[str, ...] = game((), "terms added to the losses")
    match_layers: tuple[str, ...] = game((), "layers of D that feature matching compares, as 1 3 [the last]")
    balance: str = game("Fixed", "who moves, and how often")
    update: str = game("Alternating", "the order of the steps, and what they differentiate through")
    mixed_batches: bool = game(False, "reals and fakes pass through D, and its batch norm, in one batch")
    instance_noise: str = game("", "noise on everything D sees, as in 'InstanceNoise(sigma=0.1)'")
    augment: str = game("", "changes of all that D sees, DiffAugment or AdaptiveAugment")
    growth: str = game("", "when the progressive networks grow, as in 'Stages(end=0.5)'")
    schedules: tuple[str, ...] = game((), "what changes, as in \"Ramp(of='lr', start=0.5, last=0.01)\"")
    labels_per_class: int = game(0, "labels of each class that D sees; 0: none", low=0, high=10**6)
    optimizer: str = game("adam", "of both players", choices=OPTIMIZERS)
    optimizer_d: str = game(None, "of D, if not the same as --optimizer", choices=OPTIMIZERS)
    beta1: float = game(0.5, "Adam's β₁, or SGD's momentum", low=0.0, high=0.9999)
    beta1_d: float = game(None, "of D, if not the same as --beta1", low=0.0, high=0.9999)
    beta2: float = game(0.999, "Adam's β₂, or RMSProp's decay", low=0.0, high=0.99999)

    precision: str = run("auto", "of the convolutions", choices=("auto", "float32", "bfloat16"))
    threads: int = run(None, "CPU threads; 1 where several programs share the cores", low=1, high=256)
    cuda_graph: bool = run(True, "on a GPU, record a round and replay it, if that computes the same")
    sync_batch_norm: bool = run(False, "under torchrun, let batch norm see the whole batch")
    log_every: int = run(None, "rounds between two lines of metrics.jsonl", low=1, high=10**9)
    sample_every: int = run(None, "rounds between two sample pages", low=1, high=10**9)
    checkpoint_every: int = run(None, "rounds between two checkpoints", low=1, high=10**9)
    score_every: int = run(0, "rounds between measurements that choose best.pt", low=0, high=10**9)
    walk: bool = run(True, "render walk.gif, and of image runs film.mp4, at the end")
    tensorboard: bool = run(False, "write event files for TensorBoard to tensorboard/ of the run")
    follow_links: bool = run(False, "follow links that lead out of the data folder")

    def __post_init__(self) -> None:
        for name, kind in TYPES.items():
            value, setting = getattr(self, name), self.__dataclass_fields__[name]
            if value is None and setting.default is None:
                continue
            read = setting.metadata["read"]
            value = read(value) if read else _checked(name, value, kind, setting.metadata)
            object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> Config:
        return dataclasses.replace(self, **changes)

    @property
    def points(self) -> bool:
        """Whether the samples of a complete Config are points of the plane: those have no image size."""
        return self.image_size is None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any, source: str = "config", only_drawn: bool = False) -> Config:
        """A Config from untrusted JSON-like data: every field must be known, present and in its range.

        What is ``only_drawn`` may lack the settings that later versions added: they have their defaults.
        """
        if not isinstance(values, dict):
            raise UserError(f"{source}: not a set of settings")
        unknown = sorted(str(name) for name in values if name not in TYPES)
        missing = [] if only_drawn else sorted(name for name in TYPES if name not in values)
        if unknown or missing:
            problem = f"unknown setting {unknown[0]!r}" if unknown else f"setting {missing[0]!r} is missing"
            raise UserError(f"{source}: {problem}; another version wrote it, or it is damaged")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            return cls(**given)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


TYPES: dict[str, Any] = typing.get_type_hints(Config)
OF_NETWORKS = ["image_size", "width", "norm_g", "norm_d"]  # the settings that decide how networks are built
OF_NETWORKS += [name for name, f in Config.__dataclass_fields__.items() if f.metadata["group"] == "networks"]


def flag(name: str) -> str:
    """The flag of a setting: batch_size → --batch-size."""
    return "--" + name.replace("_", "-")


def _checked(name: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    """``value`` as a ``kind``. Raises UserError unless it is one, and within the field's limits."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
            raise UserError(f"{flag(name)} is a list of names, not {value!r}")
        return value
    if type(value) is not kind and not (kind is float and type(value) is int):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
        raise UserError(f"{flag(name)} is {wanted}, not {value!r}")
    if limits["choices"] and value not in limits["choices"]:
        raise UserError(f"{flag(name)} is one of {', '.join(limits['choices'])}; not {value!r}")
    if kind in (int, float):
        if type(value) is float and not math.isfinite(value):
            raise UserError(f"{flag(name)} must be finite, not {value}")
        if limits["low"] is not None and value < limits["low"]:
            raise UserError(f"{flag(name)} must be at least {limits['low']:g}, not {value}")
        if limits["high"] is not None and value > limits["high"]:
            raise UserError(f"{flag(name)} must be at most {limits['high']:g}, not {value}")
    return float(value) if kind is float else value  # Adam takes no β that is a whole number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag for each setting, under its group's heading; one not given is not in the namespace."""
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for name, kind in TYPES.items():
        setting = Config.__dataclass_fields__[name]
        default = "chosen from data and device" if setting.default is None else setting.default
        shown = "" if default in ("", ()) else f" [{default}]"
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        options["help"] = (setting.metadata["help"] + shown).replace("%", "%%")
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            options |= {"nargs": "*", "metavar": "NAME"}
        elif read := setting.metadata["read"]:
            options |= {"type": read, "metavar": "N|HxW"}
        else:
            options |= {"type": kind, "metavar": {int: "N", float: "X", str: "NAME"}[kind]}
            if setting.metadata["choices"]:
                options["metavar"] = "|".join(setting.metadata["choices"])
        if bare := setting.metadata["bare"]:
            options |= {"nargs": "?", "const": bare}
        groups[setting.metadata["group"]].add_argument(flag(name), **options)
        if name == "norm_d":
            both: dict[str, Any] = {"help": "normalisation in both networks", "default": argparse.SUPPRESS}
            both |= {"choices": NORMS_OF_G, "metavar": "|".join(NORMS_OF_G)}
            groups["first"].add_argument("--norm", **both)
