"""``python -m benchmarks.claims``: measure what is missing, and write docs/claims.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import GROUPS, page
from benchmarks.claims.ledger import Ledger, groups
from gan_ref.commands.command_line import command
from gan_ref.data.cache import available_cores
from gan_ref.files import lock


@command
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Re-run claims of papers; write their verdicts.")
    add = parser.add_argument
    add("names", nargs="*", help=f"groups or claims [all]: {', '.join(GROUPS)}")
    add("--seeds", type=int, default=3, help="0 writes the page alone [3]")
    add("--minutes", type=float, default=30, help="leave out what costs more of a core for one seed [30]")
    add("--jobs", type=int, default=available_cores(), help="runs at a time, one thread each [the cores]")
    add("--out", type=Path, default=Path("runs/claims"), help="the folder of the runs")
    given = parser.parse_args(argv)
    known = {claim.name: claim for module in groups().values() for claim in module.CLAIMS}
    if unknown := [name for name in given.names if name not in (*GROUPS, *known)]:
        parser.error(f"no group or claim {unknown[0]!r}; groups: {', '.join(GROUPS)}")

    ledger = Ledger()
    for name, module in groups().items():
        wanted = [c for c in module.CLAIMS if not given.names or {name, c.name} & set(given.names)]
        affordable = [c for c in wanted if c.minutes <= given.minutes and not page.lacks(c)]
        for seed in range(given.seeds):
            with lock(given.out / ".claims.lock", wait=False, message="another ledger is being measured"):
                ledger.measure(name, affordable, seed, given.out, given.jobs)
        for claim in wanted:
            print(f"{claim.verdict(ledger.results(claim)):18} {name}: {claim.name}", flush=True)
    page.write(ledger)


if __name__ == "__main__":
    sys.exit(main())
