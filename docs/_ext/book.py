"""What the book takes from the code and from its benchmarks' results when it is built."""

from __future__ import annotations

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
from docutils.statemachine import StringList
from sphinx.transforms import SphinxTransform
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
        block = nodes.container(classes=["results"])
        self.state.nested_parse(StringList(text, self.arguments[0]), self.content_offset, block)
        return [block]


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
        text = "\n".join(["```sh", *self.content, "```"])
        if (folder / "page.html").is_file():
            target = Path(self.env.app.outdir, "embedded", f"{name}.html")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "page.html", target)
            style = "width: 100%; height: 44rem; border: 0"
            frame = (
                f'<iframe src="embedded/{name}.html" title="{name}" loading="lazy" style="{style}"></iframe>'
            )
            link = f'<p><a href="embedded/{name}.html">The page by itself</a>. It is what this writes:</p>'
            block: list[nodes.Node] = [nodes.raw("", frame + link, format="html")]
        else:
            logging.getLogger(__name__).info("%s is left out: %s", name, said)
            block = []
            text = f"![{name}, which could not be made here]({picture})\n\n{text}"
        rest = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), name), self.content_offset, rest)
        return [*block, rest]


class PaperLinks(SphinxTransform):
    """Makes every "Author et al. 2016" a link to the paper of that name in docs/papers.md."""

    default_priority = 500
    papers = dict(
        re.findall(r"^- \[(.+?)\]\((.+?)\)", (DOCS / "papers.md").read_text(encoding="utf-8"), re.M)
    )

    @staticmethod
    def pattern(label: str) -> str:
        name, _, year = label.rpartition(" ")
        name = re.escape(name).replace(r"\ ", r"\s")  # a line may end there
        name = name.replace(r"\set\sal\.", r"(?:\set\sal\.|(?:,\s\w+)+\s&\s\w+)")  # or all the names
        return rf"{name},?\s\(?{year}(?!\d)"

    def apply(self) -> None:
        labels = {re.compile(self.pattern(label)): label for label in self.papers}
        for block in self.document.findall(nodes.TextElement):
            if isinstance(block, (nodes.reference, nodes.literal, nodes.FixedTextElement, nodes.title)):
                continue
            children: list[nodes.Node] = []
            for child in block.children:  # the lines of a paragraph are apart: join them
                joins = type(child) is nodes.Text and children and type(children[-1]) is nodes.Text
                children[-1:] = [nodes.Text(children[-1] + child)] if joins else [*children[-1:], child]
            block.children = []
            for child in children:
                block += self.linked(str(child), labels) if type(child) is nodes.Text else [child]

    def linked(self, text: str, labels: dict[re.Pattern[str], str]) -> list[nodes.Node]:
        found = sorted((m.start(), m.end(), label) for p, label in labels.items() for m in p.finditer(text))
        parts: list[nodes.Node] = []
        end = 0
        for start, stop, label in found:
            if start >= end:
                address = self.papers[label]
                name = text[start:stop]
                parts += [nodes.Text(text[end:start]), nodes.reference("", name, refuri=address)]
                end = stop
        return [*parts, nodes.Text(text[end:])]


class TechniqueLinks(SphinxTransform):
    """Makes every `R1` a link to the page of that technique."""

    default_priority = 500
    pages = technique_pages.alone()

    def apply(self) -> None:
        up = "../" * self.env.docname.count("/")
        for literal in list(self.document.findall(nodes.literal)):
            place = self.pages.get(literal.astext())
            if place and not isinstance(literal.parent, (nodes.reference, nodes.title)):
                address = f"{up}generated/{place}.html"
                literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=address))


def before(app: Any) -> None:
    technique_pages.write(DOCS / "generated")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("results", Results)
    app.add_directive("embed", Embed)
    app.add_transform(PaperLinks)
    app.add_transform(TechniqueLinks)
    app.connect("builder-inited", before)
    return {"parallel_read_safe": True}
