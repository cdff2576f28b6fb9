"""Chapter "With few images"."""

import torch
import torch.nn.functional as F
from torch import Tensor


def translate(x: Tensor, down: int, right: int) -> Tensor:
    """(C, H, W), moved by so many pixels (up or left where negative), 0 coming in. Differentiable."""
    height, width = x.shape[1:]
    padded = F.pad(x, (abs(right), abs(right), abs(down), abs(down)))
    top, left = abs(down) - down, abs(right) - right
    return padded[:, top : top + height, left : left + width]


def next_p(p: float, scores: Tensor, images: int) -> float:
    """p after the rounds in which D gave its reals these scores: a step of len(scores)/images, in [0, 1]."""
    r = torch.sign(scores).mean().item()
    step = len(scores) / images
    return min(1.0, max(0.0, p + step * ((r > 0.6) - (r < 0.6))))
