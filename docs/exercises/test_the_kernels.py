from unittest.mock import patch

import the_kernels
import torch

from gan_ref.ops import minibatch_l1_similarity

F = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)


def test_each_pair_is_computed_once():
    with patch.object(torch, "exp", wraps=torch.exp) as exp:
        o = the_kernels.each_pair_once(F.detach())
    assert exp.call_count == 6 * 5 // 2
    assert torch.allclose(o, minibatch_l1_similarity(F))


def test_the_gradient_is_that_of_autograd():
    g = torch.randn(6, 3, dtype=torch.float64)
    (theirs,) = torch.autograd.grad(minibatch_l1_similarity(F), F, g)
    assert torch.allclose(the_kernels.gradient(F.detach(), g), theirs)
