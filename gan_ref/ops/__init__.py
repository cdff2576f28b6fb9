"""The two operators, as functions. Each has a torch reference and a CUDA kernel behind one name.

    from gan_ref import ops
    ops.minibatch_l1_similarity(features)                                     # (N, B, C) → (N, B)
    ops.virtual_batch_norm(x, mean, var, weight, bias, reference_size)        # (N, C, H, W) → (N, C, H, W)

On the CPU the reference runs; on a GPU the kernel does, if it can be had: ``python -m gan_ref.ops`` says.
"""

from gan_ref.ops.similarity import minibatch_l1_similarity
from gan_ref.ops.norm import virtual_batch_norm

__all__ = ["minibatch_l1_similarity", "virtual_batch_norm"]
