"""How the CUDA kernels are compiled: sources, flags and commands, in this one place. Imports no torch.

    folder of sources     csrc/ beside the package in a checkout, inside the package once installed
    *.cu                  nvcc, device code for the given compute capabilities and PTX of the newest
    *.cpp                 the host compiler
    link                  against torch's stable ABI: one binary for every torch ≥ 2.10 and every Python

setup.py calls it to put a binary for every architecture into a wheel; gan_ref.ops.extension calls it on a
user's machine, for the GPU that is there. Neither needs torch to have been built with CUDA.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)  # compute capability × 10, of a wheel with kernels
OLDEST = ARCHITECTURES[0]

DEFINES = ("-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000")  # torch 2.10, the oldest that is served
NVCC_FLAGS = ("-std=c++20", "-O3", "-Xcompiler=-fPIC", *DEFINES)
CXX_FLAGS = ("-std=c++20", "-O3", "-fPIC", *DEFINES)
# libtorch.so is named although nothing of it is used directly: a CUDA build of torch finds its own libraries,
# and with them the current stream, through it. A CPU build has no such symbol, and it is declared weak.
LINK_FLAGS = ("-Wl,--no-as-needed", "-ltorch_cpu", "-ltorch", "-lc10")
LINK_FLAGS += ("-lcudart_static", "-lrt", "-ldl", "-lpthread")


class CannotBuild(Exception):
    """Why the kernels cannot be built here, and what would help; one line."""


def sources() -> Path:
    """The folder of the device code: the package's own copy, else the checkout's."""
    inside = PACKAGE / "csrc"
    return inside if inside.is_dir() else PACKAGE.parent / "csrc"


def digest() -> str:
    """Twelve hex digits that change with any source or flag. They are in the name of every binary."""
    state = hashlib.sha256("\n".join(NVCC_FLAGS + CXX_FLAGS + LINK_FLAGS).encode())
    for path in sorted(sources().glob("*.*")):
        state.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return state.hexdigest()[:12]


def prebuilt() -> Path:
    """Where a wheel keeps its binary. One of other sources has another name, and is not mistaken for it."""
    return PACKAGE / f"_kernels_{digest()}.so"


def serves(capability: int, architectures: Sequence[int] = ARCHITECTURES) -> bool:
    """Whether a binary for these architectures and PTX of the last runs on this capability (all × 10)."""
    same_major = any(a // 10 == capability // 10 and a <= capability for a in architectures)
    return same_major or capability >= max(architectures)


def cuda_home() -> Path | None:
    """The CUDA toolkit: $CUDA_HOME, else that of the nvcc on the PATH, else the newest in /usr/local."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            return Path(os.environ[name])
    nvcc = shutil.which("nvcc")
    if nvcc:
        # nvcc may be a shell script or a link that starts the real one elsewhere: ask it where it lives.
        shown = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True)
        here = re.search(r"^#\$ _HERE_=(.+)$", shown.stderr + shown.stdout, re.MULTILINE)
        return Path(here[1].strip() if here else Path(nvcc).resolve().parent).parent
    folders = [path for path in Path("/usr/local").glob("cuda*") if (path / "bin" / "nvcc").exists()]
    return max(folders, key=_version, default=None)


def _version(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", path.name)]


def torch_folder() -> Path | None:
    """Where torch is installed, without importing it; None if it is not."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None


class Toolchain(NamedTuple):
    cuda_home: Path
    nvcc: Path
    cxx: str
    ninja: str
    torch: Path


def toolchain() -> Toolchain:
    """What the build needs, or CannotBuild, with what is missing and how to get it."""
    if not sys.platform.startswith("linux"):
        raise CannotBuild(f"the kernels are built on Linux only, and this is {sys.platform}")
    home, torch, ninja = cuda_home(), torch_folder(), _ninja()
    cxx = os.environ.get("CXX", "g++")
    if home is None or not (home / "bin" / "nvcc").exists():
        raise CannotBuild("nvcc was not found: install the CUDA toolkit, or set CUDA_HOME to its folder")
    if torch is None:
        raise CannotBuild("torch is not installed here: pip install torch")
    if ninja is None:
        raise CannotBuild("ninja was not found: pip install ninja")
    if shutil.which(cxx) is None:
        raise CannotBuild(f"the C++ compiler {cxx} was not found: install g++, or set CXX")
    if not list(sources().glob("*.cu")):
        raise CannotBuild(f"the sources of the kernels are not in {sources()}: reinstall gan-ref")
    return Toolchain(home, home / "bin" / "nvcc", cxx, ninja, torch)


def build(binary: Path, architectures: Sequence[int], extra_nvcc_flags: Sequence[str] = ()) -> str:
    """Compile and link ``binary``, for these compute capabilities (× 10) and PTX of the last.

    The objects are made in a folder beside ``binary``, and it appears under its name only when whole. Returns
    what the compilers printed. Raises CannotBuild.
    """
    tools = toolchain()
    known = subprocess.run([tools.nvcc, "--list-gpu-code"], capture_output=True, text=True).stdout.split()
    architectures = [a for a in sorted(architectures) if f"sm_{a}" in known]
    if not architectures:
        raise CannotBuild(f"{tools.nvcc} is too old or too new for this GPU: install another CUDA toolkit")

    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS", "").isdigit() else []
    try:
        binary.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=binary.parent) as folder:
            script = _ninja_script(tools, architectures, extra_nvcc_flags)
            (Path(folder) / "build.ninja").write_text(script)
            run = subprocess.run([tools.ninja, "-C", folder, *jobs], capture_output=True, text=True)
            if run.returncode:
                raise CannotBuild(f"the compiler failed: {_first_error(run.stdout)}")
            os.replace(Path(folder) / "kernels.so", binary)
    except OSError as error:
        raise CannotBuild(f"{binary.parent} cannot be written: {error.strerror}") from None
    return run.stdout


def _ninja_script(tools: Toolchain, architectures: Sequence[int], extra_nvcc_flags: Sequence[str]) -> str:
    torch, home, cxx = tools.torch, tools.cuda_home, tools.cxx
    includes = [f"-isystem {_quoted(torch / 'include')}", f"-isystem {_quoted(home / 'include')}"]
    code = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    code.append(f"-gencode=arch=compute_{architectures[-1]},code=compute_{architectures[-1]}")
    nvcc = [_quoted(tools.nvcc), f"-ccbin {cxx}", *NVCC_FLAGS, *extra_nvcc_flags, *code, *includes]
    link = [f"-L{_quoted(torch / 'lib')}", f"-L{_quoted(_cuda_libraries(home))}", *LINK_FLAGS]
    lines = [
        f"rule nvcc\n  command = {' '.join(nvcc)} -c $in -o $out",
        f"rule cxx\n  command = {cxx} {' '.join((*CXX_FLAGS, *includes))} -c $in -o $out",
        f"rule link\n  command = {cxx} -shared $in {' '.join(link)} -o $out",
    ]
    objects = []
    for path in sorted([*sources().glob("*.cu"), *sources().glob("*.cpp")]):
        objects.append(f"{path.name}.o")
        rule, source = "nvcc" if path.suffix == ".cu" else "cxx", re.sub(r"([ $:])", r"$\1", str(path))
        lines.append(f"build {objects[-1]}: {rule} {source}")
    lines.append(f"build kernels.so: link {' '.join(objects)}")
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """In a command: for the shell, then for ninja."""
    return shlex.quote(str(path)).replace("$", "$$")


def _cuda_libraries(home: Path) -> Path:
    folders = [home / "lib64", home / "lib", home / "targets" / "x86_64-linux" / "lib"]
    return next((folder for folder in folders if (folder / "libcudart_static.a").exists()), folders[0])


def _ninja() -> str | None:
    """ninja's program: the one its Python package brings, else the one on the PATH."""
    beside = Path(sys.executable).parent / "ninja"
    return str(beside) if beside.exists() else shutil.which("ninja")


def _first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
