import speed
import torch
from torch import nn


def test_the_gradients_are_those_of_backward_and_d_has_none():
    g, d, z = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)), torch.randn(6, 3)
    found = speed.g_step_gradients(g, d, z)
    assert all(p.grad is None for p in d.parameters())
    (-d(g(z)).mean()).backward()
    assert all(torch.allclose(mine, p.grad) for mine, p in zip(found, g.parameters(), strict=True))


def test_the_product_is_the_convolution():
    layer, z = nn.ConvTranspose2d(7, 5, 4, bias=False), torch.randn(3, 7)
    assert torch.allclose(speed.from_latent(z, layer.weight), layer(z[:, :, None, None]), atol=1e-5)
