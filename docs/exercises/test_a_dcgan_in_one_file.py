import importlib.util
from pathlib import Path

import a_dcgan_in_one_file
import pytest
import torch
from torch import nn

FILE = Path(__file__).parents[2] / "examples" / "dcgan_in_one_file.py"


@pytest.mark.parametrize("settings", [(4, 2, 1), (3, 2, 1), (5, 1, 2), (4, 1, 0)])
@pytest.mark.parametrize("n", [8, 9])
def test_the_sizes_are_those_of_pytorch(settings, n):
    x = torch.zeros(1, 1, n, n)
    for transposed, layer in ((False, nn.Conv2d), (True, nn.ConvTranspose2d)):
        assert a_dcgan_in_one_file.size_after(n, *settings, transposed) == layer(1, 1, *settings)(x).shape[2]


def test_three_rounds_are_those_of_the_file():
    spec = importlib.util.spec_from_file_location("dcgan_in_one_file", FILE)
    one = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(one)
    losses = []
    for play_round in (a_dcgan_in_one_file.play_round, one.play_round):
        torch.manual_seed(0)
        g, d = one.Generator(16, 3, 4, 10), one.Discriminator(16, 3, 4)
        optimizers = [torch.optim.Adam(network.parameters(), 1e-3) for network in (g, d)]
        batches = [(torch.rand(8, 3, 16, 16), torch.randn(8, 10)) for _ in range(3)]
        losses.append([play_round(g, d, *optimizers, x, z) for x, z in batches])
    assert losses[0] == losses[1]
