"""The ways in which the DCGAN's G doubles a plane; the D for ImageNet that is built like its own."""

import pytest
import torch
from runs import config_of, run_of
from torch import nn

from gan_ref.errors import UserError
from gan_ref.layers import GaussianNoise, MinibatchDiscrimination
from gan_ref.loop import play_round
from gan_ref.networks import build_discriminator
from gan_ref.networks.dcgan import Generator, doubling
from gan_ref.networks.improved import ImageNetDiscriminator
from gan_ref.techniques.objectives import feature_distance


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


def test_shuffle_makes_four_pixels_of_four_features():
    """Shi et al. 2016, eq. 4: pixel (2i + a, 2j + b) of channel c is feature 4c + 2a + b at (i, j)."""
    convolution, shuffle = doubling(3, 2, "shuffle")
    features = convolution(torch.randn(1, 3, 5, 6))
    x = shuffle(features)
    assert features.shape == (1, 8, 5, 6) and x.shape == (1, 2, 10, 12)
    for c, a, b in ((0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1)):
        assert torch.equal(x[:, c, a::2, b::2], features[:, 4 * c + 2 * a + b])


@pytest.mark.parametrize("upsample", ["nearest", "shuffle"])
@pytest.mark.parametrize("size", [(32, 32), (96, 64), (72, 128)])
def test_they_make_images_of_every_shape(size, upsample):
    g = Generator(size, 3, width=4, latent_dim=8, upsample=upsample)
    assert g(torch.randn(2, 8)).shape == (2, 3, *size)
    assert not any(isinstance(layer, nn.ConvTranspose2d) and layer is not g.layers[0] for layer in g.layers)


def test_a_run_upsamples_as_its_config_says():
    run = run_of("r3gan", "faces", upsample="nearest")
    assert any(isinstance(layer, nn.Upsample) for layer in run.game.g.module.modules())
    d, _ = play_round(run)
    assert torch.isfinite(d.loss)


def test_the_d_for_imagenet_has_the_layers_of_its_authors_code():
    with torch.device("meta"):
        network = ImageNetDiscriminator(128, 3)
        seen = network(torch.empty(2, 3, 128, 128))
    convolutions = [m for m in network.trunk if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.stride[0]) for m in convolutions] == [
        (64, 2), (128, 2), (256, 2), (256, 1), (256, 1), (512, 2), (512, 2), (2560, 1),
    ]  # fmt: skip
    assert network.trunk[0].sigma == 0.1 and isinstance(network.trunk[0], GaussianNoise)
    assert isinstance(network.similarity, MinibatchDiscrimination)
    assert (network.similarity.num_kernels, network.similarity.kernel_dim) == (300, 50)
    assert (
        seen.scores.shape == (2,) and seen.features.shape == (2, 2560) and network.score.in_features == 2860
    )


def test_matching_several_layers_is_the_sum_over_them():
    """‖E f(x) − E f(G(z))‖² of chosen layers, taken by hand from D's trunk; the last is the usual one."""

    def build(*layers: str) -> nn.Module:
        return build_discriminator(config_of("feature-matching", "faces", match_layers=layers), (3, 16, 16))

    torch.manual_seed(0)
    x, fake = torch.randn(5, 3, 16, 16), torch.randn(4, 3, 16, 16)
    plain = build().eval()
    trunk = list(plain.trunk)  # type: ignore[arg-type]
    ends = [k for k, layer in enumerate(trunk, 1) if isinstance(layer, nn.LeakyReLU)]
    assert len(ends) == 2

    def by_hand(k: int) -> torch.Tensor:
        through = nn.Sequential(*trunk[: ends[k - 1]])
        return feature_distance(through(x).flatten(1), through(fake).flatten(1))

    def distance(*layers: str) -> torch.Tensor:
        d = build(*layers).eval()
        assert torch.equal(d(x).scores, plain(x).scores)
        return feature_distance(d(x).features, d(fake).features)

    first, last = by_hand(1), by_hand(2)
    assert min(first, last) > 1e-3
    assert distance("1").item() == pytest.approx(first.item(), rel=1e-5)
    assert distance("2").item() == pytest.approx(last.item(), rel=1e-5)
    assert distance("1", "2").item() == pytest.approx((first + last).item(), rel=1e-5)
    assert distance().item() == pytest.approx(last.item(), rel=1e-5)
    with pytest.raises(UserError, match="the layers 1 to 2, and no 3"):
        build("1", "3")


def test_g_learns_from_the_layers_that_it_matches():
    run = run_of("feature-matching", "faces", match_layers=("1", "2"), penalties=())
    before = [p.detach().clone() for p in run.game.g.module.parameters()]
    play_round(run)
    assert all((p != b).any() for p, b in zip(run.game.g.module.parameters(), before) if p.requires_grad)
