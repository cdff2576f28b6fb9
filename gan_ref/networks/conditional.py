"""Three ways in which a discriminator sees the class of a sample, each around any D of this package.

Each is called as D(x, labels), with labels int64 (N,) in 0, …, K − 1.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gan_ref.config import Config
from gan_ref.layers import spectral_norm
from gan_ref.networks.output import Output


def classes_told(config: Config, classes: Sequence[str]) -> int:
    """How many classes G can be asked for: those of its data, or 0 if it is not conditional."""
    return len(classes) if config.conditional != "none" else 0


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels int64 (…,) → y (…, K) float32. (torch's own asks the device how large they are.)"""
    return (labels[..., None] == torch.arange(classes, device=labels.device)).float()


class LabelledDiscriminator(nn.Module):
    """What the three have in common: D inside, and whether it judges each sample separately."""

    sees_labels = True

    def __init__(self, discriminator: nn.Module, num_classes: int):
        super().__init__()
        self.discriminator, self.num_classes = discriminator, num_classes
        self.separate = getattr(discriminator, "separate", False)


class Projection(LabelledDiscriminator):
    """s(x, y) = yᵀVφ(x) + ψ(φ(x)), φ the features of D and ψ its score layer (Miyato & Koyama 2018, eq. 3).

    If the log odds of the classes given x, and those of real and fake, are linear in φ, this is their exact
    sum (eqs. 2 and 3). With ``spectral`` V has a spectral norm, as in the authors' code.
    """

    def __init__(self, discriminator: nn.Module, features: int, num_classes: int, spectral: bool = False):
        super().__init__(discriminator, num_classes)
        self.embed = nn.Linear(num_classes, features, bias=False)
        nn.init.normal_(self.embed.weight, 0.0, 0.02)
        if spectral:
            spectral_norm(self.embed)

    def forward(self, x: Tensor, labels: Tensor) -> Output:
        scores, features, _ = self.discriminator(x)
        embedded = self.embed(one_hot(labels, self.num_classes).to(x.dtype))  # (N, F), the rows of V
        return Output(scores + (embedded.to(scores.dtype) * features.to(scores.dtype)).sum(dim=1), features)


class Auxiliary(LabelledDiscriminator):
    """D does not see the label, but guesses it: Output with logits (N, K) of the classes (Odena et al. 2017).

    The penalty AuxiliaryClassifier trains the guess.
    """

    def __init__(self, discriminator: nn.Module, features: int, num_classes: int, spectral: bool = False):
        super().__init__(discriminator, num_classes)
        self.class_layer = nn.Linear(features, num_classes)
        nn.init.normal_(self.class_layer.weight, 0.0, 0.02)
        nn.init.zeros_(self.class_layer.bias)
        if spectral:
            spectral_norm(self.class_layer)

    def forward(self, x: Tensor, labels: Tensor) -> Output:
        scores, features, _ = self.discriminator(x)
        return Output(scores, features, self.class_layer(features))


class Concatenation(LabelledDiscriminator):
    """x and y are D's input together (Mirza & Osindero 2014, §3.2): D sees K more numbers, or K more planes.

    Plane k of an image is 1 everywhere if k is its class, else 0.
    """

    def forward(self, x: Tensor, labels: Tensor) -> Output:
        y = one_hot(labels, self.num_classes).to(x.dtype)
        if x.dim() == 4:
            y = y[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.discriminator(torch.cat([x, y], dim=1))


def see_labels(
    how: str, build: Callable[[int], nn.Module], num_classes: int, spectral: bool = False
) -> nn.Module:
    """D in the setting ``--conditional``. ``build(k)`` is a D of samples with k more channels, or numbers."""
    if how == "concatenation":
        return Concatenation(build(num_classes), num_classes)
    discriminator = build(0)
    kind = {"projection": Projection, "auxiliary": Auxiliary}[how]
    return kind(discriminator, discriminator.out_features, num_classes, spectral)  # type: ignore[arg-type]
