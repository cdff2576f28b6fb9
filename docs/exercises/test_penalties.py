import penalties
import pytest
import torch


def test_a_linear_critic_pays_for_the_length_of_its_weight():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    x, y, ε = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5, 1)
    penalty = penalties.gradient_penalty(lambda x: x @ weight, x, y, ε)
    assert penalty.item() == pytest.approx(16)  # (5 − 1)²
    penalty.backward()
    assert weight.grad.tolist() == pytest.approx([8 * 3 / 5, 8 * 4 / 5])


def test_the_gradient_is_taken_between_real_and_fake():
    x, y = torch.full((1, 1), 4.0), torch.zeros(1, 1)
    penalty = penalties.gradient_penalty(lambda x: x.square().sum(1) / 2, x, y, torch.full((1, 1), 0.5))
    assert penalty.item() == pytest.approx((2 - 1) ** 2)  # the slope of x²/2 at 2


@pytest.mark.parametrize("γ", [0.0, 0.3, 1.0, 3.0])
def test_the_eigenvalues_are_those_of_the_field(γ):
    field = torch.tensor([[0.0, -0.5], [0.5, -γ]], dtype=torch.float64)  # of (θ, ψ), f′(0) = ½
    theirs = sorted(torch.linalg.eigvals(field).tolist(), key=lambda λ: (-λ.real, -λ.imag))
    assert penalties.eigenvalues(γ) == pytest.approx(theirs, abs=1e-6)
