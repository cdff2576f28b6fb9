"""Metadata of gan-ref, and the ahead-of-time build of its CUDA kernels into a wheel.

    pip install .                                  pure Python: needs no compiler, nvcc or GPU
    pip install -e .                               the same, editable
    pip wheel --no-build-isolation --no-deps .     with kernels, where torch, nvcc, g++ and ninja are
    python -m build --no-isolation --wheel         the same
    GAN_REF_BUILD_KERNELS=1 python -m build        with kernels; torch and ninja are fetched for the build
    GAN_REF_BUILD_KERNELS=1 pip install -e .       the same, and the binary stays in the checkout

A wheel with kernels serves compute capability 7.5 to 12.0, every Python and every torch ≥ 2.10 on Linux, and
is tagged so (py3-none-linux_x86_64); no GPU and no CUDA build of torch is needed to make it. A pure wheel
(py3-none-any) carries the kernels' sources, and a machine with a GPU builds them at the first use.

Built in isolation, which is what pip does unless told otherwise, setup.py sees no torch and makes a pure
wheel. GAN_REF_BUILD_KERNELS=1 insists on kernels (what is missing is an error) and 0 forbids them. Unset, a
wheel gets kernels where everything is there and is pure, and says why, where it is not.
"""

import importlib.util
import os
import re
import shutil
import sysconfig
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
WANTED = os.environ.get("GAN_REF_BUILD_KERNELS", "")  # "1", "0", or unset: where it can be done


def load(path: Path):
    """A module by its file: importing gan_ref.ops would need torch."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load(ROOT / "gan_ref" / "ops" / "build.py")


def build_kernels() -> Path | None:
    """The binary for every architecture, in the checkout's package folder; None for a pure wheel."""
    binary = build.prebuilt()
    if WANTED == "0":
        print("gan-ref: a pure wheel, as GAN_REF_BUILD_KERNELS=0 says")
        return None
    try:
        if not binary.exists():
            build.toolchain()
            print("gan-ref: building the CUDA kernels for every architecture (some minutes)")
            build.build(binary, build.ARCHITECTURES)
    except build.CannotBuild as error:
        if WANTED == "1":
            raise SystemExit(f"GAN_REF_BUILD_KERNELS=1, but {error}") from None
        print(f"gan-ref: a pure wheel, without CUDA kernels: {error}")
        return None
    print(f"gan-ref: a wheel with CUDA kernels, {binary.name}")
    return binary


class BuildPackage(build_py):
    """Adds to a wheel the kernels' sources and, where they can be built, the kernels. Editable installs are
    served by the checkout's csrc/, and get kernels only when asked."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            if WANTED == "1":
                build_kernels()
            return
        package = Path(self.build_lib) / "gan_ref"
        shutil.rmtree(package / "csrc", ignore_errors=True)
        shutil.copytree(ROOT / "csrc", package / "csrc")
        for stale in package.glob("_kernels_*.so"):
            stale.unlink()
        if self.distribution.kernels:
            shutil.copy2(self.distribution.kernels, package)


class Wheel(bdist_wheel):
    """One binary for every Python: py3-none-linux_x86_64. Without kernels: py3-none-any."""

    def run(self) -> None:
        self.distribution.kernels = build_kernels()
        self.root_is_pure = self.distribution.kernels is None
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        if self.root_is_pure:
            return "py3", "none", "any"
        return "py3", "none", re.sub(r"[-.]", "_", sysconfig.get_platform())


class Package(Distribution):
    kernels: Path | None = None

    def has_ext_modules(self) -> bool:
        return self.kernels is not None


setup(
    name="gan-ref",
    version=re.search(r'__version__ = "(.+?)"', (ROOT / "gan_ref" / "__init__.py").read_text())[1],
    description="How generative adversarial networks are made to train: a reference with two CUDA kernels",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["gan_ref", "gan_ref.*"]),
    package_data={"gan_ref": ["py.typed"]},
    setup_requires=["torch>=2.10", "ninja"] if WANTED == "1" else [],
    install_requires=["torch>=2.10", "numpy", "imageio[ffmpeg]", "ninja", "matplotlib", "tqdm", "pillow"],
    extras_require={"test": ["pytest"], "inception": ["torch-fidelity"]},
    cmdclass={"build_py": BuildPackage, "bdist_wheel": Wheel},
    distclass=Package,
)
