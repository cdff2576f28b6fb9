"""Chapter "Balancing"."""


def who_moves(on_reals: float, on_fakes: float, margin: float) -> tuple[bool, bool]:
    """(D moves, G moves) by the margin rule, from D's errors on reals and on fakes."""
    raise NotImplementedError


def next_weight(weight: float, g_error: float) -> float:
    """The weight of D's L2 penalty after a round: 1e-5 more above 1.3, less below 0.9, and never negative."""
    raise NotImplementedError
