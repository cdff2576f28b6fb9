"""Batch normalisation (Ioffe & Szegedy 2015), its decay named as in the papers, and across processes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gan_ref import distributed

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norm(features: int, decay: float = 0.9, eps: float = 1e-5, affine: bool = True) -> nn.BatchNorm2d:
    """nn.BatchNorm2d whose ``decay`` is the share of the old running value that each batch keeps:

        running ← decay · running + (1 − decay) · batch

    Theano and TensorFlow call this number momentum. PyTorch's momentum is its complement, 0.1 for 0.9.
    """
    return nn.BatchNorm2d(features, eps=eps, momentum=1 - decay, affine=affine)


class SyncBatchNorm(BatchNorm):
    """Batch norm of (N, C, …) with the mean and variance of the whole batch that several processes share.

    Its parameters and buffers are those of nn.BatchNorm2d. (nn.SyncBatchNorm runs on GPUs only, and can be
    differentiated once; gradient penalties need twice.)
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or distributed.world() == 1:
            return super().forward(x)
        mean, var = distributed.moments(x)
        with torch.no_grad():
            count = x.numel() // x.shape[1] * distributed.world()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = torch.rsqrt(var + self.eps)
        scale = self.weight * scale if self.affine else scale
        shift = self.bias - mean * scale if self.affine else -mean * scale
        per_channel = (-1,) + (1,) * (x.dim() - 2)
        return (x * scale.view(per_channel) + shift.view(per_channel)).to(x.dtype)


def synchronise_batch_norm(network: nn.Module) -> None:
    """Replace the network's batch norms by SyncBatchNorm around the same parameters and buffers."""
    for name, module in network.named_children():
        if isinstance(module, BatchNorm):
            norm = SyncBatchNorm(module.num_features, module.eps, module.momentum, module.affine)
            for own in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(norm, own, getattr(module, own))
            setattr(network, name, norm)
        else:
            synchronise_batch_norm(module)


@torch.no_grad()
def measure_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of the network's batch norms to their means over these batches.

    An average of weights needs this, because the average of the running statistics belongs to other weights.
    Without batch norms nothing is computed.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    if not norms:
        return
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's way to ask for the plain mean over batches
        norm.train()
    for batch in batches:
        network(batch)
    for norm, (momentum, training) in zip(norms, before):
        norm.momentum = momentum
        norm.train(training)
