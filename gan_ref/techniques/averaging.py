"""The exponential moving average of a network's weights, which draws better samples than the last step's."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """θ̄ ← β_t·θ̄ + (1 − β_t)·θ after each round, with β_t = min(β, (1 + t)/(10 + t)).

    The rising β_t forgets the random start quickly. Floating-point buffers, batch norm's running statistics
    among them, are averaged as the weights are; the rest are copied. β = 0 keeps θ̄ = θ.
    (Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training", §3.1; Salimans et al. 2016
    test with such an average too.)
    """

    def __init__(self, source: nn.Module, decay: float):
        self.source, self.decay = source, decay
        self.module = copy.deepcopy(source).requires_grad_(False).eval()
        # the tensors themselves, looked up once: on a small network that took twice as long as the arithmetic
        pairs = [*zip(self.module.state_dict().values(), source.state_dict().values())]
        self.averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([mean for mean, _ in self.averaged], [now for _, now in self.averaged], share)
        for kept, now in self.copied:
            kept.copy_(now)
