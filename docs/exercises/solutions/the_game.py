"""Chapter "The game"."""

import math


def best_discriminator(p_data: float, p_model: float) -> float:
    """The probability D(x) at which p_data·log D + p_model·log(1 − D) is largest."""
    return p_data / (p_data + p_model)


def slopes(score: float) -> tuple[float, float]:
    """The derivative by the score s of G's two losses: log(1 − σ(s)), and −log σ(s)."""
    probability = 1 / (1 + math.exp(-score))
    return -probability, probability - 1
