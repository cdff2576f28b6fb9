"""The exponential moving average of a network's weights, which draws better samples than the last step's."""

import copy

import torch
from torch import Tensor, nn


class Average:
    """θ̄ ← β_t·θ̄ + (1 − β_t)·θ after each round, with β_t = min(β, (1 + t)/(10 + t)).

    The rising β_t forgets the random start quickly. Buffers of floating-point numbers, such as the running
    statistics of batch norm, are averaged as the weights are; the others are copied. β = 0 keeps θ̄ = θ.
    (Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training", §3.1; Salimans et al. 2016
    test with such an average too.)
    """

    def __init__(self, source: nn.Module, decay: float):
        self.decay = decay
        self.module = copy.deepcopy(source).requires_grad_(False).eval()
        # The tensors are looked up once. On a small network looking them up took twice as long as the
        # arithmetic.
        pairs = list(zip(_tensors(self.module), _tensors(source)))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, round: int) -> None:
        share = 1 - min(self.decay, (1 + round) / (10 + round))
        torch._foreach_lerp_([mean for mean, _ in self._averaged], [now for _, now in self._averaged], share)
        for kept, now in self._copied:
            kept.copy_(now)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
