"""Compiles csrc/ with one nvcc command. Imports neither torch nor gan_ref, so that setup.py can load it.

The sources use only LibTorch's stable ABI: one binary serves every torch ≥ 2.10 and every Python, and a torch
without CUDA will do to build it. setup.py puts a binary for every architecture into a wheel, and
gan_ref.ops.extension builds one for the GPUs of a user's machine.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)  # compute capability × 10, of a wheel with kernels
FLAGS = ("-shared", "-std=c++20", "-O3", "-Xcompiler=-fPIC")
FLAGS += ("-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000")  # torch 2.10, the oldest that is served
# libtorch.so is linked although nothing in it is called: through it, a CUDA build of torch finds its own
# libraries, and in them the function that gives the current stream.
FLAGS += ("-Xlinker=--no-as-needed", "-ltorch_cpu", "-ltorch", "-lc10")


class CannotBuild(Exception):
    """The kernels cannot be built or used here. The message is one line: the reason, and what would help."""


def sources() -> Path:
    """The folder of the device code: the package's own copy, else the checkout's."""
    inside = PACKAGE / "csrc"
    return inside if inside.is_dir() else PACKAGE.parent / "csrc"


def digest() -> str:
    """Twelve hex digits that change with any source or flag. They are in the name of every binary."""
    state = hashlib.sha256("\n".join(FLAGS).encode())
    for path in sorted(sources().glob("*.*")):
        state.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return state.hexdigest()[:12]


def prebuilt() -> Path:
    """Where a wheel keeps its binary; a binary of other sources has another name."""
    return PACKAGE / f"_kernels_{digest()}.so"


def find_nvcc() -> str | None:
    """$CUDA_HOME/bin/nvcc, else the nvcc on the PATH, else that of /usr/local/cuda; None if there is none."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    on_path = None if home else shutil.which("nvcc")
    return on_path or shutil.which("nvcc", path=f"{home or '/usr/local/cuda'}/bin")


def build(binary: Path, architectures: Sequence[int], extra_flags: Sequence[str] = ()) -> str:
    """Compile csrc/ into ``binary`` for these compute capabilities (× 10), and as PTX for all later ones.

    $MAX_JOBS limits how many compilers run at once. Returns what they printed. Raises CannotBuild.
    """
    nvcc, cxx, torch = find_nvcc(), os.environ.get("CXX", "g++"), importlib.util.find_spec("torch")
    if nvcc is None:
        raise CannotBuild("nvcc was not found: install the CUDA toolkit, or set CUDA_HOME to its folder")
    if shutil.which(cxx) is None:
        raise CannotBuild(f"the C++ compiler {cxx} was not found: install g++, or set CXX")
    if torch is None or torch.origin is None:
        raise CannotBuild("torch is not installed here: pip install torch")
    library, oldest = Path(torch.origin).parent, f"compute_{min(architectures)}"
    command = [nvcc, f"-ccbin={cxx}", f"--threads={os.environ.get('MAX_JOBS', '0')}", *FLAGS, *extra_flags]
    command += [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    command += [f"-gencode=arch={oldest},code={oldest}", f"-isystem={library}/include", f"-L{library}/lib"]
    command += [str(path) for path in sorted(sources().iterdir()) if path.suffix in (".cu", ".cpp")]
    command += ["-o", str(binary)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        log = run.stdout.strip().splitlines() or [f"exit status {run.returncode}"]
        raise CannotBuild(f"nvcc failed: {next((x for x in log if 'error' in x or 'fatal' in x), log[-1])}")
    return run.stdout
