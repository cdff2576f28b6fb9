"""Chapter "Watching it"."""

from torch import Tensor


def shares(real: Tensor, fake: Tensor, fake_in_g: Tensor) -> tuple[float, float, float]:
    """(D sees fakes, D sees reals, G fools the new D) from scores (N,), where 0 is between real and fake."""
    parts = fake <= 0, real > 0, fake_in_g > 0
    sees_fakes, sees_reals, fools = (part.float().mean().item() for part in parts)
    return sees_fakes, sees_reals, fools


def average(mean: Tensor, now: Tensor, round: int, decay: float) -> Tensor:
    """The average of the weights after round t, from that before and the weights ``now``."""
    β = min(decay, (1 + round) / (10 + round))
    return β * mean + (1 - β) * now
