"""What survives a crash: one file that is always whole and never trusted.

A checkpoint is a dict of tensors, numbers, text, lists and dicts that torch.save writes. It is read without
running any code in it. Its fields are checked before anything is built from them, and each part is held
against what a fresh run of the same settings has, before it is used.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_ref.config import Config
from gan_ref.errors import PassingTrouble, UserError
from gan_ref.files import read_tensors, write_atomically
from gan_ref.layers import set_reference
from gan_ref.networks import build_discriminator, build_generator
from gan_ref.networks.conditional import classes_told
from gan_ref.networks.size import shapes_only
from gan_ref.shapes import sides
from gan_ref.techniques import build
from gan_ref.techniques.growth import grow

FORMAT = 2
DEMO = Path(__file__).parent / "demo.pt"  # a finished generator of faces; docs/explore.md has how it is made
DRAWN = ("format", "config", "step", "shape", "classes", "average")  # the fields of a finished generator
FIELDS: dict[str, type] = {
    "format": int,
    "config": dict,
    "step": int,  # rounds played
    "shape": list,  # of one sample: [C, H, W] or [2]
    "classes": list,  # their names, where the data has labels
    "generator": dict,
    "discriminator": dict,
    "average": dict,  # of G's weights; d_average, of D's, is there where D is tested as a classifier
    "g_optimizer": dict,
    "d_optimizer": dict,
    "techniques": dict,
    "batches": dict,
    "reference": dict,
    "rng": Tensor,
}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` whole or not at all. Raises PassingTrouble if the disk refuses it."""
    try:
        with write_atomically(path, durable=True) as part, open(part, "wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        known = isinstance(cause, OSError) and cause.errno
        reason = os.strerror(cause.errno) if known else "the disk refused it"  # type: ignore[union-attr]
        last = "the last one is intact" if path.exists() else "there is none yet"
        raise PassingTrouble(f"cannot write the checkpoint {path}: {reason}; {last}") from error


def find(path: str | Path) -> Path:
    """The checkpoint that ``path`` means: the file itself, or the newest one of a run folder.

    ``demo`` is the package's own finished generator, unless something of that name is here.
    """
    path = Path(path)
    if str(path) == "demo" and not path.exists():
        return DEMO
    if path.is_dir():
        if not (path / "checkpoint.pt").is_file():
            raise UserError(f"{path} holds no checkpoint.pt: is it a run folder, and has it saved one yet?")
        return path / "checkpoint.pt"
    if not path.exists():
        raise UserError(f"there is no checkpoint at {path}")
    return path


def load(path: str | Path, fields: Collection[str] = tuple(FIELDS)) -> dict[str, Any]:
    """Read a checkpoint and check these fields. Its tensors are on the CPU, and its "config" is a Config.

    Raises UserError for a file that is missing or damaged, that another program or version wrote, or that
    would execute code.
    """
    path = find(path)
    state = read_tensors(path, "a checkpoint that can be trusted", "nothing in it was run")
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a checkpoint of gan_ref")
    if state.keys() == set(DRAWN) != set(fields):
        raise UserError(f"{path} is a finished generator, without what trains or judges it; take its run")
    for name in fields:
        kind = FIELDS[name]
        if name not in state:
            what = "it is damaged, or not a checkpoint of gan_ref"
            raise UserError(f"{path}: field {name!r} is missing; {what}")
        if not isinstance(state[name], kind) or isinstance(state[name], bool):
            raise UserError(f"{path}: field {name!r} has the wrong type; the file is damaged")
    if state["format"] != FORMAT:
        reads = f"this version of gan_ref reads format {FORMAT}"
        raise UserError(f"{path} has format {state['format']}, and {reads}")
    if not 0 <= state["step"] <= 10**9:
        raise UserError(f"{path}: field 'step' is not a number of rounds; the file is damaged")
    config = state["config"] = Config.from_dict(state["config"], str(path), only_drawn=fields == DRAWN)
    shape = [2] if config.image_size is None else [config.channels, *sides(config.image_size)]
    if not all(type(n) is int for n in state["shape"]) or not all(type(c) is str for c in state["classes"]):
        raise UserError(f"{path}: field 'shape' or 'classes' has the wrong type; the file is damaged")
    chosen = config.width, config.latent_dim, config.batch_size, config.steps
    if state["shape"] != shape or None in (*shape, *chosen):
        raise UserError(f"{path}: its settings contradict the shape of its samples; the file is damaged")
    with shapes_only():  # a file's settings do not decide how much memory is taken
        fresh = build_generator(config, tuple(shape), len(state["classes"])).state_dict()
    require_like(state["average"], fresh, "averaged G")
    return state


# ---------------------------------------------------------------- held against what should be there


def require_like(value: Any, fresh: Any, what: str) -> None:
    """Raise UserError unless ``value`` is built like ``fresh``: the same keys, types, shapes and dtypes
    throughout, and only finite numbers."""
    if isinstance(fresh, Mapping):
        if not isinstance(value, dict) or value.keys() != fresh.keys():
            raise damaged(what)
        for name in fresh:
            require_like(value[name], fresh[name], what)
    elif isinstance(fresh, Tensor):
        if not isinstance(value, Tensor) or (value.shape, value.dtype) != (fresh.shape, fresh.dtype):
            raise damaged(what)
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise damaged(what)
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"the checkpoint's {what} holds NaN or infinite numbers: it cannot be used")
    elif type(value) is not type(fresh):
        raise damaged(what)


def damaged(what: str) -> UserError:
    return UserError(f"the checkpoint's {what} does not fit its own settings: the file is damaged")


def restore(target: Any, state: Any, what: str) -> None:
    """``target.load_state_dict(state)``, once ``state`` has been held against what ``target`` is."""
    try:
        if isinstance(target, torch.optim.Optimizer):
            _require_memory_like(target, state, what)
            groups = target.state_dict()["param_groups"]  # equal to the file's, where 0 may stand for False
            own = target.param_groups
            target.load_state_dict({**state, "param_groups": groups})
            target.param_groups = own  # a schedule holds these, and torch has put copies in their place
        else:
            require_like(state, target.state_dict(), what)
            target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise damaged(what) from error


def _require_memory_like(optimizer: torch.optim.Optimizer, state: Any, what: str) -> None:
    """Hold an optimizer's state against its settings and the shapes of its parameters.

    What it remembers of a parameter is built like what it would remember after a step. (A fused step would
    read past the end of a moment that is too short.)
    """
    fresh = optimizer.state_dict()
    if (
        not isinstance(state, dict)
        or state.keys() != fresh.keys()
        or state["param_groups"] != fresh["param_groups"]
        or not isinstance(state["state"], dict)
    ):
        raise damaged(what)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, memory in state["state"].items():
        if type(number) is not int or not 0 <= number < len(parameters):
            raise damaged(what)
        probe = nn.Parameter(torch.zeros_like(parameters[number], device="cpu"))
        probe.grad = torch.zeros_like(probe)
        again = type(optimizer)([probe], **optimizer.defaults)
        again.step()
        require_like(memory, again.state[probe], what)


# ---------------------------------------------------------------- to draw with


@dataclass
class LoadedGenerator:
    """G as it draws samples: the average of its weights, in eval mode."""

    module: nn.Module  # z (N, latent_dim) → (N, *shape)
    config: Config
    shape: tuple[int, ...]
    step: int
    path: Path
    device: torch.device
    classes: tuple[str, ...] = ()  # those that it can be asked for: after z, see gan_ref/latents/classes.py


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> LoadedGenerator:
    """The generator of a checkpoint or run folder. Raises UserError as ``load`` does."""
    state = load(path, DRAWN)
    config, shape = state["config"], tuple(state["shape"])
    module = build_generator(config, shape, len(state["classes"]))
    module.load_state_dict(state["average"])  # which load has held against this G
    grow_as_saved(module, state)
    module.requires_grad_(False).eval()
    device = torch.device(device)
    classes = tuple(state["classes"][: classes_told(config, state["classes"])])
    return LoadedGenerator(module.to(device), config, shape, state["step"], find(path), device, classes)


def grow_as_saved(module: nn.Module, state: dict[str, Any]) -> None:
    """Let G or D, if it grows, run at the size that it had reached."""
    config = state["config"]
    growth = build("growth", config.growth) if config.growth else None
    grow(growth, state["step"], config.steps, [module])


def finished(path: str | Path) -> dict[str, Any]:
    """What of a checkpoint draws: the averaged G and its settings. Saved, it is a checkpoint of a quarter of
    the size or less, which cannot be resumed.
    """
    state = load(path, DRAWN)
    return {name: state[name] for name in DRAWN} | {"config": state["config"].to_dict()}


def load_discriminator(path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """D in eval mode, images → Output; the average that a semi-supervised run tests, with logits, or else
    the D that plays. Raises UserError as ``load`` does.
    """
    state = load(path)
    config, shape = state["config"], tuple(state["shape"])
    classifies = config.labels_per_class > 0
    module = build_discriminator(config, shape, len(state["classes"]) if classifies else 0)
    restore(module, state.get("d_average") if classifies else state["discriminator"], "D")
    module.requires_grad_(False).eval()
    grow_as_saved(module, state)
    real = state["reference"].get("real")
    like = torch.empty(config.batch_size, *shape, device="meta")
    require_like(real, like, "reference batch")
    set_reference(module, real)
    return module.to(device)


def discriminator_of(generator: LoadedGenerator) -> nn.Module | None:
    """The D that was trained with a loaded G; None where its file holds G alone, as ``demo`` does, or where D
    sees labels, packs or the levels of a pyramid, and not a picture alone.
    """
    config = generator.config
    apart = config.conditional != "none" or config.network == "lapgan" or config.pack > 1
    if apart or load(generator.path, DRAWN).keys() == set(DRAWN):
        return None
    return load_discriminator(generator.path, generator.device)
