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

    @torch.no_grad()
    def update(self, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        averaged, current = self.module.state_dict(), self.source.state_dict()
        floating = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in floating], [current[n] for n in floating], share)
        for name in current.keys() - floating:
            averaged[name].copy_(current[name])
