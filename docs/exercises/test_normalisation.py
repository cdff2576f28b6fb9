import normalisation
import torch


def test_power_iteration_finds_the_largest_singular_value():
    w, u = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    found = normalisation.largest_singular_value(w, u, 2000)
    assert torch.allclose(found, torch.linalg.matrix_norm(w, 2))


def test_one_iteration_never_overestimates():
    for _ in range(20):
        w, u = torch.randn(5, 5), torch.randn(5)
        assert normalisation.largest_singular_value(w, u, 1) <= torch.linalg.matrix_norm(w, 2) + 1e-5


def test_the_example_counts_as_one_of_the_reference_batch():
    x, reference = torch.randn(16, dtype=torch.float64), 3 + torch.randn(7, 16, dtype=torch.float64)
    every = torch.cat([x[None], reference])
    mean, var = normalisation.virtual_statistics(x, reference)
    assert torch.allclose(mean, every.mean()) and torch.allclose(var, every.var(correction=0))
