"""The numbers of a round that metrics.jsonl holds."""

import numpy as np
import torch
from torch import Tensor, nn

from gan_ref.data import Dataset
from gan_ref.evaluation.modes import points_coverage
from gan_ref.latents.samples import forward
from gan_ref.techniques.augmentation import AdaptiveAugment
from gan_ref.techniques.game import Game, Turn


@torch.no_grad()
def measure_round(game: Game, d: Turn, g: Turn) -> dict[str, float]:
    """What happened in a round, in one transfer from the device.

    fools: share of G's samples that the new D takes for real. sees_fakes, sees_reals: share of each that D
    judged rightly before its step. These are the three curves of the 2015 face GAN. All lie in [0, 1], and a
    balanced game keeps them away from both ends. d_norm_first … are the L2 norms of the gradients in each
    network's first and last layer, for a player that moved in this round. If the first one vanishes and the
    last does not, D is too sure.
    """
    real, fake = d.real_scores, d.fake_output.scores
    objective = game.objective
    threshold = objective.middle(real, fake)
    values = {
        "d_loss": d.loss,
        "g_loss": g.loss,
        "d_real": objective.probability(real).mean(),
        "d_fake": objective.probability(fake).mean(),
        "fools": (g.fake_output.scores > threshold).float().mean(),
        "sees_fakes": (fake <= threshold).float().mean(),
        "sees_reals": (real > threshold).float().mean(),
    }
    if isinstance(game.augmentation, AdaptiveAugment):
        values["augment_p"] = game.augmentation.p
    for name, player, turn in (("d", game.d, d), ("g", game.g, g)):
        values |= {f"{name}_{term}": value for term, value in turn.terms.items()}
        gradients = [p.grad for p in player.module.parameters() if p.ndim > 1 and p.grad is not None]
        if gradients and turn.moved:
            values |= {f"{name}_norm_first": gradients[0].norm(), f"{name}_norm_last": gradients[-1].norm()}
    stacked = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, stacked.tolist()))


def measure_coverage(
    generator: nn.Module, average: nn.Module, z: Tensor, dataset: Dataset
) -> dict[str, float]:
    """Modes, high-quality share and reverse KL of points G(z), and as ``average_…`` those of the averaged G.

    The averaged G hides how the G that plays leaves modes and finds them again, so both are there.
    """
    row: dict[str, float] = {}
    for prefix, module in (("", generator), ("average_", average)):
        found = points_coverage(points_of(module, z), dataset)
        for name in ("modes", "high_quality", "reverse_kl"):
            if (value := getattr(found, name)) is not None:
                row[prefix + name] = value
    return row


def points_of(generator: nn.Module, z: Tensor) -> np.ndarray:
    """The points G(z) of z (N, Z): float32 (N, 2)."""
    return np.concatenate([x.float().cpu().numpy() for x in forward(generator, [z])])
