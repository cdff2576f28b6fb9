"""A page for each technique of the table in docs/techniques.md, written to docs/generated/ before a build."""

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from gan_ref.config import Config
from gan_ref.recipes import RECIPES

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent


class Row(NamedTuple):
    paper: str
    names: list[str]
    files: list[str]  # relative to gan_ref/
    made: list[str]  # recipes and flags


def table() -> list[Row]:
    rows, paper = [], ""
    text = (DOCS / "techniques.md").read_text(encoding="utf-8")
    body = text.split("| paper | technique | where | recipe |\n", 1)[1].split("\n\n", 1)[0]
    for line in body.splitlines()[1:]:
        first, *cells = line.strip("|").split("|")
        paper = first.strip() or paper
        names, files, made = (re.findall(r"`([^`]+)`", cell) for cell in cells)
        there = Path(files[0]).parent  # a file without a folder is in that of the first, or of the package
        files = [f if (ROOT / "gan_ref" / f).exists() else (there / f).as_posix() for f in files]
        rows.append(Row(paper, names, files, made))
    return rows


def find(name: str, row: Row) -> Any:
    """The class or function of that name in one of the row's files; None if it is in none."""
    paths = [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in row.files]
    modules = [importlib.import_module(f"gan_ref.{path}") for path in paths]
    return next((getattr(found, name) for found in modules if hasattr(found, name)), None)


def markdown(docstring: str) -> str:
    """A docstring as Markdown: indented blocks are equations and commands, to be shown as they are."""
    blocks = re.sub(r"``([^`]+)``", r"`\1`", inspect.cleandoc(docstring)).split("\n\n")
    return "\n\n".join(
        f"```text\n{inspect.cleandoc(block)}\n```" if block.startswith("    ") else block.replace("*", r"\*")
        for block in blocks
    )


def measured(recipes: list[str]) -> str:
    """What benchmarks/results/ holds about these recipes."""
    results = ROOT / "benchmarks" / "results"
    faces, grid = (json.loads((results / f).read_text()) for f in ("faces.json", "grid25-all.json"))
    points = {row["recipe"]: row for row in grid["table"] if "modes" in row}
    rows = []
    for name in recipes:
        image, modes = faces["runs"].get(name), points.get(name)
        on_faces = f"{image['frechet']:.1f} | {image['recall']:.2f}" if image else " | "
        on_grid = f"{modes['modes']['mean']:.1f} | {modes['high_quality']['mean']:.0%}" if modes else " | "
        rows += [f"| `{name}` | {on_faces} | {on_grid} |"] if image or modes else []
    head = "| recipe | Fréchet | recall | modes of 25 | high quality |\n|---|---:|---:|---:|---:|\n"
    sources = "\n\nFirst `faces`, 2,000 rounds at width 32, one seed (benchmarks/results/faces.json); then "
    sources += "`grid25`, 6,000 rounds, mean of three seeds (benchmarks/results/grid25-all.json)."
    return "## Measured\n\n" + head + "\n".join(rows) + sources if rows else ""


def claims(name: str, recipes: list[str]) -> str:
    """The claims of docs/claims.md that were tried and that name it, or a recipe of its own."""
    page = DOCS / "claims.md"
    _, *sections = page.read_text(encoding="utf-8").split("\n### ") if page.is_file() else [""]
    words = rf"\b{name}\b" + "".join(rf"|--recipe {r}\s" for r in recipes if r not in ("dcgan", "baseline"))
    lines = []
    for section in sections:
        head, text, *_ = section.split("\n\n")
        if not head.endswith("not tried") and re.search(words, section):
            lines.append(f"- [{head}](../claims.md#{head.replace(': ', '-').replace(' ', '-')}): {text}")
    return "## Claims\n\n" + "\n".join(lines) if lines else ""


def page(thing: Any, title: str, rows: list[Row]) -> str:
    source = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "").relative_to(ROOT).as_posix()
    fields = (
        "objective",
        "penalties",
        "balance",
        "update",
        "instance_noise",
        "augment",
        "growth",
        "schedules",
    )
    flags = [made for row in rows for made in row.made if made.startswith("--")]
    recipes = []  # the table says so, or their settings name it
    for recipe in RECIPES:
        text = " ".join(str(getattr(Config(**RECIPES[recipe].settings), field)) for field in fields)
        if any(recipe in row.made for row in rows) or re.search(rf"\b{thing.__name__}\b", text):
            recipes.append(recipe)
    commands = [f"python train.py {flag}" for flag in (*flags, *(f"--recipe {r}" for r in recipes[:1]))]
    told = [f"- `{r}`: {RECIPES[r].line} ({RECIPES[r].paper})" for r in recipes]
    parts = [
        f"# {title}",
        "; ".join(dict.fromkeys(row.paper for row in rows)),
        markdown(thing.__doc__ or ""),
        f"`{source}`:\n\n```{{literalinclude}} ../../{source}\n:pyobject: {thing.__name__}\n```",
        "## To play it\n\n```sh\n" + "\n".join(commands) + "\n```\n\n" + "\n".join(told),
        measured(recipes),
        claims(thing.__name__, [made for row in rows for made in row.made if made in RECIPES]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def techniques() -> dict[str, tuple[Any, list[Row]]]:
    """The name of each page → the class or function, and its rows of the table."""
    found: dict[Any, list[Row]] = {}
    for row in table():
        for name in row.names:
            if thing := find(name, row):
                found.setdefault(thing, []).append(row)
    place = lambda thing: f"{thing.__module__.removeprefix('gan_ref.')}.{thing.__name__}"
    return {place(thing).replace(".", "-").lower(): (thing, rows) for thing, rows in found.items()}


def alone() -> dict[str, str]:
    """The page of each technique whose name no other one has."""
    names = [thing.__name__ for thing, _ in techniques().values()]
    pages = techniques().items()
    return {thing.__name__: place for place, (thing, _) in pages if names.count(thing.__name__) == 1}


def write(folder: Path) -> dict[str, str]:
    """All pages and their index, each only if it has changed. Returns ``alone()``."""
    pages, unique = {}, alone()
    for place, (thing, rows) in techniques().items():
        title = thing.__name__
        title += "" if title in unique else f" ({thing.__module__.removeprefix('gan_ref.')})"
        pages[place] = page(thing, title, rows)
    toc = "\n".join(pages)
    pages["index"] = f"# A page for each technique\n\n```{{toctree}}\n:maxdepth: 1\n\n{toc}\n```\n"
    folder.mkdir(exist_ok=True)
    for old in {path.stem for path in folder.glob("*.md")} - set(pages):
        (folder / f"{old}.md").unlink()
    for place, text in pages.items():
        path = folder / f"{place}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return unique
