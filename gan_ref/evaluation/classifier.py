"""A small classifier of the data's own labels: class probabilities, and features that know what matters.

Metrics over an ImageNet network say little about digits or drawn portraits. This one is trained on the labels
that the data has: one trunk, one linear head for each labelling (a portrait has several: hair style, glasses,
…), and the trunk's last layer as features. It is trained once and kept in the cache; its accuracy on images
it never saw says how far to trust what it says of samples.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gan_ref.errors import PassingTrouble, UserError
from gan_ref.files import cache_folder, read_tensors, read_untrusted, write_atomically

FORMAT = 2  # raise it when the same data would give another classifier
FEATURES = 128
SIDE = 32  # images larger than this are averaged down to it
_BATCH = 128

Labels = Mapping[str, np.ndarray]  # head → integer labels (N,)


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
        self.features = nn.Linear(widths[-1] * (SIDE // 8) ** 2, FEATURES)
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, classes) for name, classes in heads.items()})
        self.scale: Tensor
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


class StackedClassifier:
    """Of images whose three channels are digits: one classifier of digits, asked about each channel.

    Features are those of the channels in a row, (N, 384); the probability of a class, 000 to 999, is the
    product of its three digits' (Srivastava et al. 2017, §4.2, count modes so).
    """

    def __init__(self, digit: Classifier):
        self.digit, self.held_out = digit, digit.held_out
        self.classes = {"class": digit.classes["class"] ** 3}
        self.accuracy = {"digit": digit.accuracy["class"]}

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        seen = [self.digit(images[..., k : k + 1]) for k in range(3)]
        hundreds, tens, ones = (probabilities["class"] for _, probabilities in seen)
        triples = hundreds[:, :, None, None] * tens[:, None, :, None] * ones[:, None, None, :]
        features = np.concatenate([features for features, _ in seen], 1)
        return features, {"class": triples.reshape(len(images), -1)}


def as_input(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, 32, 32) in [-1, 1]: averaged down, or (16×16) repeated up."""
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(x, (SIDE, SIDE), mode="area").contiguous(memory_format=torch.channels_last)


def train_classifier(
    images: np.ndarray,
    targets: Labels,
    test: tuple[np.ndarray, Labels] | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str | torch.device = "cpu",
) -> Classifier:
    """Train on images uint8 (N, H, W, C) and their labels (N,) per head.

    Its accuracy is measured on the test images, or without them on a tenth of the images that is held out.
    Adam with a one-cycle rate (Smith & Topin 2017), the sum of the heads' cross-entropies, images shifted by
    up to two pixels; ``steps`` of 128 images, by default ``default_steps``. The seed decides all.
    """
    labels = {name: torch.from_numpy(np.array(values, dtype=np.int64)) for name, values in targets.items()}
    generator = torch.Generator().manual_seed(seed)
    train = torch.randperm(len(images), generator=generator)
    if test is None:
        held = max(1, len(images) // 10)
        rows, train = train[:held].sort().values.numpy(), train[held:]
        test = images[rows], {name: values[rows] for name, values in targets.items()}
    classes = {name: 1 + int(max(v.max(), np.max(test[1][name]))) for name, v in labels.items()}

    network = _build(images.shape[-1], classes, generator).to(device)
    steps = steps or default_steps(len(train))
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.2)
    batches = _draw_batches(train, steps, generator)
    for rows in tqdm(batches, "training the classifier of the labels", steps, unit="step", disable=None):
        x = _shift(as_input(images[rows.numpy()]), generator).to(device)
        _, logits = network(x)
        losses = [F.cross_entropy(logit, labels[name][rows].to(device)) for name, logit in logits.items()]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()

    classifier = Classifier(network.eval(), classes, {}, len(test[0]))
    features, probabilities = classifier(test[0])
    network.scale.fill_(float(np.sqrt(np.mean(features**2))) or 1.0)
    right = {name: p.argmax(1) == test[1][name] for name, p in probabilities.items()}
    classifier.accuracy.update({name: float(r.mean()) for name, r in right.items()})
    return classifier


def default_steps(count: int) -> int:
    """Eight passes over ``count`` images, at most 3000 steps; of few images 400 steps or 40 passes.

    On 300 digits of MNIST 40 passes, 93 steps, have 95.4% right of 2,000 others, and 80 passes 95.3%.
    """
    return min(3000, max(8 * count // _BATCH, min(400, 40 * count // _BATCH), 1))


def open_classifier(
    images: np.ndarray,
    targets: Labels,
    test: tuple[np.ndarray, Labels] | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str | torch.device = "cpu",
) -> Classifier:
    """The classifier of ``train_classifier``: out of the cache, or trained and put there.

    Its file is named after the data and the settings. It holds tensors and numbers only and is read as such;
    a damaged one is made anew. Raises UserError if the cache cannot be written.
    """
    key = _digest((FORMAT, seed, steps), images, targets)
    if test is not None:
        key = _digest((key,), *test)
    path = cache_folder() / f"classifier-{key[:20]}.pt"

    def load(path: Path) -> Classifier:
        stored = read_tensors(path, "a classifier")
        network = _build(images.shape[-1], stored["classes"], torch.Generator())
        network.load_state_dict(stored["network"])
        known = (stored[name] for name in ("classes", "accuracy", "held_out"))
        return Classifier(network.eval().to(device), *known)

    with contextlib.suppress(UserError):
        return read_untrusted(path, load, "a classifier")
    once = "a classifier of the labels is trained, once for this data (evaluate --pixels does without)"
    print(once, flush=True)
    classifier = train_classifier(images, targets, test, seed, steps, device)
    stored = {name: getattr(classifier, name) for name in ("classes", "accuracy", "held_out")}
    stored["network"] = {name: value.cpu() for name, value in classifier.network.state_dict().items()}
    try:
        with write_atomically(path) as part:
            torch.save(stored, part)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        todo = "free some space there, or set GAN_REF_CACHE to another folder"
        raise PassingTrouble(f"cannot write {path}; {todo}") from error
    return classifier


def _digest(settings: tuple, images: np.ndarray, targets: Labels) -> str:
    """A name for the data: all of its labels, but about a hundred images, as the set may be large."""
    digest = hashlib.sha256(repr((settings, images.shape)).encode())
    digest.update(np.ascontiguousarray(images[:: max(1, len(images) // 100)]).tobytes())
    for name in sorted(targets):
        digest.update(name.encode() + np.ascontiguousarray(targets[name], dtype=np.int64).tobytes())
    return digest.hexdigest()


def _build(channels: int, classes: Mapping[str, int], generator: torch.Generator) -> _Network:
    """The network with He et al.'s weights (2015) and biases of zero; no global random number is drawn."""
    with torch.random.fork_rng(devices=[]):
        network = _Network(channels, classes)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs


def _draw_batches(rows: Tensor, steps: int, generator: torch.Generator) -> Iterable[Tensor]:
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
    return F.pad(x, (2, 2, 2, 2), mode="replicate")[:, :, dy : dy + SIDE, dx : dx + SIDE]
