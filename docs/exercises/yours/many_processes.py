"""Chapter "Many processes"."""

from torch import Tensor


def whole_variance(means: Tensor, variances: Tensor) -> Tensor:
    """Means and biased variances (K,) of K equal parts → the biased variance of all, ()."""
    raise NotImplementedError


def matching_bias(real: Tensor, fake: Tensor) -> Tensor:
    """Mean features (K, F) of K parts → the mean of the parts' ‖·‖² minus that of the whole, ()."""
    raise NotImplementedError
