"""Who moves, and how often: the balance between the players."""

from __future__ import annotations

from torch import nn

from gan_ref.techniques.game import Turn


class Fixed(nn.Module):
    """k_D steps of D, then k_G steps of G, each round (Goodfellow et al. 2014, Algorithm 1: k_D = k, k_G = 1)."""

    def __init__(self, d_steps: int = 1, g_steps: int = 1):
        super().__init__()
        self.d_steps, self.g_steps = d_steps, g_steps

    def steps(self, round: int) -> tuple[int, int]:
        """How often each player moves in this round, (k_D, k_G)."""
        return self.d_steps, self.g_steps

    def allows(self, d: Turn) -> tuple[bool, bool]:
        """Whether D, and whether G, may take the step that its loss asks for, seen D's evaluation ``d``."""
        return True, True
