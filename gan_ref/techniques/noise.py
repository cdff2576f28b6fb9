"""Noise added to what D sees."""

import torch
from torch import Tensor, nn

from gan_ref import distributed


class InstanceNoise(nn.Module):
    """x + σ_t·ε on reals and fakes alike, with σ_t falling linearly from ``sigma`` to 0 over ``rounds``
    rounds.

    The noise gives the two distributions a common support, so that D has no perfect answer to learn (Sønderby
    et al. 2017, "Amortised MAP inference for image super-resolution", appendix; Arjovsky & Bottou 2017, §3).
    """

    changes_each_round = "lowers its σ each round"

    def __init__(self, sigma: float = 0.1, rounds: int = 2000):
        super().__init__()
        if sigma < 0 or rounds < 1:
            raise ValueError("sigma is at least 0 and rounds at least 1")
        self.sigma, self.rounds = sigma, rounds

    def forward(self, x: Tensor, round: int, rng: torch.Generator | None) -> Tensor:
        sigma = self.sigma * max(0.0, 1 - round / self.rounds)
        if not sigma:
            return x
        noise = torch.randn(distributed.whole(x.shape), generator=rng, device=x.device, dtype=x.dtype)
        return x + sigma * distributed.part(noise)
