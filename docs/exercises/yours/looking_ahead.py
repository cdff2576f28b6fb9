"""Chapter "Looking ahead"."""

import math


def unrolled_step(x: float, y: float, η: float, k: int) -> tuple[float, float]:
    """V = x·y. x descends dV/dx at (x, y_k(x)), y_k = y + k·η·x, and y ascends ∂V/∂y; both from here."""
    raise NotImplementedError


def consensus_factor(η: float, γ: float) -> float:
    """The factor of √(x² + y²) in a step of (x, y) along v − γ∇½‖v‖², v = (−y, x)."""
    raise NotImplementedError
