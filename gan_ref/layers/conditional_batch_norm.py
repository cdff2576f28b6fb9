"""Batch norm whose scale and shift depend on the class (Dumoulin et al. 2017; de Vries et al. 2017)."""

import torch
from torch import Tensor, nn

from gan_ref.layers.batch_norm import batch_norm


class ConditionalBatchNorm2d(nn.Module):
    """x (N, C, H, W), class y (N, K) → γ(y)·x̂ + β(y), with x̂ = (x − E x)/√(Var x + ε) of each channel.

    γ(y) = Σₖ yₖ·γₖ and β(y) = Σₖ yₖ·βₖ: a one-hot y takes one class's numbers (Dumoulin, Shlens & Kudlur
    2017, "A learned representation for artistic style", eq. 5), and a y between two classes blends theirs, as
    they do with styles (§3.3). The statistics are those of the whole batch, whatever its classes.
    """

    def __init__(self, num_features: int, num_classes: int, decay: float = 0.9):
        super().__init__()
        self.norm = batch_norm(num_features, decay, affine=False)
        self.weight = nn.Parameter(torch.ones(num_classes, num_features))
        self.bias = nn.Parameter(torch.zeros(num_classes, num_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scale, shift = (y @ self.weight)[:, :, None, None], (y @ self.bias)[:, :, None, None]
        return torch.addcmul(shift, scale, self.norm(x))


class ConditionedSequential(nn.Sequential):
    """An nn.Sequential whose conditional norms see the class: x, y (N, K) → x."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, y) if isinstance(layer, ConditionalBatchNorm2d) else layer(x)
        return x
