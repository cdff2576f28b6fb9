"""A sample is a function of the checkpoint, the seed and its number."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from test_walk import Z, discs, points
from torch import nn

from gan_ref.commands import sample, train
from gan_ref.latents import samples
from gan_ref.latents.numbers import numbered_z
from gan_ref.pictures import pages


def network(image_size: int = 32, seed: int = 0) -> nn.Module:
    """A DCGAN's generator in miniature, z (N, 20) → (N, 3, S, S), with batch-norm statistics that matter."""
    width = 32
    layers: list[nn.Module] = [nn.Unflatten(1, (20, 1, 1)), nn.ConvTranspose2d(20, width, 4)]
    for _ in range(image_size.bit_length() - 4):
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1)]
    module = nn.Sequential(*layers, nn.Tanh())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in module.parameters():
            parameter.data.normal_(0, 0.2)
        module.train()(torch.randn(64, 20))
    return module.eval()


# ---------------------------------------------------------------- which z is which


@pytest.mark.parametrize("latent_dim", [1, 2, 15, 16, 100])
def test_a_z_depends_on_its_seed_and_its_number_alone(latent_dim):
    few, many = (numbered_z(7, range(count), latent_dim) for count in (10, 100))
    assert few.shape == (10, latent_dim) and torch.equal(few, many[:10])
    assert torch.equal(numbered_z(7, (42, 3), latent_dim), many[[42, 3]])
    assert not torch.equal(few, numbered_z(8, range(10), latent_dim))


def test_latents_are_standard_normal():
    z = numbered_z(0, range(5000), Z)
    assert z.mean().abs() < 0.01 and (z.std() - 1).abs() < 0.01
    assert (z.T @ z / 5000 - torch.eye(Z)).abs().max() < 0.1  # six standard errors


def test_ten_pictures_are_the_first_of_a_hundred():
    few, many = (samples.draw_samples(discs(), count, seed=0) for count in (10, 100))
    assert few.shape == (10, 16, 16, 3) and few.dtype == np.uint8 and (few == many[:10]).all()
    some = np.stack(list(samples.iterate_samples(discs(), (90, 7), seed=0)))
    assert (some == many[[90, 7]]).all()


def test_samples_in_the_plane_are_points():
    found = samples.draw_samples(points(), 3, seed=5)
    assert found.shape == (3, 2) and found.dtype == np.float32
    expected = 0.1 * numbered_z(5, range(3), Z).sum(dim=1, keepdim=True)  # see ``points``
    assert np.abs(found - expected.numpy()).max() < 1e-4


# ---------------------------------------------------------------- generation


@pytest.mark.parametrize("image_size", [16, 32, 64])
def test_a_picture_does_not_see_how_the_request_was_cut(image_size):
    module, z = network(image_size), torch.randn(75, 20, generator=torch.Generator().manual_seed(1))
    batch = samples.forward_batch(image_size)

    def ask(*sizes: int) -> torch.Tensor:
        return torch.cat(list(samples.forward(module, z.split(list(sizes)), batch)))

    whole = ask(75)
    assert whole.shape == (75, 3, image_size, image_size)
    for sizes in [(1,) * 75, (3, 64, 8), (74, 1), (32, 32, 11)]:
        assert torch.equal(ask(*sizes), whole)
    alone = [torch.cat(list(samples.forward(module, [z[i : i + 1]], batch))) for i in (0, 40, 74)]
    assert torch.equal(torch.cat(alone), whole[[0, 40, 74]])  # beside copies of itself, in another row


def test_every_pass_has_the_same_shape_and_its_padding_is_not_seen():
    module, shapes = network(16), []
    module.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    made = list(samples.forward(module, torch.randn(21, 20).split(4), batch=8))
    assert shapes == [(8, 20)] * 3 and [len(x) for x in made] == [8, 8, 5]


def test_generation_leaves_the_network_as_it_was():
    module = network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    images = list(samples.generate(module, [torch.randn(5, 20)]))
    assert [image.shape for image in images] == [(5, 32, 32, 3)] and images[0].dtype == np.uint8
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]) and value.stride() == before[name].stride()


def test_generation_takes_only_what_it_needs_of_an_endless_stream():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield torch.zeros(8, 20)

    next(samples.generate(network(), endless(), batch=16))
    assert len(taken) <= 3


# ---------------------------------------------------------------- the command


def run(monkeypatch, *argv: str, generator=discs) -> int:
    monkeypatch.setattr(sample, "load_generator", lambda path, device: generator())
    return sample.main(["run", "--device", "cpu", *argv])


def test_the_page_and_the_single_files_hold_the_same_pictures(tmp_path, monkeypatch, capsys):
    out, each = tmp_path / "page.png", tmp_path / "new" / "each"
    assert run(monkeypatch, "--out", str(out), "--each", str(each), "--count", "7", "--columns", "3") == 0
    said = capsys.readouterr().out
    assert f"{each}: 7 pictures" in said and f"{out}: 7 samples on a page of 52x52" in said
    assert sorted(os.listdir(each)) == [f"{i:06d}.png" for i in range(7)]
    page = np.asarray(Image.open(out))
    assert page.shape == (3 * 16 + 2 * 2, 3 * 16 + 2 * 2, 3)
    for i in range(7):
        y, x = (18 * k for k in divmod(i, 3))
        assert (np.asarray(Image.open(each / f"{i:06d}.png")) == page[y : y + 16, x : x + 16]).all()
    assert (page[36:, 18:] == 255).all()


def test_without_a_seed_the_page_shows_the_samples_of_the_runs_own_seed(tmp_path, monkeypatch):
    for name, options in (("run", []), ("same", ["--seed", "3"]), ("other", ["--seed", "4"])):
        assert run(monkeypatch, "--out", str(tmp_path / f"{name}.png"), "--count", "5", *options) == 0
    own, same, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("run", "same", "other"))
    assert own == same != other


@pytest.mark.full
def test_the_page_of_a_run_shows_what_its_training_page_showed(tmp_path, images):
    settings = "--width 4 --image-size 16 --batch-size 8 --steps 3 --seed 5 --device cpu --no-walk".split()
    assert train.main(["--data", images, "--out", str(tmp_path), *settings]) == 0
    assert sample.main([str(tmp_path), "--out", str(tmp_path / "page.png")]) == 0
    page, training = (np.asarray(Image.open(tmp_path / name)) for name in ("page.png", "samples/000003.png"))
    for i in range(64):
        y, x = divmod(i, 8)
        here, there = page[18 * y :, 18 * x :][:16, :16], training[16 * y :, 16 * x :][:16, :16]
        assert np.abs(here.astype(int) - there).max() <= 1


def test_chosen_samples_are_those_of_the_page_and_their_z_can_be_saved(tmp_path, monkeypatch, capsys):
    files = [tmp_path / name for name in ("each", "a.png", "z.npy")]
    options = ["--each", str(files[0]), "--out", str(files[1]), "--save-z", str(files[2])]
    assert run(monkeypatch, *options, "--only", "42,3,17") == 0
    assert "3 pictures, 000042.png to 000017.png" in capsys.readouterr().out
    many = samples.draw_samples(discs(), 43, seed=3)
    for number in (42, 3, 17):
        assert (np.asarray(Image.open(files[0] / f"{number:06d}.png")) == many[number]).all()
    assert (np.asarray(Image.open(files[1]))[:16, :16] == many[42]).all()
    assert (np.load(files[2]) == numbered_z(3, (42, 3, 17), Z).numpy()).all()


def test_numbers_stand_under_the_pictures_and_leave_them_as_they_are(tmp_path, monkeypatch):
    for name, options in (("plain", []), ("numbered", ["--numbers"])):
        assert run(monkeypatch, "--out", str(tmp_path / f"{name}.png"), "--count", "12", *options) == 0
    plain, numbered = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "numbered"))
    height = 16 + pages.LABEL + 2
    strips = []
    for i in range(12):
        row, column = divmod(i, 4)
        x = column * 18
        picture = numbered[row * height : row * height + 16, x : x + 16]
        assert (picture == plain[row * 18 : row * 18 + 16, x : x + 16]).all()
        strips.append(numbered[row * height + 16 : (row + 1) * height - 2, x : x + 16])
        assert strips[-1].min() < 150 and strips[-1].mean() > 180  # ink on white
    assert len({strip.tobytes() for strip in strips}) == 12


def test_scale_enlarges_the_pictures_and_not_the_gaps(tmp_path, monkeypatch):
    assert run(monkeypatch, "--out", str(tmp_path / "a.png"), "--count", "4", "--scale", "3") == 0
    assert Image.open(tmp_path / "a.png").size == (2 * 48 + 2, 2 * 48 + 2)


def test_gray_images_and_points_have_their_pages(tmp_path):
    sample.write(discs(1), tmp_path / "gray.png", count=3)
    assert Image.open(tmp_path / "gray.png").mode == "L"
    assert "256x256" in sample.write(points(), tmp_path / "points.png", count=500)
    page = np.asarray(Image.open(tmp_path / "points.png")).astype(int)
    # Linear(Z, 2) with equal weights puts every point on the diagonal, drawn in blue.
    lines, columns = np.nonzero(page[..., 2] - page[..., 0] > 60)
    assert len(lines) > 100 and np.abs(lines + columns - 255).max() <= 40


def test_a_failure_halfway_leaves_whole_files_only(tmp_path, monkeypatch):
    class Breaks(Exception):
        pass

    generator = discs()
    original, calls = generator.module.forward, []

    def forward(z):
        calls.append(len(z))
        if len(calls) == 2:
            raise Breaks
        return original(z)

    generator.module.forward = forward
    with pytest.raises(Breaks):
        sample.write(generator, tmp_path / "page.png", count=100, each=tmp_path / "each")
    assert len(os.listdir(tmp_path / "each")) == 64 and not (tmp_path / "page.png").exists()
    for name in os.listdir(tmp_path / "each"):
        Image.open(tmp_path / "each" / name).load()


@pytest.mark.parametrize(
    "options, says",
    [
        ([], "nothing to write"),
        (["--out", "a.jpg"], "must end in .png"),
        (["--out", "a.png", "--count", "0"], "--count must be from 1"),
        (["--out", "a.png", "--count", "-3"], "--count must be from 1"),
        (["--out", "a.png", "--count", "1" + "0" * 30], "--count must be from 1"),
        (["--out", "a.png", "--count", "1000000"], "--each FOLDER"),
        (["--out", "a.png", "--columns", "0"], "--columns must be from 1"),
        (["--out", "a.png", "--columns", "65"], "--columns must be from 1 to 64"),
        (["--out", "a.png", "--scale", "0"], "--scale must be from 1"),
        (["--out", "a.png", "--scale", "250"], "lower --count or --scale"),
        (["--out", "a.png", "--seed", "-1"], "--seed must be from 0"),
        (["--out", "a.png", "--only", "1,2", "--count", "2"], "leave out --count"),
        (["--out", "a.png", "--only", "-1"], "--only must be from 0"),
        (["--save-z", "a.txt"], "must end in .npy"),
    ],
)
def test_a_senseless_option_gets_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, options, says):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *options) == 2
    complaint = capsys.readouterr().err
    assert says in complaint and complaint.count("\n") == 1 and os.listdir(tmp_path) == []


@pytest.mark.parametrize("options", [["--each", "each"], ["--out", "a.png", "--numbers"]])
def test_points_are_not_single_images(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *options, generator=points) == 2
    assert "use --out" in capsys.readouterr().err and os.listdir(tmp_path) == []


def test_a_file_where_a_folder_should_be_gets_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "each").touch()
    assert run(monkeypatch, "--each", str(tmp_path / "each")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_gpu_that_is_not_there_gets_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sample.main(["run", "--out", str(tmp_path / "a.png"), "--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err
