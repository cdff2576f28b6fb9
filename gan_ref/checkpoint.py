"""What survives a crash: one file, always whole, never trusted.

A checkpoint is a dict of tensors, numbers, strings, lists and dicts, written by torch.save under a temporary
name, flushed to the disk and renamed, so that ``checkpoint.pt`` is either the old one or the new one at every
moment. It is read with ``weights_only=True``, which runs nothing the file says, and its fields are checked
one by one before anything is built from them.
"""

from __future__ import annotations

import errno
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan_ref.config import Config
from gan_ref.data.mixtures import MIXTURES
from gan_ref.errors import UserError
from gan_ref.networks import build_discriminator, build_generator

FORMAT = 1
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "config": dict,
    "step": int,
    "shape": list,  # of one sample: [C, H, W] or [2]
    "classes": list,  # names, where the data has labels
    "generator": dict,
    "average": dict,
    "discriminator": dict,
    "g_optimizer": dict,
    "d_optimizer": dict,
    "techniques": dict,
    "batches": dict,
    "reference": dict,
    "rng": torch.Tensor,
}


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a second process from training in ``folder``; one that was killed has let go of it.

    Raises UserError if another process has it. Where the system has no such locks, nothing is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError(f"{folder}: another process trains there; let it end, or take another --out") from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(lock)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` whole or not at all. Raises UserError where the disk refuses it."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        partial.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        known = isinstance(cause, OSError) and cause.errno
        reason = os.strerror(cause.errno) if known else "the disk refused it"
        last = "the last one is intact" if path.exists() else "there is none yet"
        raise UserError(f"cannot write the checkpoint {path}: {reason}; {last}") from error


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system knows how."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EISDIR):
            return  # Windows cannot open a folder
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locate(path: str | Path) -> Path:
    """The checkpoint that ``path`` means: itself, or the newest of a run folder."""
    path = Path(path)
    if path.is_dir():
        if not (path / "checkpoint.pt").is_file():
            raise UserError(f"{path} holds no checkpoint.pt: is it a run folder that has saved one yet?")
        return path / "checkpoint.pt"
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    return path


def load(path: str | Path) -> dict[str, Any]:
    """Read and check a checkpoint; its tensors are on the CPU and its "config" is a Config.

    Raises UserError for a file that is missing, damaged, of another program, or would execute code.
    """
    path = locate(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a stranger's pickle, which is refused in one line below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, TypeError, AttributeError, IndexError,
            UnicodeDecodeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:  # fmt: skip
        if isinstance(error, PermissionError):
            raise UserError(f"may not read {path}") from error
        problem = "is not a checkpoint that can be trusted, or it is damaged: nothing was run"
        raise UserError(f"{path} {problem}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a checkpoint of gan_ref")
    for name, kind in FIELDS.items():
        if name not in state:
            raise UserError(f"{path}: field {name!r} is missing; it is damaged, or no checkpoint of gan_ref")
        if not isinstance(state[name], kind) or isinstance(state[name], bool):
            raise UserError(f"{path}: field {name!r} is of the wrong type; it is damaged")
    if state["format"] != FORMAT:
        raise UserError(f"{path} has format {state['format']}; this version reads format {FORMAT}")
    if state["step"] < 0:
        raise UserError(f"{path}: field 'step' is negative; it is damaged")
    shape = state["shape"]
    if len(shape) not in (1, 3) or not all(type(n) is int and 0 < n <= 256 for n in shape):
        raise UserError(f"{path}: field 'shape' is not the shape of a sample; it is damaged")
    config = state["config"] = Config.from_dict(state["config"], source=str(path))
    settled = [2] if config.data in MIXTURES else [config.channels, config.image_size, config.image_size]
    if shape != settled or config.width is None or config.latent_dim is None:
        raise UserError(f"{path}: its settings contradict the shape of its samples; it is damaged")
    return state


def restore(target: Any, state: Any, what: str) -> None:
    """``target.load_state_dict(state)``, with one clear line where it does not fit."""
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"the checkpoint's {what} does not fit its own settings: it is damaged") from error


@dataclass
class LoadedGenerator:
    """G as it draws samples: averaged weights where there are any, in eval mode."""

    module: nn.Module  # z (N, latent_dim) → (N, *shape)
    config: Config
    shape: tuple[int, ...]
    step: int
    path: Path
    device: torch.device


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> LoadedGenerator:
    """The generator of a checkpoint or run folder. Raises UserError as ``load`` does."""
    state = load(path)
    config, shape = state["config"], tuple(state["shape"])
    module = build_generator(config, shape)
    restore(module, state["average"], "generator")
    module.requires_grad_(False).eval()
    device = torch.device(device)
    return LoadedGenerator(module.to(device), config, shape, state["step"], locate(path), device)


def load_classifier(path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The averaged D of a semi-supervised run, in eval mode: images → Output with logits. Else UserError."""
    state = load(path)
    config, shape = state["config"], tuple(state["shape"])
    if not config.labels_per_class:
        raise UserError(f"{path}: its D is no classifier; --recipe semi-supervised trains one")
    module = build_discriminator(config, shape, len(state["classes"]))
    restore(module, state.get("classifier", {}), "classifier")
    return module.requires_grad_(False).eval().to(device)
