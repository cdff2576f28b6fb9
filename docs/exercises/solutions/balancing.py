"""Chapter "Balancing"."""


def who_moves(on_reals: float, on_fakes: float, margin: float) -> tuple[bool, bool]:
    """(D moves, G moves) by the margin rule, from D's errors on reals and on fakes."""
    d_moves = min(on_reals, on_fakes) >= margin
    g_moves = max(on_reals, on_fakes) <= 1 - margin
    return (d_moves, g_moves) if d_moves or g_moves else (True, True)


def next_weight(weight: float, g_error: float) -> float:
    """The weight of D's L2 penalty after a round: 1e-5 more above 1.3, less below 0.9, and never negative."""
    change = (g_error > 1.3) - (g_error < 0.9)
    return max(0.0, weight + 1e-5 * change)
