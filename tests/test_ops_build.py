"""How the kernels are found and built: every way in which that can fail ends in words, never in a
traceback."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

import gan_ref
from gan_ref.errors import UserError
from gan_ref.ops import build, extension
from gan_ref.ops.__main__ import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nothing_decided_yet(monkeypatch):
    for name in ("GAN_REF_KERNELS", "CUDA_HOME", "CUDA_PATH", "CXX"):
        monkeypatch.delenv(name, raising=False)
    extension._kernels.cache_clear()
    yield
    extension._kernels.cache_clear()


@pytest.fixture
def pretend_gpu(monkeypatch):
    """A machine with one GPU of compute capability 9.0, on which any binary loads."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(extension, "_capabilities", lambda: [90])
    monkeypatch.setattr(extension, "_load", lambda binary: None)
    monkeypatch.setattr(build, "prebuilt", lambda: ROOT / "no such binary")


def program(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


# --- which one ----------------------------------------------------------------------------------------------


def test_without_a_gpu_it_is_the_torch_reference_and_the_command_says_why(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert torch.__version__ in shown and build.digest() in shown
    if not torch.cuda.is_available():
        assert "torch: torch sees no CUDA device" in shown


def test_cuda_makes_the_fall_back_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("GAN_REF_KERNELS", "cuda")
    with pytest.raises(UserError, match="GAN_REF_KERNELS=cuda.*no CUDA device"):
        extension.choose(may_build=True)


def test_another_value_is_an_error_that_lists_the_three(monkeypatch):
    monkeypatch.setenv("GAN_REF_KERNELS", "fast")
    with pytest.raises(UserError, match="auto, cuda or torch"):
        extension.choose(may_build=True)


def test_the_fall_back_warns_once_with_the_reason_and_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="no CUDA device.*--build.*GAN_REF_KERNELS=torch") as seen:
        for _ in range(3):
            assert extension.kernels_for(torch.ones(1)) is None
    assert len(seen) == 1


def test_who_asks_for_torch_is_not_warned(monkeypatch):
    monkeypatch.setenv("GAN_REF_KERNELS", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert extension.kernels_for(torch.ones(1)) is None


def test_float64_always_takes_the_reference(monkeypatch):
    monkeypatch.setenv("GAN_REF_KERNELS", "cuda")
    assert extension.kernels_for(torch.ones(1, dtype=torch.float64)) is None


def test_the_binary_of_the_package_comes_first(pretend_gpu, monkeypatch, tmp_path):
    binary = tmp_path / "_kernels.so"
    binary.touch()
    monkeypatch.setattr(build, "prebuilt", lambda: binary)
    assert extension.choose(may_build=True) == ("cuda", "the binary that came with the package", binary)


def test_a_gpu_older_than_the_kernels_is_named(pretend_gpu, monkeypatch):
    monkeypatch.setattr(extension, "_capabilities", lambda: [61, 90])
    assert "compute capability 6.1" in extension.choose(may_build=True).reason


def test_which_gpus_the_wheel_serves():
    # Code runs on later minor versions of its own major one, and PTX on everything later than itself.
    served = [c for c in (70, 75, 80, 87, 90, 103, 110, 121, 130) if build.serves(c)]
    assert served == [75, 80, 87, 90, 103, 121, 130]


def test_a_binary_that_does_not_load_is_a_reason_and_no_crash(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(extension, "_capabilities", lambda: [90])
    binary = tmp_path / "_kernels.so"
    binary.write_text("not a library")
    monkeypatch.setattr(build, "prebuilt", lambda: binary)
    choice = extension.choose(may_build=True)
    assert choice.implementation == "torch" and "does not work here" in choice.reason


# --- building -----------------------------------------------------------------------------------------------


def test_the_first_use_builds_and_the_second_finds_it(pretend_gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path))
    built = []

    def compile_nothing(binary, architectures):
        built.append(architectures)
        binary.touch()

    monkeypatch.setattr(build, "build", compile_nothing)
    assert "built at the first use" in extension.choose(may_build=False).reason
    assert extension.choose(may_build=True).reason == "built on this machine"
    assert capsys.readouterr().err.count("\n") == 1
    again = extension.choose(may_build=True)
    assert again.reason == "built earlier on this machine" and built == [[90]]
    assert again.binary == tmp_path / "kernels" / build.digest() / "sm90.so"


def test_a_cache_that_cannot_be_written_is_named(pretend_gpu, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "file"))
    assert "set GAN_REF_CACHE" in extension.choose(may_build=True).reason


def _build_slowly(folder: str) -> None:
    log = Path(folder) / "log"

    binary = Path(folder) / "kernels.so"
    with extension._only_one(binary):
        if not binary.exists():
            with open(log, "a") as file:
                print("built", file=file)
            time.sleep(0.3)
            binary.touch()


def test_of_several_processes_one_builds_and_the_others_wait(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_build_slowly, args=(str(tmp_path),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"


def test_the_name_of_a_binary_changes_with_its_sources_and_flags(monkeypatch, tmp_path):
    (tmp_path / "a.cu").write_text("one")
    monkeypatch.setattr(build, "sources", lambda: tmp_path)
    names = {build.digest()}
    (tmp_path / "a.cu").write_text("two")
    names.add(build.digest())
    (tmp_path / "b.cuh").write_text("")
    names.add(build.digest())
    monkeypatch.setattr(build, "NVCC_FLAGS", ("-O0",))
    names.add(build.digest())
    assert len(names) == 4


def test_a_script_called_nvcc_leads_to_the_toolkit_behind_it(monkeypatch, tmp_path):
    real = program(tmp_path / "toolkit" / "bin" / "nvcc", f"echo '#$ _HERE_={tmp_path}/toolkit/bin' >&2")
    program(tmp_path / "bin" / "nvcc", f'exec {real} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert build.cuda_home() == tmp_path / "toolkit"
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "chosen"))
    assert build.cuda_home() == tmp_path / "chosen"


@pytest.mark.parametrize("missing", ["nvcc", "ninja", "compiler", "torch", "sources"])
def test_what_is_missing_is_named(missing, monkeypatch, tmp_path):
    program(tmp_path / "bin" / "nvcc")
    (tmp_path / "a.cu").touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path if missing != "nvcc" else tmp_path / "none"))
    monkeypatch.setenv("CXX", "no-such-compiler" if missing == "compiler" else "/bin/sh")
    monkeypatch.setattr(build, "_ninja", lambda: None if missing == "ninja" else "/bin/sh")
    monkeypatch.setattr(build, "torch_folder", lambda: None if missing == "torch" else tmp_path)
    monkeypatch.setattr(build, "sources", lambda: tmp_path / "none" if missing == "sources" else tmp_path)
    with pytest.raises(build.CannotBuild, match=missing):
        build.toolchain()


@pytest.fixture
def toy_toolchain(monkeypatch, tmp_path):
    """Compilers that write their arguments to what they make, in a folder with awkward letters; ninja is
    real."""
    folder = tmp_path / "a b$c:d"
    write = 'for last; do :; done; for word; do echo "$word"; done >"$last"'
    program(folder / "bin" / "nvcc", 'if [ "$1" = --list-gpu-code ]; then echo sm_80 sm_90; exit; fi', write)
    (folder / "csrc").mkdir()
    for name in ("one.cu", "ops.cpp"):
        (folder / "csrc" / name).touch()
    monkeypatch.setenv("CUDA_HOME", str(folder))
    monkeypatch.setenv("CXX", str(program(tmp_path / "c++", write)))
    monkeypatch.setattr(build, "sources", lambda: folder / "csrc")
    monkeypatch.setattr(build, "torch_folder", lambda: folder / "torch")
    return folder


@pytest.mark.skipif(build._ninja() is None, reason="needs ninja")
def test_a_build_compiles_links_and_leaves_nothing_else(toy_toolchain, tmp_path):
    binary = tmp_path / "out" / "kernels.so"
    build.build(binary, [80, 90, 120])
    assert [path.name for path in binary.parent.iterdir()] == ["kernels.so"]
    linked = binary.read_text().split("\n")
    assert {"one.cu.o", "ops.cpp.o", "-ltorch", f"-L{toy_toolchain}/torch/lib"} <= set(linked)


@pytest.mark.skipif(build._ninja() is None, reason="needs ninja")
def test_a_compiler_that_fails_is_quoted_and_nothing_is_left(toy_toolchain, tmp_path):
    program(toy_toolchain / "bin" / "nvcc", "echo sm_90; echo 'one.cu(3): error: expected a }'; [ $# = 1 ]")
    with pytest.raises(build.CannotBuild, match="expected a }"):
        build.build(tmp_path / "out" / "kernels.so", [90])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_toolkit_that_does_not_know_the_gpu_is_named(toy_toolchain, tmp_path):
    with pytest.raises(build.CannotBuild, match="another CUDA toolkit"):
        build.build(tmp_path / "kernels.so", [75])


# --- packaging ----------------------------------------------------------------------------------------------


def test_build_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import runpy; runpy.run_path('gan_ref/ops/build.py')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_metadata_agrees_with_the_package():
    pytest.importorskip("setuptools", minversion="64")
    environment = {**os.environ, "GAN_REF_BUILD_KERNELS": "0"}
    command = [sys.executable, "setup.py", "--quiet", "--name", "--version", "--classifiers"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["gan-ref", gan_ref.__version__]
