"""What README and docs/ name exists: techniques, recipes, files, pictures, commands and their flags."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gan_ref.__main__ import COMMANDS
from gan_ref.config import TYPES, flag
from gan_ref.recipes import RECIPES

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "docs" / "chapters").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *CHAPTERS]
sys.path.append(str(ROOT / "docs" / "_ext"))
import technique_pages  # noqa: E402

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@pytest.mark.parametrize("row", technique_pages.table(), ids=lambda row: " ".join(row.names))
def test_every_technique_in_the_table_is_where_it_says(row):
    assert row.names and row.files and row.made
    for name in row.names:
        if name.startswith("--"):
            assert name in map(flag, TYPES)
        else:
            assert technique_pages.find(name, row), f"{name} is not in {row.files}"
    for recipe in row.made:
        first = recipe.split()[0]
        assert first in map(flag, TYPES) if first.startswith("--") else recipe in RECIPES


def test_every_paper_of_the_table_is_on_the_page_of_papers():
    known = re.findall(r"^- \[(.+?)\]", (ROOT / "docs" / "papers.md").read_text(encoding="utf-8"), re.M)
    named = {paper for row in technique_pages.table() for paper in re.findall(r"[^;]+ \d{4}", row.paper)}
    assert {paper.strip() for paper in named} <= set(known)


def test_every_recipe_is_in_the_table():
    assert set(RECIPES) <= {recipe for row in technique_pages.table() for recipe in row.made}


def test_the_readme_is_short_and_every_line_of_it_wraps():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1000
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_short_and_every_line_of_it_wraps(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    assert max(len(line) for line in text.splitlines() if " | " not in line) <= 120  # but of a table


@every_page
def test_every_picture_page_and_file_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r'(?:src="|\]\(|^\[[^]]+\]: )(?!https?:)([\w./-]+)', text, re.M):
        file = page.parent / target
        assert file.is_file() and file.stat().st_size < 1_000_000, target
    for name in re.findall(r"\[([\w./-]+\.md)\](?![:(])", text):
        assert f"[{name}]: " in text, f"{name} is no link"
    for path in re.findall(r"(?<![\w/])((?:gan_ref|tests|benchmarks|csrc|examples|docs)/[\w./*-]*\w)", text):
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


@pytest.mark.full
def test_the_exercises_have_holes_that_the_solutions_fill():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "docs/exercises"]
    solved = subprocess.run([*command, "--solutions"], cwd=ROOT, capture_output=True, text=True)
    assert solved.returncode == 0, solved.stdout
    empty = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert "NotImplementedError" in empty and "passed" not in empty
