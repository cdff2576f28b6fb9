"""The class that a conditional G is asked for: the last K numbers of what it is given, after z.

One-hot they name a class, and numbers between two classes lie between their pictures.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_ref.errors import UserError
from gan_ref.latents.paths import Walk, lerp
from gan_ref.networks.conditional import one_hot


def with_class(z: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """What a conditional G is given, z (N, Z) and labels (N,) → (N, Z + K); with K = 0 classes, z itself."""
    if not classes:
        return z
    assert labels is not None
    return torch.cat([z, one_hot(labels, classes).to(z)], dim=-1)


def classes_in_turn(numbers: Iterable[int], classes: int) -> Tensor:
    """The class of z number i where none is asked for: i mod K, so that pages show all; int64 (N,)."""
    return torch.tensor([i % max(classes, 1) for i in numbers], dtype=torch.int64)


class OfClass(nn.Module):
    """A conditional G of K classes that is always asked for one of them: z (N, Z) → samples of it."""

    def __init__(self, module: nn.Module, label: int, classes: int):
        super().__init__()
        self.module, self.label, self.classes = module, label, classes

    def forward(self, z: Tensor) -> Tensor:
        labels = torch.full(z.shape[:1], self.label, device=z.device)  # len(z) would fix N in an export
        return self.module(with_class(z, labels, self.classes))


def of_class(generator: Any, name: str | None = None) -> Any:
    """The finished generator, asked for the class called ``name`` alone, or for its first; see find_class.

    One without classes is given back as it is. Raises UserError if it has no such class.
    """
    known = generator.classes
    if name is not None:
        require_classes(known, "--class")
    if not known:
        return generator
    module = OfClass(generator.module, 0 if name is None else find_class(name, known), len(known))
    return dataclasses.replace(generator, module=module, classes=())


def labels_like(labels: np.ndarray, count: int, seed: int = 0) -> Tensor:
    """The labels of ``count`` of N samples, int64: classes are as frequent as in the data's labels (N,)."""
    return torch.from_numpy(labels[np.random.default_rng(seed).permutation(len(labels))[:count]])


@dataclass(frozen=True, eq=False)
class SteeredWalk(Walk):
    """A walk of which the class changes too: t (T,) → (T, W, Z + K)."""

    y: Walk | None = None  # t → (T, W, K)

    def __call__(self, t: Tensor) -> Tensor:
        assert self.y is not None
        return torch.cat([super().__call__(t), self.y(t)], dim=-1)


def walk_classes(walk: Walk, numbers: Sequence[Sequence[int]], classes: int) -> SteeredWalk:
    """A walk of which walk w passes through the classes ``numbers[w]``, each mod K, on straight lines.

    With one class it keeps it. A walk with one stop stays there.
    """
    stops, y = walk.stops, one_hot(torch.tensor(numbers) % classes, classes).double()
    stops, y = (x.expand(-1, 2, -1) if x.shape[1] == 1 else x for x in (stops, y))  # to stay is to go nowhere
    parts: dict[str, Any] = vars(walk) | {"stops": stops}
    return SteeredWalk(**parts, y=dataclasses.replace(walk, stops=y, segment=lerp))


def find_class(text: str, names: Sequence[str]) -> int:
    """The class that a person means by its name, by a part that no other name has, or by its number.

    Raises UserError for a text that means none, or several.
    """
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    found = [k for k, name in enumerate(names) if text.lower() in name.lower()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{k} {name!r}" for k, name in enumerate(names[:30]))
    what = "is a part of several names" if found else "is not among them"
    raise UserError(f"class {text!r} {what}; the classes are {listed}{', …' if len(names) > 30 else ''}")


def require_classes(names: Sequence[str], option: str) -> None:
    """Raise UserError if G knows no classes."""
    if not names:
        todo = "train.py --conditional gives one with them"
        raise UserError(f"{option}: this generator was trained without classes; {todo}")
