"""The two operators, as functions. Each has a PyTorch form and a CUDA kernel behind one name.

    from gan_ref import ops
    ops.minibatch_l1_similarity(features)                                     # (N, B, C) → (N, B)
    ops.virtual_batch_norm(x, mean, var, weight, bias, reference_size)        # (N, C, H, W) → (N, C, H, W)

On the CPU the PyTorch form runs, and on a GPU the kernel if there is one: ``python -m gan_ref kernels`` says.
"""

from gan_ref.ops.norm import virtual_batch_norm
from gan_ref.ops.similarity import minibatch_l1_similarity

__all__ = ["minibatch_l1_similarity", "virtual_batch_norm"]
