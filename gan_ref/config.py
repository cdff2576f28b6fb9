"""Everything that decides a run, in one typed, validated, serialisable place."""

from __future__ import annotations

import argparse
import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from gan_ref.errors import UserError


def _setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with its help text and the values it may take: low ≤ value ≤ high, or one of choices."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


AUTO = "chosen from the data and the device unless given"


@dataclass(frozen=True)
class Config:
    """The settings of one run. A setting of None means "choose for me"; a run's config.json has none left.

    Techniques are named as Python would write them, ``"R1(weight=10)"``: see gan_ref/techniques.
    """

    recipe: str = _setting("dcgan", "a named set of the settings below; --recipes lists them")

    # what is learned
    data: str = _setting("faces", "faces, ring8, grid25, or a path: folder, .zip, .npz, MNIST, CIFAR-10")
    image_size: int | None = _setting(None, f"side in pixels, a power of two from 16 to 256; {AUTO}", low=1)
    channels: int | None = _setting(None, "1: gray, 3: colour; what the data is unless given", low=1, high=3)
    labels_per_class: int = _setting(0, "labels a class that D may see; 0: no classes", low=0, high=10**6)
    flip: bool = _setting(False, "mirror half of the images (not for digits or text)")

    # the networks
    network: str = _setting(
        "dcgan", "the image networks", choices=("dcgan", "face2015", "improved-dense", "improved-conv")
    )
    width: int | None = _setting(None, f"filters in the layer beside the image; {AUTO}", low=1, high=1024)
    d_width: int | None = _setting(None, "the same for D; --width unless given", low=1, high=1024)
    layers: int = _setting(3, "hidden layers of the networks for two-dimensional data", low=1, high=16)
    latent_dim: int | None = _setting(None, f"numbers in z; {AUTO}", low=1, high=4096)
    norm_g: str = _setting("batch", "normalisation in G", choices=("batch", "virtual", "none"))
    norm_d: str = _setting(
        "batch", "normalisation in D", choices=("batch", "virtual", "spectral", "weight", "none")
    )
    norm_decay: float = _setting(0.9, "share of its running statistics batch norm keeps", low=0.0, high=1.0)
    minibatch_discrimination: bool = _setting(False, "let D compare the samples of a batch")
    autoencoder: bool = _setting(False, "D reconstructs its input; its score is minus the error (EBGAN)")
    d_noise: float = _setting(0.0, "σ of the Gaussian noise between D's layers", low=0.0, high=10.0)
    d_dropout: float = _setting(0.0, "probability of dropping a feature map in D", low=0.0, high=0.95)
    ema: float = _setting(0.999, "decay of the average of G's weights, for samples; 0: none", low=0, high=1)
    d_ema: float = _setting(0.0, "the same for D's, where D is a classifier that is tested", low=0, high=1)

    # what each player minimises, and how the game is played
    objective: str = _setting("NonSaturating", "the players' losses")
    penalties: tuple[str, ...] = _setting((), "terms added to them")
    balance: str = _setting("Fixed", "who moves, and how often")
    update: str = _setting("Alternating", "in which order, and through what they differentiate")
    instance_noise: str = _setting("", "noise on everything D sees, e.g. 'InstanceNoise(sigma=0.1)'")
    sync_batch_norm: bool = _setting(False, "with torchrun, let batch norm see the batch of all processes")
    optimizer: str = _setting("adam", "how a step is taken", choices=("adam", "rmsprop", "sgd"))
    lr_g: float = _setting(2e-4, "G's learning rate", low=0.0, high=10.0)
    lr_d: float = _setting(2e-4, "D's learning rate", low=0.0, high=10.0)
    beta1: float = _setting(0.5, "Adam's β₁; SGD's momentum", low=0.0, high=0.9999)
    beta2: float = _setting(0.999, "Adam's β₂; RMSProp's decay", low=0.0, high=0.99999)

    # the run
    steps: int | None = _setting(None, f"rounds to play; {AUTO}", low=1, high=10**9)
    batch_size: int | None = _setting(None, f"samples in a batch; {AUTO}", low=1, high=2**16)
    seed: int = _setting(0, "of everything random", low=0, high=2**63 - 1)
    device: str = _setting("auto", "where to train", choices=("auto", "cpu", "cuda"))
    precision: str = _setting(
        "auto", "of the convolutions; losses, statistics and weights are float32 always",
        choices=("auto", "float32", "bfloat16"),
    )  # fmt: skip
    cuda_graph: bool = _setting(True, "on a GPU, record a round and replay it wherever that is the same")
    log_every: int | None = _setting(None, f"steps between lines of metrics.jsonl; {AUTO}", low=1, high=10**9)
    sample_every: int | None = _setting(None, f"steps between sample pictures; {AUTO}", low=1, high=10**9)
    checkpoint_every: int | None = _setting(None, f"steps between checkpoints; {AUTO}", low=1, high=10**9)
    every: int = _setting(0, "steps between scores, by which best.pt is chosen; 0: none", low=0, high=10**9)
    walk: bool = _setting(True, "render walk.gif at the end")

    def __post_init__(self) -> None:
        for name, kind in HINTS.items():
            _check(name, getattr(self, name), kind, self.__dataclass_fields__[name].metadata)

    def replace(self, **changes: Any) -> Config:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any, source: str = "config") -> Config:
        """A Config from untrusted JSON-like data: every field known, present and in its range."""
        if not isinstance(values, dict):
            raise UserError(f"{source}: not a set of settings")
        unknown = sorted(str(name) for name in values if name not in HINTS)
        missing = sorted(name for name in HINTS if name not in values)
        if unknown or missing:
            problem = f"unknown setting {unknown[0]!r}" if unknown else f"setting {missing[0]!r} is missing"
            raise UserError(f"{source}: {problem}; it was written by another version or damaged")
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            return cls(**values)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


HINTS: dict[str, Any] = typing.get_type_hints(Config)


def _check(name: str, value: Any, kind: Any, limits: typing.Mapping[str, Any]) -> None:
    """Raise UserError unless ``value`` is of type ``kind`` and within the field's limits."""
    flag = "--" + name.replace("_", "-")
    optional = isinstance(kind, types.UnionType)
    if optional and value is None:
        return
    kind = typing.get_args(kind)[0] if optional else kind
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
            raise UserError(f"{flag} is a list of names, not {value!r}")
        return
    if type(value) is not kind and not (kind is float and type(value) is int):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
        raise UserError(f"{flag} is {wanted}, not {value!r}")
    if limits["choices"] and value not in limits["choices"]:
        raise UserError(f"{flag} is one of {', '.join(limits['choices'])}; not {value!r}")
    if kind in (int, float):
        if not math.isfinite(value):
            raise UserError(f"{flag} must be finite, not {value}")
        if limits["low"] is not None and value < limits["low"]:
            raise UserError(f"{flag} must be at least {limits['low']:g}, not {value}")
        if limits["high"] is not None and value > limits["high"]:
            raise UserError(f"{flag} must be at most {limits['high']:g}, not {value}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag a setting, its help from the field; a flag not given is absent from the parsed namespace."""
    for name, kind in HINTS.items():
        setting = Config.__dataclass_fields__[name]
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        kind = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
        flags = ["--" + name.replace("_", "-")]
        shown = "" if setting.default in (None, "", ()) else f" [{setting.default}]"
        options["help"] = (setting.metadata["help"] + shown).replace("%", "%%")
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            options |= {"nargs": "*", "metavar": "NAME"}
        else:
            options |= {"type": kind, "metavar": {int: "N", float: "X", str: "NAME"}[kind]}
            if setting.metadata["choices"]:
                options["metavar"] = "|".join(setting.metadata["choices"])
        parser.add_argument(*flags, **options)
    norms = {"choices": ("batch", "virtual", "none"), "metavar": "batch|virtual|none"}
    parser.add_argument("--norm", help="normalisation in G and in D", default=argparse.SUPPRESS, **norms)
