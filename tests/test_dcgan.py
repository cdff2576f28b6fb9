"""The two ways in which the DCGAN's G doubles a plane."""

from __future__ import annotations

import pytest
import torch
from runs import run_of
from torch import nn

from gan_ref.loop import play_round
from gan_ref.networks.dcgan import Generator, doubling


def doubled(upsample: str) -> torch.Tensor:
    """A constant plane, doubled with random weights; without the pixels that the edge reaches."""
    torch.manual_seed(0)
    return nn.Sequential(*doubling(3, 2, upsample))(torch.ones(1, 3, 6, 6))[:, :, 2:-2, 2:-2]


def test_nearest_leaves_a_constant_plane_constant_where_transposed_makes_a_chessboard():
    """Odena et al. 2016: what a transposed convolution adds repeats with its stride."""
    smooth, chess = doubled("nearest"), doubled("transposed")
    assert smooth.shape == chess.shape == (1, 2, 8, 8)
    assert torch.allclose(smooth, smooth[:, :, :1, :1].expand_as(smooth), atol=1e-6)
    assert (chess[:, :, 0, 0] - chess[:, :, 0, 1]).abs().min() > 0.01
    assert torch.allclose(chess[:, :, 2:, 2:], chess[:, :, :-2, :-2], atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (72, 128)])
def test_nearest_makes_images_of_every_shape(size):
    g = Generator(size, 3, width=4, latent_dim=8, upsample="nearest")
    assert g(torch.randn(2, 8)).shape == (2, 3, *size)
    assert not any(isinstance(layer, nn.ConvTranspose2d) and layer is not g.layers[0] for layer in g.layers)


def test_a_run_upsamples_as_its_config_says():
    run = run_of("r3gan", "faces", upsample="nearest")
    assert any(isinstance(layer, nn.Upsample) for layer in run.game.g.module.modules())
    d, _ = play_round(run)
    assert torch.isfinite(d.loss)
