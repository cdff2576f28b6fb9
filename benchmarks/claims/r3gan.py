"""R3GAN: which of its parts are needed."""

from __future__ import annotations

from benchmarks.claims.arms import Train
from benchmarks.claims.claim import Claim, Rule, less, within
from benchmarks.claims.collapse import GPU, LENGTH, SHOWS, recorded, stacked

TITLE = "R3GAN"
PAPER = "Huang et al. 2024 (R3GAN), on stacked MNIST"
SOURCE = f"{PAPER}. The authors' networks are residual; here they are a DCGAN's, without norm in D."
BARE = "--schedules \"Cosine(of='lr', last=0.25)\" \"Cosine(of='beta2', last=1.1)\""
ONE = f"{BARE} \"Cosine(of='R1.weight', last=0.1)\""
ARMS: dict[str, Train] = {
    "relativistic alone": stacked("r3gan", f"--penalties {BARE}"),
    "with R1": stacked("r3gan", f'--penalties "R1(weight=0.05)" {ONE}'),
    "with R1 and R2": stacked("r3gan"),
}
ALONE, R1, BOTH = ARMS


def stopped(arm: str) -> Rule:
    """A run that diverged was stopped, with its reason."""
    return Rule(f"{arm} diverges in some seed", lambda r: any("failure" in seed for seed in r.arms[arm]))


def either(a: Rule, b: Rule) -> Rule:
    return Rule(f"{a.words}, or {b.words}", lambda r: a.holds(r) or b.holds(r))


def fails(name: str, arm: str, says: str) -> Claim:
    lost = either(stopped(arm), within(arm, "modes", high=900))
    return Claim(
        name, PAPER, says, {arm: ARMS[arm], BOTH: ARMS[BOTH]}, lost, less(arm, BOTH, "modes"), SHOWS, GPU
    )


CLAIMS = (
    fails("relativistic-alone", ALONE, "the relativistic loss alone diverges or drops modes."),
    fails("r1-not-enough", R1, "with R1 on the reals alone it still fails."),
    Claim(
        "r1-and-r2", PAPER, "with R1 and R2 it converges, with all 1,000 modes.",
        {BOTH: recorded("r3gan, nearest")}, within(BOTH, "modes", low=995), within(BOTH, "modes", low=900),
        SHOWS,
        remark=f"{LENGTH} G enlarges by nearest neighbours and a convolution.",
    ),
)  # fmt: skip
