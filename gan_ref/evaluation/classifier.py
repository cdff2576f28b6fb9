"""A small classifier of the data's own labels: class probabilities, and features that know what matters.

Scores over an ImageNet network say little about digits or drawn portraits. This one is trained on the labels
that the data has: one trunk, one linear head for each labelling (a portrait has several: hair style, glasses,
…), and the trunk's last layer as features. It is trained once and kept in the cache; its accuracy on images
it never saw says how far to trust what it says of samples.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gan_ref.data.cache import default_directory
from gan_ref.errors import UserError

FORMAT = 1  # raise it when the same data would give another classifier
FEATURES = 128
_SIDE = 32  # images larger than this are averaged down to it
_BATCH = 128


class _Network(nn.Module):
    """Images (N, C, 32, 32) in [-1, 1] → features (N, 128) and one (N, K) of logits a head.

    Pooling before the norm, and channels last: half the time of the usual order (36 against 75 ms a step of
    128 colour images, two CPU cores).
    """

    def __init__(self, channels: int, heads: Mapping[str, int]):
        super().__init__()
        widths = (channels, 32, 64, 128)
        sizes = zip(widths, widths[1:])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.features = nn.Linear(widths[-1] * (_SIDE // 8) ** 2, FEATURES)
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, classes) for name, classes in heads.items()})
        self.register_buffer("scale", torch.ones(()))  # makes the features' mean square one on real images

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(F.max_pool2d(conv(x), 2)))  # (N, 32, 16, 16), (N, 64, 8, 8), (N, 128, 4, 4)
        features = F.relu(self.features(x.flatten(1)))
        return features / self.scale, {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network, and its accuracy per head on ``held_out`` images that it was not trained on."""

    network: nn.Module
    classes: dict[str, int]  # head → number of classes
    accuracy: dict[str, float]
    held_out: int

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Images uint8 (N, H, W, C) → features (N, 128) of mean square 1, probabilities (N, K) per head."""
        features, probabilities = [], []
        for start in range(0, len(images), batch_size):
            x = as_input(images[start : start + batch_size]).to(next(self.network.parameters()).device)
            feature, logits = self.network(x)
            features.append(feature.cpu().numpy())
            probabilities.append({name: logit.softmax(1).cpu().numpy() for name, logit in logits.items()})
        by_head = {head: np.concatenate([p[head] for p in probabilities]) for head in self.classes}
        return np.concatenate(features), by_head


def as_input(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, 32, 32) in [-1, 1]: averaged down, or (16×16) repeated up."""
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = F.interpolate(x, (_SIDE, _SIDE), mode="area") if x.shape[-1] != _SIDE else x
    return x.contiguous(memory_format=torch.channels_last)


def train_classifier(
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    test_images: np.ndarray | None = None,
    test_targets: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Classifier:
    """Train on images uint8 (N, H, W, C) and integer targets (N,) per head.

    Its accuracy is measured on the test images, or without them on a tenth of the images that is held out.
    Adam with a one-cycle rate (Smith & Topin 2017), the sum of the heads' cross-entropies, images shifted by
    up to two pixels; ``steps`` of 128 images, by default eight passes, 400 to 3000. The seed decides all.
    """
    targets = {name: torch.from_numpy(np.array(values, dtype=np.int64)) for name, values in targets.items()}
    if not targets or any(len(values) != len(images) for values in targets.values()):
        raise ValueError("targets must hold at least one labelling, each with a label for every image")
    generator = torch.Generator().manual_seed(seed)
    train = torch.randperm(len(images), generator=generator)
    if test_images is None:
        held = max(1, len(images) // 10)
        test, train = train[:held].sort().values, train[held:]
        test_images = images[test.numpy()]
        test_targets = {name: values[test].numpy() for name, values in targets.items()}
    classes = {name: 1 + int(max(v.max(), np.max(test_targets[name]))) for name, v in targets.items()}

    network = _network(images.shape[-1], classes, generator).to(device, memory_format=torch.channels_last)
    steps = steps or min(3000, max(400, 8 * len(train) // _BATCH))
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.2)
    hidden = None if progress else True  # None: where there is no terminal
    bar = tqdm(total=steps, desc="training the classifier of the scores", unit="step", disable=hidden)
    for rows in _batches(train, steps, generator):
        x = _shift(as_input(images[rows.numpy()]), generator).to(device)
        _, logits = network(x)
        loss = sum(F.cross_entropy(logit, targets[name][rows].to(device)) for name, logit in logits.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.update()
    bar.close()

    classifier = Classifier(network.eval(), classes, {}, len(test_images))
    features, probabilities = classifier(test_images)
    network.scale.fill_(float(np.sqrt(np.mean(features**2))) or 1.0)
    right = {name: p.argmax(1) == test_targets[name] for name, p in probabilities.items()}
    classifier.accuracy.update({name: float(r.mean()) for name, r in right.items()})
    return classifier


def cached_classifier(
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    test_images: np.ndarray | None = None,
    test_targets: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str | torch.device = "cpu",
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Classifier:
    """`train_classifier`, once: the result is kept under a name made of the data and the settings.

    The file holds tensors and numbers only and is read as such; one that cannot be read is made anew. Raises
    UserError where the cache cannot be written.
    """
    key = _digest((FORMAT, seed, steps), images, targets)
    if test_images is not None:
        key = _digest((key,), test_images, test_targets)
    path = (cache_dir or default_directory()) / f"classifier-{key[:20]}.pt"
    found = _load(path, images.shape[-1], device)
    if found is not None:
        return found
    classifier = train_classifier(images, targets, test_images, test_targets, seed, steps, device, progress)
    _save(classifier, path)
    return classifier


def _digest(settings: tuple, images: np.ndarray, targets: Mapping[str, np.ndarray]) -> str:
    """A name for the data: all of its labels, but a hundred images or so, as the set may be large."""
    digest = hashlib.sha256(repr((settings, images.shape)).encode())
    digest.update(np.ascontiguousarray(images[:: max(1, len(images) // 100)]).tobytes())
    for name in sorted(targets):
        digest.update(name.encode() + np.ascontiguousarray(targets[name], dtype=np.int64).tobytes())
    return digest.hexdigest()


def _network(channels: int, classes: Mapping[str, int], generator: torch.Generator) -> _Network:
    """He et al. 2015 for weights, zero for biases. Made without memory first: no global numbers are drawn."""
    with torch.device("meta"):
        network = _Network(channels, classes)
    network.to_empty(device="cpu")
    network.scale.fill_(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def _batches(rows: Tensor, steps: int, generator: torch.Generator) -> Iterable[Tensor]:
    """``steps`` batches of indices, sorted because the images may be a memory map; each pass reshuffled."""
    size, left = min(_BATCH, len(rows)), torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(left) < size:
            left = rows[torch.randperm(len(rows), generator=generator)]
        yield left[:size].sort().values
        left = left[size:]


def _shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to two pixels each way, its edge repeated."""
    dy, dx = torch.randint(0, 5, (2,), generator=generator).tolist()
    return F.pad(x, (2, 2, 2, 2), mode="replicate")[:, :, dy : dy + _SIDE, dx : dx + _SIDE]


def _save(classifier: Classifier, path: Path) -> None:
    state = {name: value.cpu() for name, value in classifier.network.state_dict().items()}
    stored = {"classes": classifier.classes, "accuracy": classifier.accuracy, "held_out": classifier.held_out}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({**stored, "network": state}, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        todo = "free some space there, or set GAN_REF_CACHE to another folder"
        raise UserError(f"cannot write {path}; {todo}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _load(path: Path, channels: int, device: str | torch.device) -> Classifier | None:
    """What is stored at ``path``, or None where there is nothing that can be used."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        network = _network(channels, stored["classes"], torch.Generator())
        network.load_state_dict(stored["network"])
        network.eval().to(device, memory_format=torch.channels_last)
        return Classifier(network, stored["classes"], stored["accuracy"], stored["held_out"])
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError,
            pickle.UnpicklingError, zipfile.BadZipFile):  # fmt: skip
        return None
