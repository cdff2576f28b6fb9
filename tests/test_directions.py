"""The directions that move the picture: of G's first layer in closed form, of its features over many z."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_sample import network
from test_walk import discs, points
from torch import Tensor, nn

from gan_ref.commands import walk
from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.evaluation.factors import factor_changes, factor_table, table
from gan_ref.latents.directions import feature_directions, first_layer, layer_directions
from gan_ref.networks.dcgan import Generator

SIZES = torch.tensor([9.0, 5.0, 3.0, 2.0, 1.0, 0.5])


def known(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A = U·diag(SIZES)·Vᵀ with orthonormal columns, (20, 6), and V, (6, 6)."""
    rng = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(20, 6, generator=rng)).Q
    v = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q
    return u @ torch.diag(SIZES) @ v.T, v


def generator_of(module: nn.Module, latent_dim: int) -> SimpleNamespace:
    config = Config(latent_dim=latent_dim, data="faces", image_size=16)
    return SimpleNamespace(
        module=module.requires_grad_(False).eval(), config=config, shape=(3, 16, 16), classes=()
    )


def along(a: Tensor, b: Tensor) -> Tensor:
    """|cosine| of each row of a and the same row of b."""
    return torch.nn.functional.cosine_similarity(a, b, dim=1).abs()


def test_a_layers_directions_are_the_right_singular_vectors_of_its_weight():
    a, v = known()
    first = nn.Linear(6, 20)
    first.weight.data.copy_(a)
    found = layer_directions(generator_of(nn.Sequential(first, nn.ReLU(), nn.Linear(20, 9)), 6))
    assert found.shape == (6, 6) and (along(found, v.T) > 1 - 1e-5).all()
    moved = (found @ a.T).norm(dim=1)
    torch.testing.assert_close(moved, SIZES, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_dcgans_first_layer_is_found(norm):
    module = Generator(32, 3, width=4, latent_dim=12, norm=norm)
    found = layer_directions(generator_of(module, 12))
    weight = module.layers[0].weight.flatten(1)  # (12, F): z @ weight is the layer
    values = torch.linalg.eigvalsh(weight @ weight.T).flip(0)
    torch.testing.assert_close((found @ weight).square().sum(1), values)
    torch.testing.assert_close(found @ found.T, torch.eye(12), rtol=0, atol=1e-5)


def test_the_directions_of_features_of_a_linear_network_are_those_of_its_covariance():
    """Y = A z has the covariance A Aᵀ, whose components are U; the z that moves along U₀ is V₀."""
    a, v = known(1)
    first = nn.Linear(6, 20)
    first.weight.data.copy_(a)
    found = feature_directions(generator_of(nn.Sequential(first, nn.Linear(20, 9)), 6), 4, seed=3)
    assert found.shape == (4, 6) and (along(found, v.T[:4]) > 0.99).all()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))


def test_features_are_what_the_second_layer_takes_in():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2), nn.Tanh())
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before, after = first_layer(module, z)
    expected = module[0](z)
    assert torch.equal(before, expected) and torch.equal(after, expected.clamp(min=0))
    assert not any(layer._forward_hooks for layer in module)
    out, again = first_layer(discs(1, 4, 4).module, torch.zeros(2, 100))  # no layer at all: its output
    assert out.shape == again.shape == (2, 16)


def test_signs_and_the_seed_decide_all():
    module = network(16)
    both = [generator_of(module, 20) for _ in range(2)]
    for find in (layer_directions, lambda g: feature_directions(g, 5, 1)):
        first, second = map(find, both)
        torch.testing.assert_close(
            first, second, rtol=1e-3, atol=1e-4
        )  # a matrix product may round otherwise
        assert (first.gather(1, first.abs().argmax(1, keepdim=True)) > 0).all()


# ---------------------------------------------------------------- which factor moves


def sees(images: np.ndarray) -> tuple[None, dict[str, np.ndarray]]:
    """A classifier of discs: is there more red than not in the corner, is the middle bright?"""
    red, bright = images[:, 0, 0, 0] > 127, images[:, 8, 8].mean(1) > 127
    return None, {"corner": np.stack([~red, red], 1) * 1.0, "middle": np.stack([~bright, bright], 1) * 1.0}


def test_a_factor_changes_where_its_label_differs_at_the_two_ends():
    directions = torch.eye(100)[[5, 50]]  # red of the background; nothing
    changes = factor_changes(sees, discs(), directions, 0, (-3, 3))  # type: ignore[arg-type]
    assert changes["corner"][0] > 0.9 and changes["corner"][1] == changes["middle"][1] == 0
    assert changes["middle"][0] < changes["corner"][0]
    lines = table(["a", "bcd"], changes).splitlines()
    assert lines[0].split() == ["corner", "middle"] and lines[1].startswith("a  ") and "*" in lines[1]


@pytest.mark.parametrize("path", ["direction", "component"])
def test_a_walk_sweeps_directions_a_row_each(tmp_path, path):
    said = walk.render(discs(), tmp_path / "a.gif", path, frames=4, direction=(0, 2), grid=(2, 3))
    assert "4 frames of 48x32" in said
    assert "of 64x64" in walk.render(discs(), tmp_path / "b.gif", path, frames=4)


def test_factors_need_labels(tmp_path, images):
    generator = points()
    with pytest.raises(UserError, match="images with labels"):
        factor_table(generator, ["direction 0"], torch.eye(100)[:1], 0, (-3, 3))
