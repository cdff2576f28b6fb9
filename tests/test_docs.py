"""What README and docs/ name exists: techniques, recipes, files, pictures, commands and their flags."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from gan_ref.__main__ import COMMANDS
from gan_ref.config import TYPES, flag
from gan_ref.recipes import RECIPES

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "docs" / "chapters").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *CHAPTERS]
TECHNIQUES = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def table() -> list[tuple[list[str], ...]]:
    """The technique table: (names, files, recipes) of each row."""
    body = TECHNIQUES.split("| paper | technique | where | recipe |\n", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in body.splitlines()[1:]]
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in cells) for _, *cells in rows]


@pytest.mark.parametrize(("names", "files", "made"), table(), ids=lambda cell: " ".join(cell))
def test_every_technique_in_the_table_is_where_it_says(names, files, made):
    assert names and files and made
    folder = files[0].rpartition("/")[0]
    paths = [path if "/" in path or not folder else f"{folder}/{path}" for path in files]
    paths = [path if (ROOT / "gan_ref" / path).exists() else path.rpartition("/")[2] for path in paths]
    names_of_modules = ["gan_ref." + path.removesuffix(".py").replace("/", ".") for path in paths]
    modules = [importlib.import_module(name) for name in names_of_modules]
    for name in names:
        if name.startswith("--"):
            assert name in map(flag, TYPES)
        else:
            assert any(hasattr(found, name) for found in modules), f"{name} is not in {paths}"
    for recipe in made:
        first = recipe.split()[0]
        assert first in map(flag, TYPES) if first.startswith("--") else recipe in RECIPES


def test_every_recipe_is_in_the_table():
    assert set(RECIPES) <= {recipe for _, _, made in table() for recipe in made}


def test_the_readme_is_short_and_every_line_of_it_wraps():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1000
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_short_and_every_line_of_it_wraps(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    assert max(map(len, text.splitlines())) <= 120


@every_page
def test_every_picture_page_and_file_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r'(?:src="|\]\(|^\[[^]]+\]: )([\w./-]+)', text, re.M):
        file = page.parent / target
        assert file.is_file() and file.stat().st_size < 1_000_000, target
    for name in re.findall(r"\[([\w./-]+\.md)\](?![:(])", text):
        assert f"[{name}]: " in text, f"{name} is no link"
    for path in re.findall(r"\b((?:gan_ref|tests|benchmarks|csrc|examples|docs)/[\w./*-]*\w)", text):
        made_by_the_book = path.startswith("docs/_build")
        assert made_by_the_book or list(ROOT.glob(path)), path


def flags_of(command: str, capsys) -> set[str]:
    """Every flag in a command's --help."""
    with pytest.raises(SystemExit):
        importlib.import_module(f"gan_ref.commands.{command}").main(["--help"])
    found = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    return found | flags_of("train", capsys) if command == "compare" else found


@every_page
def test_every_command_and_flag_exists(page, capsys):
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        words = shlex.split(line.split("   #")[0].replace("[", "").replace("]", ""))
        if words[:2] == ["python", "train.py"]:
            command = "train"
        elif words[:3] == ["python", "-m", "gan_ref"] or words[:1] == ["gan-ref"]:
            command = words[3 if words[0] == "python" else 1]
            assert command in COMMANDS, line
        else:
            scripts = [word for word in words[:2] if word.endswith(".py")]
            assert all((ROOT / script).is_file() for script in scripts), line
            continue
        assert {word for word in words if word.startswith("--")} <= flags_of(command, capsys), line
