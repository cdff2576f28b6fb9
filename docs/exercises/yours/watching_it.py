"""Chapter "Watching it"."""

from torch import Tensor


def shares(real: Tensor, fake: Tensor, fake_in_g: Tensor) -> tuple[float, float, float]:
    """(D sees fakes, D sees reals, G fools the new D) from scores (N,), where 0 is between real and fake."""
    raise NotImplementedError


def average(mean: Tensor, now: Tensor, round: int, decay: float) -> Tensor:
    """The average of the weights after round t, from that before and the weights ``now``."""
    raise NotImplementedError
