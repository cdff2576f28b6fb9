"""The ledger of claims: what papers and articles say, re-run, with a verdict computed from the numbers.

    python -m benchmarks.claims [NAMES] [--seeds N] [--minutes M] [--jobs K]

A group is a file here with a TITLE, a SOURCE and its CLAIMS; a claim is a dataclass (claim.py). What is
measured is a run of train.py, a function, or a file of benchmarks/results/ (arms.py). The numbers stand in
benchmarks/results/claims/GROUP.json, and docs/claims.md is made from them (page.py).
"""

GROUPS = (
    "scores lectures difficulties balancing rates tips improved collapse stabilisers points r3gan".split()
)
