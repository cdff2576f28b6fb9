"""The examples run, and the one file plays the game of the package."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import run_of

from gan_ref.loop import play_round

ONE_FILE = Path(__file__).parent.parent / "examples" / "dcgan_in_one_file.py"


def load_one_file():
    spec = importlib.util.spec_from_file_location("dcgan_in_one_file", ONE_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_one_file_is_short_and_needs_torch_alone():
    text = ONE_FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "import gan_ref" not in text and "from gan_ref" not in text


def test_its_losses_over_20_rounds_are_those_of_the_recipe():
    """From the same weights, on the same batches: the package's loop and the file's, side by side."""
    one = load_one_file()
    run = run_of("dcgan", "faces", width=8)
    generator, discriminator = one.Generator(16, 3, 8, 100), one.Discriminator(16, 3, 8)
    for mine, theirs in ((generator, run.game.g.module), (discriminator, run.game.d.module)):
        for parameter, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert parameter.shape == other.shape
            parameter.data = other.detach().clone().contiguous()
    settings = run.config.lr_g, (run.config.beta1, run.config.beta2)
    g_optimizer = torch.optim.Adam(generator.parameters(), *settings)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), *settings)
    seen = []

    def spy(game, batches):
        seen.extend(batches)
        return run.update(game, batches)

    run.play = spy
    for _ in range(20):
        d, g = play_round(run)
        x, z = seen[-1].x.contiguous(), seen[-1].z
        losses = one.play_round(generator, discriminator, g_optimizer, d_optimizer, x, z)
        assert losses == pytest.approx((d.loss.item(), g.loss.item()), rel=2e-4)


def test_its_initial_weights_are_the_papers():
    one = load_one_file()
    torch.manual_seed(0)
    network = one.Discriminator(32, 3, 32)
    one.initialise(network)
    weights = torch.cat([p.flatten() for p in network.parameters() if p.ndim > 1])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02) and abs(weights.mean().item()) < 1e-4


@pytest.mark.full
def test_it_trains_on_a_folder(images, tmp_path):
    flags = [
        "--data",
        images,
        "--size",
        "16",
        "--width",
        "4",
        "--rounds",
        "50",
        "--out",
        str(tmp_path / "g.pt"),
    ]
    done = subprocess.run([sys.executable, ONE_FILE, *flags], capture_output=True, text=True, check=True)
    assert "round 50" in done.stdout and (tmp_path / "g.pt").exists()


NOTEBOOK = ONE_FILE.with_name("your_images_to_a_film.ipynb")


@pytest.mark.full
def test_the_notebook_makes_a_film_of_a_folder(images, tmp_path, monkeypatch):
    """All its cells, with tiny settings in place of those of its second cell."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
    book = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(cells) == 8 and "pip install" in cells[0].source and "colab-badge" in book.cells[0].source
    cells[1].source += f"\nDATA, SIZE, MINUTES, SHOWN, FRAMES = {images!r}, 16, 0.5, 48, 6"
    monkeypatch.setenv("PYTHONPATH", str(ONE_FILE.parent.parent))
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=where).execute()
    assert "40 images of (3, 16, 16), 2 classes" in cells[2].outputs[0].text
    said = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "error" not in said and "done in" in said, said
    assert (tmp_path / "page.png").stat().st_size > 1000
    assert "data:video/mp4" in cells[7].outputs[0].data["text/html"]
