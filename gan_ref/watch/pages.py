"""The pictures that show how a run comes along: samples of the same z throughout."""

import numpy as np
import torch
from torch import Tensor, nn

from gan_ref import distributed
from gan_ref.data import Dataset
from gan_ref.evaluation.modes import points_coverage
from gan_ref.latents.samples import forward_batch, generate
from gan_ref.networks.output import Output
from gan_ref.pictures import plane
from gan_ref.pictures.pages import grid
from gan_ref.techniques.game import Game
from gan_ref.watch.metrics import points_of


class AtNearestMode(nn.Module):
    """A conditional D that takes each point for one of the mode nearest to it: points (N, 2) → Output."""

    def __init__(self, discriminator: nn.Module, means: Tensor):
        super().__init__()
        self.discriminator, self.means = discriminator, means

    def forward(self, x: Tensor) -> Output:
        return self.discriminator(x, torch.cdist(x, self.means).argmin(dim=1))


@distributed.alone()
def draw_sample_page(game: Game, dataset: Dataset, average: nn.Module, z: Tensor) -> np.ndarray:
    """Samples of z (64, Z) by the averaged G on one page: uint8 (8·S, 8·S, C).

    For points, z is (2500, Z), as many as Srivastava et al. 2017 (VEEGAN, §4.1) draw to count modes, and the
    picture has the points of the G that plays, not of its average, over D's field: see plane.draw_plane.
    """
    if not dataset.points:
        images = generate(average, [z], forward_batch(dataset.shape[-1]))
        return grid(np.concatenate(list(images)), 8, 8)
    means, sigma = dataset.means, dataset.sigma
    points = points_of(game.g.module, z)
    fake, real = torch.from_numpy(points).to(z.device), dataset.samples[: len(points)]
    judge: nn.Module = game.d.module
    if getattr(judge, "sees_labels", False):
        judge = AtNearestMode(judge, torch.from_numpy(means).to(z))
    step = f"step {game.round:,}"
    field = plane.belief_field(judge, game.objective, fake, real, plane.reach(means), game.pack)
    found = points_coverage(points, dataset)
    kind, share = ("cells", "") if sigma is None else ("modes", f"{found.high_quality:.0%} high quality")
    return plane.draw_plane(points, field, means, sigma, (step, f"{found.modes}/{found.total} {kind}", share))
