"""Imports run one way: a room imports only rooms below it, no two files import each other, and all rooms are
known.
"""

from __future__ import annotations

import ast
import shutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gan_ref"
ROOMS = (  # each may import those after it
    "commands loop run watch checkpoint cuda_graph evaluation toy_games explore latents pictures data recipes"
    " techniques networks config shapes devices layers ops distributed files seeds errors"
).split()


def imports(path: Path, package: Path) -> set[Path]:
    """The package's files that a file imports, anywhere in it: in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {find(alias.name, package) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {find(f"{node.module}.{alias.name}", package) for alias in node.names}
            found |= (parts - {None}) | ({find(node.module, package)} if None in parts else set())
    return found - {None, path, package / "__init__.py"}


def find(name: str, package: Path) -> Path | None:
    """The file of the module "gan_ref.a.b"; None if there is none."""
    first, *parts = name.split(".")
    place = package.joinpath(*parts)
    files = [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
    return files[0] if first == "gan_ref" and files else None


def room(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def faults(package: Path) -> list[str]:
    """What is wrong with the imports of the package in this folder."""
    faces = {package / "__init__.py", package / "__main__.py"}
    files = [path for path in package.rglob("*.py") if path not in faces]
    graph = {path: imports(path, package) for path in files}
    wrong = [f"no room: {path.relative_to(package)}" for path in files if room(path, package) not in ROOMS]
    for path, others in graph.items():
        for other in others:
            here, there = room(path, package), room(other, package)
            if here != there and {here, there} <= set(ROOMS) and ROOMS.index(there) < ROOMS.index(here):
                wrong.append(f"upwards: {path.relative_to(package)} imports {other.relative_to(package)}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        wrong.append("circle: " + " → ".join(str(path.relative_to(package)) for path in error.args[1]))
    return wrong


def test_imports_run_one_way_and_no_circle_exists():
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("techniques/noise.py", "from gan_ref.loop import train", "upwards"),
        ("ops/similarity.py", "from gan_ref import run", "upwards"),
        ("data/dataset.py", "    import gan_ref.watch.progress", "upwards"),  # within a block
        ("techniques/noise.py", "from gan_ref.techniques.game import Game", "circle"),
        ("watch/finite.py", "from gan_ref.watch.best import BestCheckpoint", None),
        ("replay.py", "from gan_ref.loop import train", "no room"),
    ],
)
def test_a_fault_is_found(tmp_path, file, line, fault):
    copy = tmp_path / "gan_ref"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    with (copy / file).open("a", encoding="utf-8") as written:
        written.write(f"\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {line.strip()}\n")
    found = faults(copy)
    assert any(one.startswith(fault) for one in found) if fault else not found, found
