"""What the README names exists."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from gan_ref.config import HINTS
from gan_ref.recipes import RECIPES

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def table() -> list[tuple[list[str], ...]]:
    """The technique table: (names, files, recipes) of each row."""
    body = README.split("| paper | technique | where | recipe |\n", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in body.splitlines()[1:]]
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in cells) for _, *cells in rows]


@pytest.mark.parametrize(("names", "files", "made"), table(), ids=lambda cell: " ".join(cell))
def test_every_technique_in_the_table_is_where_it_says(names, files, made):
    assert names and files and made
    folder = files[0].rpartition("/")[0]
    paths = [files[0], *(f"{folder}/{name}" if "/" not in name and folder else name for name in files[1:])]
    paths = [path if importlib.util.find_spec(module(path)) else path.rpartition("/")[2] for path in paths]
    modules = [importlib.import_module(module(path)) for path in paths]
    for name in names:
        if name.startswith("--"):
            assert name[2:].replace("-", "_") in HINTS
        else:
            assert any(hasattr(found, name) for found in modules), f"{name} is not in {paths}"
    for recipe in made:
        flag = recipe.split()[0]
        assert flag[2:].replace("-", "_") in HINTS if flag.startswith("--") else recipe in RECIPES


def module(path: str) -> str:
    return "gan_ref." + path.removesuffix(".py").replace("/", ".")


def test_every_recipe_is_in_the_table():
    assert set(RECIPES) <= {recipe for _, _, made in table() for recipe in made}


def test_every_picture_and_linked_section_is_there():
    for picture in re.findall(r'(?:src="|\]\()(docs/[^")]+)', README):
        file = Path(__file__).parent.parent / picture
        assert file.is_file() and file.stat().st_size < 1_000_000
    sections = {re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
                for line in re.findall(r"^#+ (.*)$", README, re.M)}  # fmt: skip
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= sections


def test_every_file_it_speaks_of_is_there():
    root = Path(__file__).parent.parent
    for path in re.findall(r"`((?:gan_ref|tests|benchmarks|csrc)/[\w./*]+)`", README):
        assert list(root.glob(path.rstrip("/"))), path
    for command in re.findall(r"python -m (gan_ref[\w.]+)", README):
        assert importlib.util.find_spec(command)
    for script in re.findall(r"python (benchmarks/\w+\.py)", README):
        assert (root / script).is_file(), script
