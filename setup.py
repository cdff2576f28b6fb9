"""Builds the CUDA kernels into a wheel; docs/kernels.md says how. The metadata is in pyproject.toml.

GAN_REF_BUILD_KERNELS=1 makes a wheel with kernels or an error, 0 one without. Unset, a wheel gets kernels if
they can be built and else says why not; pip's isolated build sees no torch, so its wheel has none.
"""

import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

WANTED = os.environ.get("GAN_REF_BUILD_KERNELS", "")
build = SimpleNamespace(**runpy.run_path("gan_ref/ops/build.py"))


class BuildPackage(build_py):
    """Adds csrc/ and the kernels. An editable install uses the checkout's csrc/, and builds only for 1."""

    def run(self) -> None:
        super().run()
        package = build.PACKAGE if self.editable_mode else Path(self.build_lib) / "gan_ref"
        if not self.editable_mode:
            shutil.rmtree(package / "csrc", ignore_errors=True)
            shutil.copytree(build.sources(), package / "csrc")
        elif WANTED != "1":
            return
        for stale in package.glob("_kernels_*.so"):
            stale.unlink()
        try:
            if WANTED == "0":
                raise build.CannotBuild("GAN_REF_BUILD_KERNELS=0")
            build.build(package / "_kernels.part", build.ARCHITECTURES)
            (package / "_kernels.part").replace(package / build.prebuilt().name)
        except build.CannotBuild as error:
            if WANTED == "1":
                raise SystemExit(f"GAN_REF_BUILD_KERNELS=1, but {error}") from None
            print(f"gan-ref: no CUDA kernels: {error}")


class Wheel(bdist_wheel):
    """With kernels, one wheel for every Python on this platform; without, for every platform."""

    def get_tag(self) -> tuple[str, str, str]:
        self.root_is_pure = not any(Path(f"{self.bdist_dir}/gan_ref").glob("_kernels_*.so"))
        return "py3", "none", super().get_tag()[2]


wanted_torch = ["torch>=2.10"] if WANTED == "1" else []  # pip's isolated build then installs it
setup(cmdclass={"build_py": BuildPackage, "bdist_wheel": Wheel}, setup_requires=wanted_torch)
