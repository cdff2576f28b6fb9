"""The package as others get it: a source distribution and a wheel, built here and used elsewhere."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT = shutil.ignore_patterns(".git", "runs", "build", "dist", "__pycache__", "*.so", "docs")

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not importlib.util.find_spec("build"), reason="needs pip install build"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of both, built without a network and without kernels."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT)
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(folder / "source"),
    ]
    plain = os.environ | {"GAN_REF_BUILD_KERNELS": "0"}
    ended = subprocess.run(command, env=plain, capture_output=True, text=True, cwd=folder)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return folder


def test_the_source_distribution_has_all_that_a_build_needs(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*.c*")}
    for folder in ("gan_ref", "tests", "benchmarks"):
        needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
    assert needed | {"pyproject.toml", "setup.py", "LICENSE", "README.md", "gan_ref/demo.pt"} <= names


def test_the_wheel_has_the_package_and_nothing_else(built):
    wheel = next(built.glob("*.whl"))
    assert wheel.name.endswith("-py3-none-any.whl")  # without kernels it is for every platform
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gan_ref"}
    wanted = ("demo.pt", "py.typed", "explore/page.html", "explore/laboratory.html")
    assert {f"gan_ref/{name}" for name in wanted} <= {*names}
    assert any(name.startswith("gan_ref/csrc/") for name in names)
    assert "Requires-Python: >=3.10" in metadata and "Provides-Extra: parquet" in metadata


def test_an_installed_wheel_draws_the_demo(built, tmp_path):
    """In a new environment, which has this one's libraries but not this checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    installing = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*installing, next(built.glob("*.whl"))], check=True, env=alone)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = [python, "-c", "import gan_ref; print(gan_ref.__file__)"]
    run = {"cwd": tmp_path, "env": alone, "capture_output": True, "text": True}
    assert subprocess.run(where, **run).stdout.startswith(str(site))
    drawn = subprocess.run([python.parent / "gan-ref", "sample", "demo", "--out", "page.png"], **run)
    assert drawn.returncode == 0 and (tmp_path / "page.png").stat().st_size > 10_000, drawn.stderr
