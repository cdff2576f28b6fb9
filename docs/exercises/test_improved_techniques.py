import improved_techniques
import pytest
import torch

from gan_ref.ops import minibatch_l1_similarity


def test_the_similarities_are_those_of_the_operator():
    m = torch.randn(7, 3, 5, dtype=torch.float64)
    assert torch.allclose(improved_techniques.similarities(m), minibatch_l1_similarity(m))


def test_a_collapsed_batch_has_n_minus_1():
    m = torch.randn(1, 4, 5).expand(6, 4, 5)
    assert torch.allclose(improved_techniques.similarities(m), torch.full((6, 4), 5.0))


@pytest.mark.parametrize(("p", "q", "real", "fake"), [(0.5, 0.5, 0.9, 0.0), (0.1, 0.7, 0.9, 0.1)])
def test_no_other_probability_has_a_smaller_loss(p, q, real, fake):
    d = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    d[0] = improved_techniques.smoothed_best(p, q, real, fake)
    cross_entropy = [-(t * d.log() + (1 - t) * (1 - d).log()) for t in (real, fake)]
    loss = p * cross_entropy[0] + q * cross_entropy[1]
    assert loss[0] <= loss.min() + 1e-12
