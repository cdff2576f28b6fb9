"""A discriminator that reconstructs what it sees (Zhao, Mathieu & LeCun 2017, EBGAN, §2.3).

Its energy is the distance between a sample and its reconstruction, E(x) = ‖Dec(Enc(x)) − x‖₂, and its score
is −E(x), so that larger is more real, as for every D here. For images the layers are those of their appendix
C: 4×4 convolutions of stride 2 with batch norm, (w)-(2w)-(4w) and back at 64×64. For points it is an MLP with
one layer that decodes, as in their §4.1.
"""

import torch
from torch import Tensor, nn

from gan_ref.networks.dcgan import initialise, norm_and_activation
from gan_ref.networks.mlp import hidden
from gan_ref.networks.output import Output
from gan_ref.shapes import first_plane


class Discriminator(nn.Module):
    """sample (N, *shape) → Output: score −E(x) (N,), features the code Enc(x) (N, F)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        layers: int = 3,
        norm: str = "batch",
        norm_decay: float = 0.9,
    ):
        super().__init__()
        if len(shape) == 1:
            self.encode = hidden(shape[0], width, layers, "leaky")
            self.decode = nn.Linear(width, shape[0])
            return
        channels, (_, _, levels) = shape[0], first_plane(shape[1:])
        halvings = max(2, levels - 1)  # down to 8×8, and 4×4 at 16×16
        filters = [channels, *(width * min(2**k, 8) for k in range(halvings))]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for k, (outer, inner) in enumerate(zip(filters, filters[1:])):
            own = "none" if k == 0 else norm  # neither what comes in is norm_and_activation nor what goes out
            down += [nn.Conv2d(outer, inner, 4, stride=2, padding=1)]
            down += norm_and_activation(own, inner, 0.2, norm_decay)
            up = [*([] if k == 0 else norm_and_activation(own, outer, 0.2, norm_decay)), *up]
            up = [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1), *up]
        self.encode, self.decode = nn.Sequential(*down), nn.Sequential(*up)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        code = self.encode(x)  # (N, C, H, W) → (N, F', H', W')
        error = (self.decode(code) - x).flatten(1)
        return Output(-torch.linalg.vector_norm(error, dim=1), code.flatten(1))
