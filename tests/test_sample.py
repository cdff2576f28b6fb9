"""A sample is a function of the checkpoint, the seed and its number."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image
from test_walk import Z, discs, points

from gan_ref import sample


def run(monkeypatch, *argv: str, generator=discs) -> int:
    monkeypatch.setattr(sample, "load_generator", lambda path, device: generator())
    return sample.main(["run", "--device", "cpu", *argv])


@pytest.mark.parametrize("latent_dim", [1, 2, 15, 16, 100])
def test_ten_samples_are_the_first_of_a_hundred(latent_dim):
    few, many = (torch.cat(list(sample.latents(7, latent_dim, count, block=64))) for count in (10, 100))
    assert few.shape == (10, latent_dim) and torch.equal(few, many[:10])
    assert torch.equal(many, torch.cat(list(sample.latents(7, latent_dim, 100, block=3))))
    assert not torch.equal(few, torch.cat(list(sample.latents(8, latent_dim, 10))))


def test_latents_are_standard_normal():
    z = torch.cat(list(sample.latents(0, Z, 5000)))
    assert z.mean().abs() < 0.01 and (z.std() - 1).abs() < 0.01
    assert (z.T @ z / 5000 - torch.eye(Z)).abs().max() < 0.1  # six standard errors


def test_ten_pictures_are_the_first_of_a_hundred():
    few, many = (np.stack(list(sample.images(discs(), count))) for count in (10, 100))
    assert few.shape == (10, 16, 16, 3) and (few == many[:10]).all()


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
        (["--out", "a.png", "--count", "1000000"], "--each FOLDER"),
        (["--out", "a.png", "--columns", "0"], "--columns must be from 1"),
        (["--out", "a.png", "--columns", "65"], "--columns must be from 1 to 64"),
        (["--out", "a.png", "--scale", "0"], "--scale must be from 1"),
        (["--out", "a.png", "--scale", "250"], "lower --count or --scale"),
        (["--out", "a.png", "--seed", "-1"], "--seed must be from 0"),
    ],
)
def test_a_senseless_option_gets_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, options, says):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *options) == 2
    complaint = capsys.readouterr().err
    assert says in complaint and complaint.count("\n") == 1 and os.listdir(tmp_path) == []


def test_points_are_not_single_images(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "--each", str(tmp_path / "each"), generator=points) == 2
    assert "use --out" in capsys.readouterr().err and os.listdir(tmp_path) == []


def test_a_file_where_a_folder_should_be_gets_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "each").touch()
    assert run(monkeypatch, "--each", str(tmp_path / "each")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_gpu_that_is_not_there_gets_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sample.main(["run", "--out", str(tmp_path / "a.png"), "--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err
