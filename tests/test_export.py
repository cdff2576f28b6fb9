"""A finished generator as one file: every network draws in onnxruntime what it draws in PyTorch."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from gan_ref import checkpoint
from gan_ref.checkpoint import LoadedGenerator, load_generator
from gan_ref.commands import evaluate, export, sample, train, walk
from gan_ref.config import Config
from gan_ref.explore.onnx_model import to_onnx, without_batch_norm
from gan_ref.latents.classes import classes_in_turn, of_class, with_class
from gan_ref.latents.numbers import numbered_z
from gan_ref.layers import set_reference
from gan_ref.networks import build_generator

Z = 7
missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)]
needs_onnx = pytest.mark.skipif(bool(missing), reason=f"needs pip install {' '.join(missing)}")

NETWORKS = {
    "dcgan": ((3, 32, 32), {}),
    "dcgan-96x64": ((3, 96, 64), {}),
    "dcgan-gray-48": ((1, 48, 48), {}),
    "dcgan-virtual": ((3, 16, 16), {"norm_g": "virtual"}),
    "dcgan-none": ((3, 16, 16), {"norm_g": "none"}),
    "dcgan-nearest": ((3, 32, 32), {"upsample": "nearest"}),
    "face2015": ((3, 32, 32), {"network": "face2015"}),
    "face2015-virtual": ((3, 32, 32), {"network": "face2015", "norm_g": "virtual"}),
    "dcgan-classes": ((3, 32, 32), {"conditional": "projection"}),
    "dcgan-class-beside-z": ((3, 16, 16), {"conditional": "concatenation"}),
    "improved-dense": ((1, 28, 28), {"network": "improved-dense"}),
    "improved-conv": ((3, 32, 32), {"network": "improved-conv"}),
    "progressive": ((3, 32, 32), {"network": "progressive"}),
    "lapgan": ((3, 32, 32), {"network": "lapgan", "latent": "uniform"}),
    "points": ((2,), {"data": "ring8"}),
}
CLASSES = ("a", "a, b", "<c>")
every_network = pytest.mark.parametrize("name", NETWORKS)


def generator(name: str) -> LoadedGenerator:
    """A G whose norms have statistics that matter, as after training."""
    shape, settings = NETWORKS[name]
    config = Config(width=8, latent_dim=Z, **settings)
    classes = CLASSES if config.conditional != "none" else ()
    module = build_generator(config, shape, len(classes))
    rng = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    module.train()
    inputs = Z + len(classes)
    set_reference(module, torch.randn(16, inputs, generator=rng))
    module(torch.randn(64, inputs, generator=rng))
    module.eval()
    set_reference(module, torch.randn(16, inputs, generator=rng))
    return LoadedGenerator(
        module.requires_grad_(False), config, shape, 1, checkpoint.DEMO, torch.device("cpu"), classes
    )


def points(made: LoadedGenerator, seed: int, count: int) -> torch.Tensor:
    """What G is given of z number 0 to count − 1: z, and in turn its classes."""
    k = len(made.classes)
    return with_class(numbered_z(seed, range(count), Z), classes_in_turn(range(count), k), k)


@every_network
def test_a_network_without_its_batch_norms_is_the_same_function(name):
    made = generator(name)
    z = points(made, 0, 5)
    folded = without_batch_norm(made.module)
    left = [layer for layer in folded.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert all(layer.weight is None for layer in left)  # the norm inside a conditional one
    x = made.module(z)
    assert (folded(z) - x).abs().max() < 1e-5 * max(1.0, float(x.abs().max()))


@needs_onnx
@pytest.mark.full
@every_network
def test_onnxruntime_draws_what_pytorch_draws(name):
    import onnxruntime

    made = generator(name)
    model = onnxruntime.InferenceSession(to_onnx(made), providers=["CPUExecutionProvider"])
    for count in (1, 5, 64):
        z = points(made, 3, count)
        (x,) = model.run(["x"], {"z": z.numpy()})
        assert x.shape == (count, *NETWORKS[name][0]) and x.dtype == np.float32
        assert np.abs(x - made.module(z).numpy()).max() < 1e-4


@needs_onnx
@pytest.mark.parametrize("label", [None, "a, b"])
def test_a_conditional_model_is_told_the_class_unless_it_is_of_one(label, monkeypatch, tmp_path, capsys):
    import onnxruntime

    made = generator("dcgan-classes")
    monkeypatch.setattr(checkpoint, "load_generator", lambda run: made)
    flags = [] if label is None else ["--class", label]
    assert export.main(["run", "--out", str(tmp_path / "g.onnx"), *flags]) == 0
    told = "z and a class (N, 7 + 3)" if label is None else "z (N, 7)"
    assert f"{told} to x (N, 3×32×32)" in capsys.readouterr().out
    model = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    z = points(made, 0, 5) if label is None else numbered_z(0, range(5), Z)
    (x,) = model.run(["x"], {"z": z.numpy()})
    asked = made if label is None else of_class(made, label)
    assert np.abs(x - asked.module(z).numpy()).max() < 1e-4
    if label is None:
        (other,) = model.run(["x"], {"z": with_class(z[:1, :Z], torch.tensor([1]), 3).numpy()})
        assert np.abs(x[0] - other[0]).max() > 1e-2


# ---------------------------------------------------------------- the commands


@needs_onnx
def test_the_command_writes_a_model_that_draws_the_demo(tmp_path, capsys):
    import onnxruntime

    assert export.main(["demo", "--out", str(tmp_path / "g.onnx")]) == 0
    assert "g.onnx: 1." in capsys.readouterr().out
    made = load_generator("demo")
    z = numbered_z(0, range(4), made.config.latent_dim)
    (x,) = onnxruntime.InferenceSession(tmp_path / "g.onnx").run(["x"], {"z": z.numpy()})
    assert np.abs(x - made.module(z).numpy()).max() < 1e-4


def test_the_demo_is_small_and_every_command_that_draws_takes_it(tmp_path, monkeypatch):
    assert checkpoint.DEMO.stat().st_size <= 1_500_000
    monkeypatch.chdir(tmp_path)
    assert sample.main(["demo", "--out", "page.png", "--count", "9"]) == 0
    assert walk.main(["demo", "--out", "walk.gif", "--frames", "4", "--grid", "1x2"]) == 0
    assert (tmp_path / "walk.gif").stat().st_size > 1000


def test_a_run_named_demo_wins_over_the_packages_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint.find("demo") == checkpoint.DEMO
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "checkpoint.pt").touch()
    assert checkpoint.find("demo").absolute() == tmp_path / "demo" / "checkpoint.pt"


def test_the_report_on_the_demo_is_written_here_and_not_into_the_package(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(generator, **wanted):
        raise Stop

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "evaluate", stop)
    asked = []
    monkeypatch.setattr(evaluate, "output_file", lambda out, suffixes: asked.append(out))
    with pytest.raises(Stop):
        evaluate.main(["demo"])
    assert str(asked[0]) == "report.json"


@pytest.mark.full
def test_a_finished_generator_draws_its_runs_pictures_and_is_not_resumed(tmp_path, images, capsys):
    settings = "--width 4 --image-size 16 --batch-size 8 --steps 3 --device cpu --no-walk".split()
    assert train.main(["--data", images, "--out", str(tmp_path / "run"), *settings]) == 0
    assert export.main([str(tmp_path / "run"), "--out", str(tmp_path / "g.pt")]) == 0
    whole, alone = (load_generator(tmp_path / name) for name in ("run", "g.pt"))
    assert alone.config == whole.config and alone.step == 3 and alone.shape == (3, 16, 16)
    z = numbered_z(0, range(8), alone.config.latent_dim)
    assert torch.equal(whole.module(z), alone.module(z))
    capsys.readouterr()
    assert train.main(["--resume", str(tmp_path / "g.pt"), "--steps", "9"]) == 2
    assert "is a finished generator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["demo", "--out", "g.bin"], "must end in .onnx or .pt"),
        (["nowhere", "--out", "g.onnx"], "there is no checkpoint at nowhere"),
        (["demo"], "--out"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, monkeypatch, capsys, argv, says):
    monkeypatch.chdir(tmp_path)
    assert export.main(argv) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_without_the_packages_the_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert export.main(["demo", "--out", str(tmp_path / "g.onnx")]) == 2
    assert "pip install" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [[], ["--conditional"]], ids=["plain", "classes"])
def test_a_folder_for_a_hub_has_what_its_card_loads(images, tmp_path, monkeypatch, more):
    """The card's own lines are run: the generator that they load draws what the run's draws."""
    pytest.importorskip("safetensors", reason="needs safetensors")
    flags = "--image-size 16 --width 4 --latent-dim 4 --batch-size 4 --steps 2 --no-walk --device cpu".split()
    assert train.main(["--data", images, *flags, *more, "--out", str(tmp_path / "run")]) == 0
    monkeypatch.chdir(tmp_path)
    assert export.main(["run", "--safetensors"]) == 0
    folder = tmp_path / "run-model"
    card = (folder / "README.md").read_text()
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "samples.png"}  # fmt: skip
    assert "license: # fill in" in card and "| d_loss |" in card and "| batch_size | 4 |" in card
    assert str(tmp_path) not in card + (folder / "config.json").read_text()
    monkeypatch.chdir(folder)
    lines = card.split("```python\n")[1].split("```")[0]
    held: dict = {}
    exec(lines, held)
    assert held["x"].shape == (4, 3, 16, 16)
    assert ("torch.eye(2)" in lines and "one-hot: the class" in card) == bool(more)
    z = torch.randn(3, 4 + 2 * bool(more))
    with torch.no_grad():
        assert torch.equal(held["generator"](z), load_generator(tmp_path / "run").module(z))


def test_a_folder_for_a_hub_needs_safetensors(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    assert export.main(["demo", "--safetensors", "--out", str(tmp_path / "x")]) == 2
    assert "pip install 'gan-ref[safetensors]'" in capsys.readouterr().err
    assert export.main(["demo"]) == 2 and "--out g.onnx" in capsys.readouterr().err
