"""What the book takes from the code and from its benchmarks' results when it is built."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import technique_pages
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parent.parent
RESULTS = DOCS.parent / "benchmarks" / "results"
EXPLORE = DOCS.parent / "gan_ref" / "explore"
ORT_WEB = os.environ.get("GAN_REF_ORT_WEB", "")  # as in tests/chromium.py


def look_up(data: Any, path: list[str]) -> list[float]:
    """The numbers at a path: a key, a place in a list, ``key=value&…`` of a list's members, or ``*``."""
    if not path:
        return [data]
    first, *rest = path
    if first == "*":
        members = data.values() if isinstance(data, dict) else data
        return [number for member in members for number in look_up(member, rest)]
    if "=" in first:
        wanted = [part.split("=") for part in first.split("&")]
        members = [member for member in data if all(str(member[key]) == value for key, value in wanted)]
        return look_up(members, ["*", *rest])
    return look_up(data[int(first) if isinstance(data, list) else first], rest)


def number(data: Any, cell: str) -> str:
    """``path``, ``path %`` or ``path * factor`` → the number; of several the mean and the range."""
    path, percent, factor = re.fullmatch(r"(.*?)(?: (%)| \* ([\de.+-]+))?", cell).groups()  # type: ignore
    values = look_up(data, path.split("/"))
    if not values:
        raise LookupError(path)

    def text(value: float) -> str:
        value *= float(factor or 1)
        return f"{value:.0%}" if percent else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

    return text(mean(values)) + (f" ({text(min(values))} to {text(max(values))})" if len(values) > 1 else "")


def nested(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    """What these lines of Markdown are."""
    return directive.parse_text_to_nodes("\n".join(lines))


class Results(SphinxDirective):
    """A table of numbers of benchmarks/results/: head, then rows of a label and paths, cells between bars."""

    required_arguments = 1  # the file
    has_content = True

    def run(self) -> list[nodes.Node]:
        data = json.loads((RESULTS / self.arguments[0]).read_text(encoding="utf-8"))
        self.env.note_dependency(str(RESULTS / self.arguments[0]))
        head, *rows = ([cell.strip() for cell in line.split("|")] for line in self.content)
        try:
            rows = [[label, *(number(data, path) for path in paths)] for label, *paths in rows]
        except (LookupError, ValueError, TypeError) as error:
            raise self.error(f"{self.arguments[0]} has nothing at {error}") from error
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        source = f"From `benchmarks/results/{self.arguments[0]}`"
        source += f": `{data['command']}`" if "command" in data else ""
        text = [*(f"| {' | '.join(line)} |" for line in lines), "", source + "."]
        return nested(self, text)


class Embed(SphinxDirective):
    """The page.html that commands write, in a frame; where they cannot, a picture of it.

    The commands run once: what they wrote is kept in docs/_build/embedded until they or the package's
    templates change.
    """

    required_arguments = 2  # a name, and a picture
    has_content = True

    def run(self) -> list[nodes.Node]:
        name, picture = self.arguments
        templates = [path.read_text(encoding="utf-8") for path in sorted(EXPLORE.glob("*.*"))]
        key = hashlib.sha256("".join([*self.content, *templates, ORT_WEB]).encode()).hexdigest()[:12]
        folder = DOCS / "_build" / "embedded" / f"{name}-{key}"
        said = ""
        if not (folder / "page.html").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            for line in self.content:
                words = [sys.executable, "-m", "gan_ref", *shlex.split(line)[1:]]
                words += ["--offline", ORT_WEB] if ORT_WEB and "demo" in words else []
                environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
                done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
                said = done.stderr.strip() if done.returncode else ""
        text = ["```sh", *self.content, "```"]
        if (folder / "page.html").is_file():
            target = Path(self.env.app.outdir, "embedded", f"{name}.html")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "page.html", target)
            shown = f'<iframe src="embedded/{name}.html" title="{name}" loading="lazy" '
            shown += 'style="width: 100%; height: 44rem; border: 0"></iframe>'
            shown += f'<p><a href="embedded/{name}.html">The page by itself</a>. It is what this writes:</p>'
        else:
            logging.getLogger(__name__).info("%s is left out: %s", name, said)
            shown = f"![{name}, which could not be made here]({picture})"
        return nested(self, [shown, "", *text])


def pattern(label: str) -> str:
    """What a text calls the paper "Author et al. 2016": also by all authors, (2016), or over a line's end."""
    name, _, year = label.rpartition(" ")
    name = re.escape(name).replace(r"\ ", r"\s")
    name = name.replace(r"\set\sal\.", r"(?:\set\sal\.|(?:,\s\w+)+\s&\s\w+)")
    return rf"({name},?\s\(?{year}(?!\d))"


NOT_PROSE = re.compile(r"(^ *```.*?^ *```|^#.*?$|\[[^]]*\]\([^)]*\)|`[^`]+`)", re.M | re.S)
PAPERS = dict(re.findall(r"^- \[(.+?)\]\((.+?)\)", (DOCS / "papers.md").read_text(encoding="utf-8"), re.M))
PAPER = re.compile("|".join(map(pattern, PAPERS)))


def link(app: Any, docname: str, source: list[str]) -> None:
    """Makes every "Author et al. 2016" a link to the paper, and every `R1` one to that technique's page."""
    parts, up = NOT_PROSE.split(source[0]), "../" * docname.count("/")
    for k, part in enumerate(parts):
        if k % 2 == 0:
            parts[k] = PAPER.sub(lambda m: f"[{m[0]}]({[*PAPERS.values()][m.lastindex - 1]})", part)
        elif place := app.techniques.get(part.strip("`")) if part[0] == "`" else None:
            parts[k] = f"[{part}]({up}generated/{place}.md)"
    source[0] = "".join(parts)


def begin(app: Any) -> None:
    app.techniques = technique_pages.write(DOCS / "generated")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("results", Results)
    app.add_directive("embed", Embed)
    app.connect("builder-inited", begin)
    app.connect("source-read", link)
    return {"parallel_read_safe": True}
