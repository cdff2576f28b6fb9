"""Spectral normalisation (Miyato et al. 2018, "Spectral normalization for GANs")."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


def spectral_norm(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Divide the module's weight by an estimate of its largest singular value σ, and return the module.

        in each training forward   v ← Wᵀu/‖Wᵀu‖,  u ← Wv/‖Wv‖       (no gradient)
        always                     W / σ,  σ = uᵀWv

    This is Algorithm 1, with W of shape (outputs, the rest). u and v are in the state dict, and u starts from
    ``generator``. Initialise the weight first; afterwards it is ``module.parametrizations.weight.original``.
    """
    transposed = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    weight = module.get_parameter("weight")
    parametrize.register_parametrization(module, "weight", SpectralNorm(weight, transposed, generator))
    return module


class SpectralNorm(nn.Module):
    """W → W/σ. (torch.nn.utils.parametrizations.spectral_norm draws u from the global generator, and begins
    with 15 iterations; a seeded run needs a generator of its own.)"""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, transposed: bool, generator: torch.Generator | None) -> None:
        super().__init__()
        self.transposed = transposed  # a transposed convolution keeps its outputs in the second dimension
        matrix = self._matrix(weight.detach())
        u = torch.randn(len(matrix), generator=generator).to(matrix)
        self.register_buffer("u", F.normalize(u, dim=0))
        self.register_buffer("v", F.normalize(matrix.T @ self.u, dim=0))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = self._matrix(weight)
        with torch.autocast(weight.device.type, enabled=False):  # σ is float32, even if convolutions are not
            if self.training:
                with torch.no_grad():
                    self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
                    self.u.copy_(F.normalize(matrix @ self.v, dim=0))
            # Copies, because the next forward overwrites the buffers, perhaps before this one's backward.
            return weight / torch.dot(self.u.clone(), matrix @ self.v.clone())
