"""Minibatch discrimination (Salimans et al. 2016, "Improved techniques for training GANs", §3.2)."""

import torch
from torch import Tensor, nn

from gan_ref import distributed, ops


class MinibatchDiscrimination(nn.Module):
    """Append to each sample's features how much it resembles the others of its batch: (N, A) → (N, A + B).

        M_i = f_i T,   o_ib = Σ_{j≠i} exp(−‖M_ib − M_jb‖₁),   out_i = [f_i, o_i]

    B = num_kernels, C = kernel_dim, and T is (A, B·C). The samples of a generator that has collapsed are all
    alike, and here D sees it.

    T is weight-normalised by columns, T = θ exp(s)/‖θ‖, with s = 0 at first. So distances are of the order of
    the features themselves, whatever A is. (The paper's code has the same form and then sets s from a first
    batch. A plain T ~ N(0, 0.05²) on A = 8,192 features gives distances above 10 and similarities near 0,
    through which no gradient flows.)
    """

    def __init__(self, in_features: int, num_kernels: int = 100, kernel_dim: int = 5) -> None:
        super().__init__()
        self.in_features, self.num_kernels, self.kernel_dim = in_features, num_kernels, kernel_dim
        self.out_features = in_features + num_kernels
        self.theta = nn.Parameter(torch.empty(in_features, num_kernels * kernel_dim))
        nn.init.normal_(self.theta, 0.0, 0.05)
        self.log_scale = nn.Parameter(torch.zeros(num_kernels * kernel_dim))

    def forward(self, features: Tensor) -> Tensor:
        kernels = self.theta * (self.log_scale.exp() / self.theta.norm(dim=0))  # T (A, B·C)
        projected = (features @ kernels).view(-1, self.num_kernels, self.kernel_dim)  # M (N, B, C)
        return torch.cat([features, self.similarities(projected).to(features.dtype)], dim=1)

    def similarities(self, projected: Tensor) -> Tensor:
        """M (N, B, C) → o (N, B). With several processes, the others are the samples of all of them."""
        if distributed.world() == 1:
            return ops.minibatch_l1_similarity(projected)
        return distributed.part(ops.minibatch_l1_similarity(distributed.gather(projected.float())))

    def extra_repr(self) -> str:
        return f"{self.in_features}, num_kernels={self.num_kernels}, kernel_dim={self.kernel_dim}"
