"""Chapter "Why it goes wrong"."""

import math


def growth(rate: float) -> float:
    """The factor by which a simultaneous step of the game V = x·y changes the distance to (0, 0)."""
    raise NotImplementedError


def alternating_step(x: float, y: float, rate: float) -> tuple[float, float]:
    """y maximises V = x·y and moves first; x minimises it, and moves against the new y."""
    raise NotImplementedError
