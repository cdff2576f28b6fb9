"""The whole extension compiles for every architecture, links, and loads into any build of torch.

Needs nvcc but no GPU: what the kernels compute is in test_kernels_on_cpu.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gan_ref.ops import build

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(build.find_nvcc() is None, reason="needs nvcc, and there is none: set CUDA_HOME"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, and there is none"),
]

SHAPES = """
import torch
torch.ops.load_library({binary!r})
import gan_ref.ops  # in either order: nothing is defined twice
for name in ("minibatch_l1_similarity", "minibatch_l1_similarity_backward", "virtual_batch_norm",
             "virtual_batch_norm_backward"):
    ours = getattr(torch.ops.gan_ref, name).default
    kernel = getattr(torch.ops.gan_ref_kernels, name).default
    assert str(ours._schema).split("::")[1] == str(kernel._schema).split("::")[1], name
    assert torch._C._dispatch_has_kernel_for_dispatch_key(kernel.name(), "CUDA"), name
try:
    torch.ops.gan_ref_kernels.minibatch_l1_similarity(torch.zeros(2, 3, 4))
except NotImplementedError:
    print("loaded")
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> tuple[Path, str]:
    """The binary for every architecture, beside all that nvcc made on the way, and what nvcc printed."""
    folder = tmp_path_factory.mktemp("extension")
    flags = ("-Xptxas=-v", "--keep", f"--keep-dir={folder}")
    return folder / "kernels.so", build.build(folder / "kernels.so", build.ARCHITECTURES, flags)


def test_every_architecture_is_in_the_binary(compiled):
    _, log = compiled
    found = {int(sm) for sm in re.findall(r"Compiling entry function .* for 'sm_(\d+)'", log)}
    assert found == set(build.ARCHITECTURES)


def test_no_kernel_spills_its_registers(compiled):
    """ptxas says what went to memory, for every architecture: nothing."""
    _, log = compiled
    entry = r"Compiling entry function '(\w+)' for 'sm_(\d+)'\n.*\n"
    report = re.findall(entry + r"\s*(\d+) bytes stack frame, (\d+) bytes spill stores", log)
    assert len(report) > 50 * len(build.ARCHITECTURES)
    for kernel, sm, frame, spilled in report:
        assert int(frame) == int(spilled) == 0, (kernel, sm)


def test_packets_of_16_bytes_cross_memory_in_one_instruction(compiled):
    """What the norm's kernels read and write by the word is an example's or a channel's numbers, never x."""
    for architecture in build.ARCHITECTURES:
        ptx = (compiled[0].parent / f"virtual_batch_norm.compute_{architecture}.ptx").read_text()
        kernel = r"\.entry \w*norm_(forward|backward)I\w*Li[48]ELi(\d)ELi\d+E"
        kernels = re.findall(kernel + r"(.*?)^}", ptx, re.DOTALL | re.MULTILINE)
        assert len(kernels) == 2 * 3 * 5  # directions, types, ways through the shapes
        for direction, channels, code in kernels:
            words = {"ld": 4 if direction == "forward" else 10, "st": 2}  # for each channel
            for way, each in words.items():
                assert f"{way}.global.v4" in code
                by_the_word = re.findall(way + r"\.global\.(?!v4)", code)
                assert len(by_the_word) == each * int(channels), (architecture, direction, way)


@pytest.mark.parametrize("package_first", [False, True])
def test_the_binary_loads_where_there_is_no_gpu(compiled, package_first):
    """Training loads it long after the package: a second definition of a name would end the process."""
    code = SHAPES.format(binary=str(compiled[0]))
    code = "import gan_ref.ops\n" + code if package_first else code
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout == "loaded\n", result.stderr


def test_the_plain_kernels_are_cuda_too(tmp_path):
    """They are compiled into no binary: they are there to be read, and to be tested on the CPU."""
    names = ("similarity_plain.cuh", "virtual_batch_norm_plain.cuh")
    (tmp_path / "plain.cu").write_text("".join(f'#include "{name}"\n' for name in names))
    flags = ["-std=c++20", "-ccbin=g++", f"-arch=sm_{build.ARCHITECTURES[-1]}", f"-I{build.sources()}"]
    command = [build.find_nvcc(), *flags, "-ptx", "plain.cu", "-o", "plain.ptx"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "plain.ptx").read_text().count(".entry") == 4
