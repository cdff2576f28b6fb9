"""How the kernels are found and built: whatever is missing or fails, one line says what and why."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

import gan_ref
from gan_ref.commands.kernels import main
from gan_ref.errors import UserError
from gan_ref.ops import build, extension

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nothing_decided_yet(monkeypatch):
    for name in ("GAN_REF_KERNELS", "CUDA_HOME", "CUDA_PATH", "CXX"):
        monkeypatch.delenv(name, raising=False)
    extension.load_kernels.cache_clear()
    yield
    extension.load_kernels.cache_clear()


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def pretend_gpu(monkeypatch):
    """Two GPUs of compute capability 9.0, as far as torch can tell; nothing runs on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


@pytest.fixture
def toolkit(monkeypatch, tmp_path):
    """A CUDA toolkit whose nvcc writes its arguments to what it makes, and logs the call; and sources."""
    folder = tmp_path / "a b$c"  # awkward letters
    write_nvcc(folder, 'for last; do :; done; echo compiled >>"$0.log"; for x; do echo "$x"; done >"$last"')
    (folder / "csrc").mkdir()
    for name in ("one.cu", "two.cuh", "ops.cpp"):
        (folder / "csrc" / name).touch()
    monkeypatch.setattr(build, "PACKAGE", folder)
    monkeypatch.setenv("CUDA_HOME", str(folder))
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "/bin/sh")
    return folder


def write_nvcc(toolkit: Path, *lines: str) -> Path:
    nvcc = toolkit / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True, exist_ok=True)
    nvcc.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    nvcc.chmod(0o755)
    return nvcc


# --- which one ----------------------------------------------------------------------------------------------


def test_without_a_gpu_it_is_the_torch_form_and_the_command_says_why(no_gpu, capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "torch: torch sees no CUDA device" in shown
    assert torch.__version__ in shown and build.digest() in shown


def test_cuda_makes_the_fall_back_an_error(no_gpu, monkeypatch):
    monkeypatch.setenv("GAN_REF_KERNELS", "cuda")
    with pytest.raises(UserError, match="GAN_REF_KERNELS=cuda.*no CUDA device"):
        extension.choose(may_build=True)


def test_another_value_is_an_error_that_lists_the_three(monkeypatch):
    monkeypatch.setenv("GAN_REF_KERNELS", "fast")
    with pytest.raises(UserError, match="auto, cuda or torch"):
        extension.choose(may_build=True)


def test_the_fall_back_warns_once_with_the_reason_and_the_remedy(no_gpu):
    with pytest.warns(UserWarning, match="no CUDA device.*--build.*GAN_REF_KERNELS=torch") as seen:
        for _ in range(3):
            assert extension.load_kernels() is None
    assert len(seen) == 1


def test_who_asks_for_torch_is_not_warned(monkeypatch):
    monkeypatch.setenv("GAN_REF_KERNELS", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert extension.load_kernels() is None


def test_float64_and_the_cpu_always_take_the_torch_form(monkeypatch):
    class OnGpu:
        is_cuda, dtype = True, torch.float64

    monkeypatch.setenv("GAN_REF_KERNELS", "cuda")  # to look for the kernels would be an error
    assert extension.kernels_for(OnGpu()) is None
    assert extension.kernels_for(torch.ones(1)) is None


def test_the_binary_of_the_package_comes_first(pretend_gpu, toolkit):
    binary = toolkit / f"_kernels_{build.digest()}.so"
    binary.touch()
    assert extension.find_binary(may_build=True) == (binary, "the binary that came with the package")
    (toolkit / "csrc" / "one.cu").write_text("changed since")
    assert extension.find_binary(may_build=True)[0] != binary


def test_a_binary_that_does_not_load_is_a_reason_and_no_crash(pretend_gpu, toolkit):
    (toolkit / f"_kernels_{build.digest()}.so").write_text("not a library")
    choice = extension.choose(may_build=True)
    assert choice.implementation == "torch" and "does not work here" in choice.reason


# --- building -----------------------------------------------------------------------------------------------


def test_the_first_use_builds_and_the_second_finds_it(pretend_gpu, toolkit, tmp_path, capsys):
    assert "built at the first use" in extension.choose(may_build=False).reason
    binary = tmp_path / "cache" / "kernels" / build.digest() / "sm90.so"
    assert extension.find_binary(may_build=True) == (binary, "built on this machine")
    assert capsys.readouterr().err.count("\n") == 1
    assert extension.find_binary(may_build=True) == (binary, "built earlier on this machine")
    assert (toolkit / "bin" / "nvcc.log").read_text() == "compiled\n"


def test_the_command_builds_for_every_architecture_where_there_is_no_gpu(no_gpu, toolkit, capsys):
    assert main(["--build"]) == 0
    built = Path(capsys.readouterr().out.splitlines()[0].removeprefix("built").strip())
    assert "-gencode=arch=compute_120,code=sm_120\n" in built.read_text()
    assert main(["--build"]) == 0
    assert (toolkit / "bin" / "nvcc.log").read_text() == 2 * "compiled\n"  # again: the toolkit may be another


def test_a_cache_that_cannot_be_written_is_named(pretend_gpu, toolkit, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "file"))
    assert "set GAN_REF_CACHE" in extension.choose(may_build=True).reason


@pytest.mark.full
def test_of_several_processes_one_builds_and_the_others_wait(toolkit, tmp_path):
    write_nvcc(toolkit, 'for last; do :; done; sleep 0.3; echo compiled >>"$0.log"; touch "$last"')
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=extension.build_in_cache, args=([90], False)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (toolkit / "bin" / "nvcc.log").read_text() == "compiled\n"


def test_the_name_of_a_binary_changes_with_its_sources_and_flags(toolkit, monkeypatch):
    names = {build.digest()}
    (toolkit / "csrc" / "one.cu").write_text("other")
    names.add(build.digest())
    (toolkit / "csrc" / "three.cuh").touch()
    names.add(build.digest())
    monkeypatch.setattr(build, "FLAGS", ("-O0",))
    names.add(build.digest())
    assert len(names) == 4


def test_nvcc_is_that_of_cuda_home_else_the_one_on_the_path(toolkit, monkeypatch, tmp_path):
    other = write_nvcc(tmp_path / "other")
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    assert build.find_nvcc() == str(toolkit / "bin" / "nvcc")
    monkeypatch.delenv("CUDA_HOME")
    assert build.find_nvcc() == str(other)


@pytest.mark.parametrize("missing", ["nvcc", "compiler", "torch"])
def test_what_is_missing_is_named(missing, toolkit, monkeypatch, tmp_path):
    if missing == "nvcc":
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "none"))
    elif missing == "compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    else:
        monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(build.CannotBuild, match=missing):
        build.build(tmp_path / "kernels.so", [90])


def test_a_build_compiles_every_source_for_each_gpu_and_leaves_nothing_else(toolkit, tmp_path):
    binary = extension.build_in_cache([80, 90])
    assert {path.name for path in binary.parent.iterdir()} <= {"sm80_90.so", "sm80_90.lock"}
    arguments = binary.read_text().split("\n")
    csrc = toolkit / "csrc"
    expected = {f"{csrc}/one.cu", f"{csrc}/ops.cpp", f"-L{Path(torch.__file__).parent}/lib"}
    expected |= {f"-gencode=arch=compute_{a},code=sm_{a}" for a in (80, 90)}
    expected |= {"-gencode=arch=compute_80,code=compute_80"}  # for every later GPU
    assert expected <= set(arguments) and f"{csrc}/two.cuh" not in arguments


def test_a_compiler_that_fails_is_quoted_and_nothing_is_left(toolkit):
    write_nvcc(toolkit, "echo In file one.cu:; echo 'one.cu(3): error: expected a }' >&2; exit 1")
    with pytest.raises(build.CannotBuild, match="expected a }"):
        extension.build_in_cache([90])
    assert list((toolkit.parent / "cache").rglob("*.so")) == []


# --- packaging ----------------------------------------------------------------------------------------------


def test_build_needs_neither_torch_nor_the_package():
    code = "import sys; sys.modules['torch'] = sys.modules['gan_ref'] = None\n"
    code += "import runpy; runpy.run_path('gan_ref/ops/build.py')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a package is made of."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("checkout")
    leave_out = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("csrc", "gan_ref"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    for name in (
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "constraints.txt",
        "train.py",
    ):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def make(checkout: Path, what: str, kernels: str) -> subprocess.CompletedProcess[str]:
    """What setuptools' build backend does for pip and for build."""
    code = f"from setuptools import build_meta; build_meta.build_{what}('dist')"
    environment = {**os.environ, "GAN_REF_BUILD_KERNELS": kernels}
    shutil.rmtree(checkout / "dist", ignore_errors=True)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, env=environment, capture_output=True, text=True
    )


@pytest.mark.full
@pytest.mark.parametrize("kernels, name", [("0", "any"), ("1", "linux_"), ("", "linux_")])
def test_a_wheel_has_the_sources_and_says_whether_it_has_the_kernels(checkout, toolkit, kernels, name):
    run = make(checkout, "wheel", kernels)
    assert run.returncode == 0, run.stderr
    (wheel,) = (checkout / "dist").iterdir()
    assert wheel.name.startswith(f"gan_ref-{gan_ref.__version__}-py3-none-{name}")
    content = zipfile.ZipFile(wheel).namelist()
    assert {f"gan_ref/csrc/{path.name}" for path in (ROOT / "csrc").iterdir()} <= set(content)
    assert [file for file in content if file.startswith("gan_ref/_kernels")] == (
        [] if kernels == "0" else [f"gan_ref/_kernels_{digest_of(checkout)}.so"]
    )


def digest_of(checkout: Path) -> str:
    code = "import runpy; print(runpy.run_path('gan_ref/ops/build.py')['digest']())"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


@pytest.mark.full
def test_without_nvcc_a_wheel_is_pure_and_says_why_or_is_refused(checkout, toolkit, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(toolkit / "none"))
    run = make(checkout, "wheel", "")
    assert run.returncode == 0 and "no CUDA kernels: nvcc was not found" in run.stdout
    assert [path.name[-7:] for path in (checkout / "dist").iterdir()] == ["any.whl"]
    run = make(checkout, "wheel", "1")
    assert run.returncode != 0 and "GAN_REF_BUILD_KERNELS=1, but nvcc was not found" in run.stderr


@pytest.mark.full
def test_the_source_distribution_has_the_kernels_sources(checkout):
    run = make(checkout, "sdist", "0")
    assert run.returncode == 0, run.stderr
    (archive,) = (checkout / "dist").iterdir()
    with tarfile.open(archive) as packed:
        names = [Path(name) for name in packed.getnames()]
    sources = {name.name for name in names if name.parts[1:-1] == ("csrc",)}
    assert sources == {path.name for path in (ROOT / "csrc").iterdir()}
