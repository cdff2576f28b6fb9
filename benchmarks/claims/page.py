"""docs/claims.md, made from the ledger."""

import math
import re
import textwrap
from collections import Counter
from pathlib import Path

from benchmarks.claims.arms import Train
from benchmarks.claims.claim import DIRECTION, NOT, NOT_TRIED, REPRODUCED, Claim, Results, show, title
from benchmarks.claims.ledger import Ledger, groups
from gan_ref.files import write_atomically

DOCS = Path(__file__).parent.parent.parent / "docs"
VERDICTS = (REPRODUCED, DIRECTION, NOT, NOT_TRIED)
INTRODUCTION = """\
# The claims, re-run

What papers and articles say about training GANs, and what came out here. `python -m benchmarks.claims`
measures what is missing and writes this page from benchmarks/results/claims/ and the other files of
benchmarks/results/. A verdict is computed from the numbers, by the rule that stands with each claim:

- **reproduced**: the rule holds;
- **in direction only**: the weaker rule holds, such as the sign of a difference within the seeds' spread;
- **not reproduced**: neither does;
- **not tried**: there are no numbers, for the reason given.

Numbers are means over the seeds ± their standard deviation, and rules compare the means. Two standard errors
are those of the difference, so one seed gives a direction at most. The settings are small on purpose: a run
takes a minute of one core, unless its command says otherwise. So what was said of long runs on photographs is
tried here on a short one, and a claim that is not reproduced here may hold there.

What a source says is paraphrased. Its numbers and places were held against the paper, the article, the
authors' code or others' notes on them; where a place could not be found, none is named. The rules are ours.
"""


def lacks(claim: Claim) -> str | None:
    """The data that a re-run needs and that is not here."""
    return next(
        (lack for arm in claim.arms.values() if isinstance(arm, Train) and (lack := arm.lacks())), None
    )


def wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def fold(command: str) -> str:
    """A command over several lines, none of which ends between a flag and its value, or within quotes."""
    together = re.sub(
        r'--\S+ (?!-)|"[^"]*"', lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), command
    )
    return wrap(together, "    ").replace("\n", " \\\n").replace("\N{NO-BREAK SPACE}", " ")


def cell(results: Results, arm: str, quantity: str) -> str:
    """Mean ± standard deviation over the seeds."""
    mean, spread = results(arm, quantity), results.spread(arm, quantity)
    if math.isnan(mean):
        return "–"
    return show(quantity, mean) + ("" if math.isnan(spread) else f" ± {show(quantity, spread)}")


def table(claim: Claim, results: Results) -> str:
    lines = [["", "seeds", *map(title, claim.shows)], ["---", *["---:"] * (1 + len(claim.shows))]]
    for arm, seeds in results.arms.items():
        if seeds:
            failed = sum("failure" in seed for seed in seeds)
            count = f"{len(seeds)}" + (f", {failed} stopped" if failed else "")
            lines.append([arm, count, *(cell(results, arm, quantity) for quantity in claim.shows)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def section(claim: Claim, results: Results) -> str:
    """One claim: source, sentence, numbers, rule, commands, cost."""
    verdict = claim.verdict(results)
    parts = [f"### {claim.name}: {verdict}", wrap(f"{claim.source}: {claim.says}")]
    if any(results.arms.values()):
        parts.append(table(claim, results).rstrip())
    rules = [f"- Rule: {claim.reproduced.words}."]
    if claim.direction:
        rules.append(f"- Weaker rule: {claim.direction.words}.")
    parts.append("\n".join(wrap(rule, "  ") for rule in rules))
    if claim.remark:
        parts.append(wrap(claim.remark))
    cost = f"{claim.minutes:.1f} minutes of one core a seed"
    if claim.minutes < 0.1:
        cost = "seconds" if claim.minutes else "the numbers are recorded"
    if verdict == NOT_TRIED:
        parts.append(wrap(f"Not tried yet: it takes {claim.needs + ', ' if claim.needs else ''}{cost}."))
    else:
        parts.append(wrap(f"Cost: {cost}."))
    commands = [f"python -m benchmarks.claims {claim.name}"]
    commands += dict.fromkeys(arm.command for arm in claim.arms.values() if arm.command)
    folded = "\n".join(map(fold, commands))
    return "\n\n".join([*parts, f"```sh\n{folded}\n```"])


def count(rows: list[tuple[Claim, Results]]) -> str:
    """'79 claims: 27 reproduced, …': the sentence that the README has too."""
    total = Counter(claim.verdict(results) for claim, results in rows)
    words = ", ".join(f"{total[verdict]} {verdict}" for verdict in VERDICTS)
    tried = [results for claim, results in rows if claim.verdict(results) != NOT_TRIED]
    single = sum(min(map(len, results.arms.values())) == 1 for results in tried)
    return f"{len(rows)} claims: {words}. Of those tried, {single} rest on one seed."


def render(ledger: Ledger) -> str:
    """The whole page."""
    known = {name: [(c, ledger.results(c)) for c in m.CLAIMS] for name, m in groups().items()}
    verdicts = {name: Counter(c.verdict(r) for c, r in rows) for name, rows in known.items()}
    lines = [INTRODUCTION, count([row for rows in known.values() for row in rows]) + "\n"]
    lines += [f"| group | {' | '.join(VERDICTS)} |", f"|---|{'---:|' * len(VERDICTS)}"]
    for name, module in groups().items():
        counts = " | ".join(str(verdicts[name][verdict] or "") for verdict in VERDICTS)
        anchor = "".join(c for c in module.TITLE.lower() if c.isalnum() or c in " -").replace(" ", "-")
        lines.append(f"| [{module.TITLE}](#{anchor}) | {counts} |")
    parts = ["\n".join(lines)]
    for name, module in groups().items():
        parts += [f"## {module.TITLE}", wrap(module.SOURCE)]
        if (DOCS / getattr(module, "PICTURE", "none.png")).exists():
            parts.append(f"![{module.PICTURE_SAYS}]({module.PICTURE})")
        parts += [section(claim, results) for claim, results in known[name]]
    return "\n\n".join(parts) + "\n"


def write(ledger: Ledger) -> None:
    for module in groups().values():
        if hasattr(module, "draw"):
            module.draw(ledger, DOCS / module.PICTURE)
    with write_atomically(DOCS / "claims.md") as part:
        part.write_text(render(ledger), encoding="utf-8")
