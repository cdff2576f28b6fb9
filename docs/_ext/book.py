"""What the book takes from the code and from its benchmarks' results when it is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import technique_pages
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parent.parent
RESULTS = DOCS.parent / "benchmarks" / "results"


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


def before(app: Any) -> None:
    technique_pages.write(DOCS / "generated")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("results", Results)
    app.add_transform(PaperLinks)
    app.connect("builder-inited", before)
    return {"parallel_read_safe": True}
