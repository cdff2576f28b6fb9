"""Projection finds the z whose sample is nearest to a picture."""

import json
import math
import os
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_ref.checkpoint import load_discriminator
from gan_ref.commands import evaluate, project, sample, train, walk
from gan_ref.config import Config
from gan_ref.errors import UserError
from gan_ref.latents import projection
from gan_ref.latents.samples import draw_samples
from gan_ref.networks import dcgan
from gan_ref.networks.output import Output


class Linear(nn.Module):
    """z (N, Z) → images (N, 3, 4, 4), linear in z: the nearest z is that of least squares."""

    def __init__(self, latent_dim: int):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(0.1 * torch.randn(latent_dim, 48, generator=rng), requires_grad=False)

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight).view(-1, 3, 4, 4)


class Blind(nn.Module):
    """A D whose features are always the same."""

    def forward(self, x: Tensor) -> Output:
        return Output(x.flatten(1).sum(1), 0 * x.flatten(1))


def generator_of(module: nn.Module, latent_dim: int, shape: tuple[int, ...]) -> SimpleNamespace:
    config = Config(latent_dim=latent_dim, data="faces", image_size=16, seed=3)
    return SimpleNamespace(module=module.requires_grad_(False).eval(), config=config, shape=shape, classes=())


def small_gan() -> tuple[SimpleNamespace, nn.Module]:
    """An untrained DCGAN whose samples differ: its weights are larger than initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        g, d = dcgan.Generator(16, 3, 4, 8), dcgan.Discriminator(16, 3, 4, norm="none")
    for layer in g.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.weight.data *= 8
    return generator_of(g, 8, (3, 16, 16)), d.requires_grad_(False).eval()


def test_of_a_linear_generator_the_z_of_least_squares_is_found():
    g = generator_of(Linear(5), 5, (3, 4, 4))
    pictures = np.random.default_rng(1).integers(90, 160, (3, 4, 4, 3), dtype=np.uint8)
    found = projection.project(g, Blind(), pictures, starts=2, steps=300)
    x = torch.tensor(pictures).permute(0, 3, 1, 2).flatten(1) / 127.5 - 1
    best = torch.linalg.lstsq(g.module.weight.T, x.T).solution.T
    torch.testing.assert_close(found.z, best, rtol=0, atol=2e-3)
    assert (found.errors <= found.nearest + 1e-6).all()


def test_the_generators_own_samples_are_found_and_noise_is_not():
    g, d = small_gan()
    own = draw_samples(g, range(6), seed=3)
    noise = np.random.default_rng(0).integers(0, 256, own.shape, dtype=np.uint8)
    found = projection.project(g, d, np.concatenate([own, noise]))
    assert (found.errors[:6] < 0.2 * found.nearest[:6]).all()
    assert found.errors[6:].min() > 4 * found.errors[:6].max()
    both = np.concatenate([own, noise])
    assert (found.errors == projection.rms(found.images, both)).all()
    remade = np.concatenate([draw(g, z) for z in found.z.split(1)])
    assert np.abs(remade.astype(int) - found.images).max() <= 1
    assert (found.z.norm(dim=1) <= math.sqrt(8) + 3 + 1e-4).all()


def draw(g: SimpleNamespace, z: Tensor) -> np.ndarray:
    return ((g.module(z).permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).numpy().astype(np.uint8)


def test_without_a_discriminator_pixels_alone_are_searched():
    g, _ = small_gan()
    found = projection.project(g, None, draw_samples(g, range(4), seed=3))
    assert (found.errors < 0.2 * found.nearest).all()


def test_more_starts_find_no_worse_and_a_picture_does_not_see_the_others():
    g, d = small_gan()
    own = draw_samples(g, range(3), seed=4)
    one, four = (projection.project(g, d, own, starts, 60) for starts in (1, 4))
    alone = projection.project(g, d, own[1:2], 4, 60)
    assert four.errors.mean() <= one.errors.mean() + 1e-3
    assert np.abs(four.errors[1] - alone.errors[0]) < 0.01


def test_the_error_is_the_root_mean_square_in_units_of_the_whole_range():
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)
    assert projection.rms(black, white) == [1.0] and projection.rms(black, black) == [0.0]


# ---------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def run(tmp_path_factory, images):
    """A run of a few rounds, with virtual batch norm in D: its reference batch must come from the file."""
    folder = tmp_path_factory.mktemp("run")
    small = "--width 4 --image-size 16 --batch-size 8 --steps 3 --latent-dim 8 --norm virtual --device cpu"
    flags = [*small.split(), "--no-walk", "--recipe", "dcgan", "--precision", "float32"]
    assert train.main(["--data", images, "--out", str(folder), *flags]) == 0
    return folder


def test_pictures_become_latents_a_page_and_numbers(run, tmp_path, images, capsys):
    files = [f"{images}/a/0.png", f"{images}/b/1.png"]
    assert project.main([str(run), *files, "--out", str(tmp_path / "p.npy"), "--steps", "5"]) == 0
    said = capsys.readouterr().out
    assert "0.png: error 0." in said and "the nearest of 256 samples has 0." in said
    assert np.load(tmp_path / "p.npy").shape == (2, 8)
    assert Image.open(tmp_path / "p.png").size == (2 * 32 + 4, 2 * (16 + 16 + 2) + 12)
    assert (
        walk.main(
            [str(run), "--z", str(tmp_path / "p.npy"), "--out", str(tmp_path / "a.gif"), "--frames", "4"]
        )
        == 0
    )


def test_a_walk_between_pictures_goes_from_the_nearest_sample_to_the_next(run, tmp_path, images, capsys):
    assert sample.main([str(run), "--each", str(tmp_path), "--only", "3,5"]) == 0
    between = f"{tmp_path}/000003.png,{tmp_path}/000005.png"
    out = ["--frames-dir", str(tmp_path / "walk"), "--captions", "--frames", "4"]
    assert walk.main([str(run), "--between", between, *out]) == 0
    assert "000003.png: error 0.0" in capsys.readouterr().out
    for n, number in ((0, 3), (2, 5)):
        frame = np.asarray(Image.open(tmp_path / "walk" / f"{n:06d}.png"))[:16].astype(int)
        assert np.abs(frame - iio.imread(tmp_path / f"{number:06d}.png")).mean() < 8


def test_a_discriminator_comes_out_of_its_checkpoint_as_it_played(run):
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    d = load_discriminator(run)
    assert not d.training and torch.equal(d.score.weight, state["discriminator"]["score.weight"])
    x = state["reference"]["real"]
    assert d(x).features.isfinite().all()


@pytest.mark.parametrize("value", [None, torch.zeros(8, 3, 4, 4), torch.full((8, 3, 16, 16), torch.nan)])
def test_a_damaged_reference_batch_gets_one_line(run, tmp_path, value):
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    state["reference"]["real"] = value
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="reference batch"):
        load_discriminator(tmp_path)


def test_evaluate_reports_how_near_images_can_be_reached(run, tmp_path, capsys):
    flags = ["--samples", "20", "--pixels", "--projection", "3", "--out", str(tmp_path / "r.json")]
    assert evaluate.main([str(run), *flags, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())["projection"]
    assert found["images"] == 3 and "held_out" not in found  # a folder has no test split
    for kind in ("training", "samples"):
        assert 0 < found[kind] <= found[f"{kind}_nearest_of_256"]
    assert f"samples of G {found['samples']:.4f}" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["none.png", "--out", "p.npy"], "cannot read none.png"),
        (["text.png", "--out", "p.npy"], "text.png is not an image"),
        (["text.png", "--out", "p.npz"], "must end in .npy"),
        (["text.png", "--out", "p.npy", "--starts", "0"], "--starts must be from 1"),
        (["text.png", "--out", "p.npy", "--steps", "0"], "--steps must be from 1"),
        (["--out", "p.npy"], "PICTURE"),
    ],
)
def test_a_senseless_option_gets_one_line_and_writes_nothing(
    run, tmp_path, monkeypatch, capsys, options, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    assert project.main([str(run), *options, "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and os.listdir(tmp_path) == ["text.png"]


def test_the_package_s_own_generator_has_no_discriminator_and_projects(tmp_path, images, capsys):
    options = ["--out", str(tmp_path / "p.npy"), "--steps", "2", "--starts", "1", "--device", "cpu"]
    assert project.main(["demo", f"{images}/a/0.png", *options]) == 0
    assert "0.png: error 0." in capsys.readouterr().out


def test_points_are_not_projected():
    with pytest.raises(UserError, match="makes points"):
        project.project_files(SimpleNamespace(config=Config(data="ring8")), ["a.png"])  # type: ignore[arg-type]
