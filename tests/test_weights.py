"""Where weights begin, what z is, and instance norm: settings that the papers turn."""

import math

import pytest
import torch
from runs import run_of
from torch import nn

from gan_ref.config import Config
from gan_ref.layers import FromLatent, UniformLatent, WeightNormConv2d, spectral_norm
from gan_ref.loop import play_round
from gan_ref.networks import build_discriminator, build_generator
from gan_ref.networks.weights import draw_weights, fans

LAYERS = {
    "linear": (nn.Linear(300, 500), 300, 500),
    "convolution": (nn.Conv2d(30, 80, 4, stride=2, padding=1), 30 * 16, 80 * 16 / 4),
    "transposed": (nn.ConvTranspose2d(90, 40, 4, stride=2, padding=1), 90 * 4, 40 * 16),
    "first of G": (FromLatent(100, 60, 4), 100, 60 * 16),
}
each_layer = pytest.mark.parametrize(("layer", "n", "m"), LAYERS.values(), ids=LAYERS)


@each_layer
def test_fans_are_counted_in_the_network(layer, n, m):
    """Of an output away from the border: the inputs whose change changes it; of an input, the outputs."""
    assert fans(layer) == (n, m)
    first = isinstance(layer, FromLatent)
    side = 1 if first else 12
    x = torch.zeros(1, layer.in_features) if isinstance(layer, nn.Linear) else None
    x = torch.randn(1, layer.in_channels, side, side) if x is None else x
    x.requires_grad_()
    y = layer(x)
    middle = (0, 0) + tuple(s // 2 for s in y.shape[2:])
    assert int((torch.autograd.grad(y[middle], x, retain_graph=True)[0] != 0).sum()) == n
    (influence,) = torch.autograd.grad(y.sum(), layer.weight)  # at least that every weight is of use
    assert influence.shape == layer.weight.shape


@each_layer
@pytest.mark.parametrize("how", ["normal", "xavier", "he", "uniform"])
def test_weights_have_the_variance_of_their_paper(layer, n, m, how):
    torch.manual_seed(0)
    draw_weights(layer, how, 2.0)
    variance = {"normal": 0.02**2, "xavier": 2 / (n + m), "he": 2 / n, "uniform": 1 / (3 * n)}[how]
    assert layer.weight.var().item() == pytest.approx(4 * variance, rel=0.05) and not layer.bias.any()
    reach = {"xavier": math.sqrt(6 / (n + m)), "uniform": math.sqrt(1 / n)}.get(how)
    assert reach is None or 1.9 * reach < layer.weight.abs().max() <= 2 * reach


@each_layer
def test_orthogonal_weights_turn_and_do_not_stretch(layer, n, m):
    draw_weights(layer, "orthogonal", 3.0)
    singular = torch.linalg.svdvals(layer.weight.detach().flatten(1))
    assert torch.allclose(singular, torch.full_like(singular, 3.0), atol=1e-4)


def test_he_keeps_the_size_of_activations_through_ten_layers():
    """He et al. 2015, §2.2: through ReLU the mean square stays, where N(0, 0.02²) lets it vanish."""
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Sequential(nn.ReLU(), nn.Linear(400, 400)) for _ in range(10)))
    x = torch.randn(200, 400)
    draw_weights(network, "he")
    assert 0.5 < network(x).square().mean() / x.square().mean() < 2
    draw_weights(network, "normal")
    assert network(x).square().mean() < 1e-3


def test_spectral_norm_divides_the_drawn_weights_and_weight_norm_keeps_its_own():
    layer, own = spectral_norm(nn.Conv2d(3, 8, 3)), WeightNormConv2d(3, 8, 3)
    before = [p.clone() for p in own.parameters()]
    draw_weights(nn.Sequential(layer, own), "orthogonal")
    original = layer.get_parameter("parametrizations.weight.original")
    assert torch.allclose(original.flatten(1) @ original.flatten(1).T, torch.eye(8), atol=1e-5)
    for _ in range(30):
        assert layer.weight.isfinite().all()
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=1e-3)
    assert all(a.equal(b) for a, b in zip(before, own.parameters()))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2,)])
def test_both_networks_begin_as_asked_and_by_the_seed(shape):
    size = 16 if shape[1:] else None
    config = Config(weights="he", width=8, latent_dim=6, image_size=size, norm_d="spectral")
    own = config.replace(weights="own")
    for build in (build_generator, build_discriminator):
        first, again = ([p.detach() for p in build(config, shape).parameters()] for _ in range(2))
        assert all(a.equal(b) for a, b in zip(first, again))
        assert not all(a.equal(b.detach()) for a, b in zip(first, build(own, shape).parameters()))


# ---------------------------------------------------------------- z


def test_a_uniform_latent_is_the_normal_one_in_its_quantiles():
    seen = []

    class Sees(nn.Module):
        def forward(self, u):
            seen.append(u)
            return u

    z = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    UniformLatent(Sees(), 2)(z)
    u = seen[0]
    assert u[:, 2].equal(z[:, 2])  # a class passes
    assert torch.allclose(u[:, :2], 2 * torch.distributions.Normal(0.0, 1.0).cdf(z[:, :2]) - 1)
    assert u[:, :2].abs().max() < 1 and abs(float(u[:, 0].var()) - 1 / 3) < 0.01
    counts = torch.histc(u[:, 0], 10, -1, 1) / len(u)
    assert (counts - 0.1).abs().max() < 0.01


def test_the_setting_gives_g_such_a_latent():
    config = Config(latent="uniform", width=8, latent_dim=6, image_size=16)
    plain = build_generator(config.replace(latent="normal"), (3, 16, 16)).eval()
    z = torch.randn(4, 6)
    assert torch.allclose(build_generator(config, (3, 16, 16)).eval()(z), plain(torch.erf(z / 2**0.5)))


# ---------------------------------------------------------------- instance norm


def test_under_instance_norm_a_sample_does_not_see_its_batch_nor_its_contrast():
    """Ulyanov et al. 2016: each channel of each sample has mean 0 and variance 1 before it is scaled."""
    config = Config(norm_g="instance", norm_d="instance", width=8, latent_dim=6, image_size=16)
    generator, discriminator = (
        build(config, (3, 16, 16)) for build in (build_generator, build_discriminator)
    )
    z = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    x = generator(z)
    assert torch.allclose(generator(z[:1]), x[:1], atol=1e-6)
    assert torch.allclose(discriminator(x[:1]).scores, discriminator(x).scores[:1], atol=1e-6)
    norms = [layer for layer in generator.modules() if isinstance(layer, nn.InstanceNorm2d)]
    assert len(norms) == 2
    h = torch.randn(5, norms[0].num_features, 4, 4)
    scale = norms[0].weight[None, :, None, None]
    assert torch.allclose(
        norms[0](h).var((2, 3), correction=0), scale[..., 0, 0].square().expand(5, -1), rtol=1e-3
    )
    assert torch.allclose(norms[0](3 * h + 1), norms[0](h), atol=1e-4)


# ---------------------------------------------------------------- an optimizer a player


def test_d_may_have_an_optimizer_of_its_own():
    """ganhacks, no. 10: SGD for D and Adam for G."""
    cosine = ("Cosine(of='beta2', last=0.9)",)
    run = run_of("dcgan", "grid25", optimizer_d="sgd", beta1_d=0.0, schedules=cosine)
    g, d = run.game.g.optimizer, run.game.d.optimizer
    assert type(g) is torch.optim.Adam and type(d) is torch.optim.SGD
    assert d.param_groups[0]["lr"] == 2e-4 and d.param_groups[0]["momentum"] == 0
    assert g.param_groups[0]["betas"][0] == 0.5
    before = [p.detach().clone() for p in run.game.d.parameters]
    turn, _ = play_round(run)
    for now, was, p in zip(run.game.d.parameters, before, run.game.d.parameters):
        assert torch.allclose(now, was - 2e-4 * p.grad, atol=1e-7)
    usual = run_of("dcgan", "grid25").config
    assert (usual.optimizer_d, usual.beta1_d) == ("adam", 0.5) and turn.moved
