"""A loss or weight that becomes NaN stops the run, while the last good checkpoint is still there."""

import math
from pathlib import Path

import torch
from torch import Tensor

from gan_ref.errors import UserError
from gan_ref.techniques.game import Game


class FiniteGuard:
    """Remembers the first round with a loss that is not finite. On a CPU, where a look costs nothing, it
    stops there; on a GPU it looks every ``every`` rounds, because each look waits for the device."""

    def __init__(self, game: Game, folder: Path, device: torch.device, every: int):
        self.game, self.folder, self.device, self.every = game, folder, device, every
        self.bad = torch.zeros((), dtype=torch.int64, device=device)  # the first bad round; 0: none

    def look(self, d_loss: Tensor, g_loss: Tensor) -> None:
        """After each round. Raises UserError as said above."""
        if self.device.type == "cpu":
            finite = math.isfinite(d_loss.item()) and math.isfinite(g_loss.item())
            return self._stop("a loss", 0 if finite else self.game.round)
        finite = torch.isfinite(d_loss.detach()) & torch.isfinite(g_loss.detach())
        self.bad = torch.where((self.bad == 0) & ~finite, self.game.round, self.bad)
        if self.game.round % self.every == 0:
            self._stop("a loss", int(self.bad))

    def require_finite(self) -> None:
        """Before a checkpoint, since it replaces the last good one. Raises UserError."""
        self._stop("a loss", int(self.bad))
        for player in (self.game.g, self.game.d):
            finite = torch.stack([torch.isfinite(p).all() for p in player.module.parameters()]).all()
            self._stop("a weight", 0 if finite else self.game.round)

    def _stop(self, what: str, round: int) -> None:
        if round:
            kept = self.folder / "checkpoint.pt"
            last = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
            raise UserError(
                f"step {round}: {what} became NaN or infinite, and the run has stopped; {last}. "
                "Lower --lr-d and --lr-g, or choose another --recipe"
            )
