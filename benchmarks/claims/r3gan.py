"""R3GAN: which of its parts are needed."""

from benchmarks.claims.arms import Train
from benchmarks.claims.claim import Claim, Rule, less, within
from benchmarks.claims.collapse import LENGTH, SHOWS, recorded

TITLE = "R3GAN"
PAPER = "Huang et al. 2024 (R3GAN)"
TABLE = f"{PAPER}, §2.4 and table 1"
SOURCE = (
    f"{PAPER}, on stacked MNIST. The authors' networks are small residual ones without norms; here they are "
    "a DCGAN's, without norm in D."
)
BARE = "--schedules \"Cosine(of='lr', last=0.25)\" \"Cosine(of='beta2', last=1.1)\""
ONE = f"{BARE} \"Cosine(of='R1.weight', last=0.1)\""
STACKED = "--data stacked-mnist:mnist/ --image-size 32 --width 32 --batch-size 64 --steps 10000"
STACKED += " --upsample nearest --sample-every 2000"
ARMS = {
    "relativistic alone": Train("r3gan", f"{STACKED} --penalties {BARE}", 15, 26_000),
    "with R1": Train("r3gan", f'{STACKED} --penalties "R1(weight=0.05)" {ONE}', 25, 26_000),
    "with R1 and R2": recorded("r3gan, nearest"),
}
ALONE, R1, BOTH = ARMS


def stopped(arm: str) -> Rule:
    """A run that diverged was stopped, with its reason."""
    return Rule(f"*{arm}* diverges in some seed", lambda r: any("failure" in seed for seed in r.arms[arm]))


def either(a: Rule, b: Rule) -> Rule:
    return Rule(f"{a.words}, or {b.words}", lambda r: a.holds(r) or b.holds(r))


def fails(name: str, source: str, arm: str, says: str) -> Claim:
    lost = either(stopped(arm), within(arm, "modes", high=900))
    arms = {arm: ARMS[arm], BOTH: ARMS[BOTH]}
    return Claim(name, source, says, arms, lost, less(arm, BOTH, "modes"), SHOWS, "MNIST")


CLAIMS = (
    fails(
        "relativistic-alone", f"{PAPER}, §2.3, proposition I", ALONE,
        "gradient descent on the relativistic loss alone does not always converge.",
    ),
    fails("r1-not-enough", TABLE, R1, "with R1 on the reals alone training diverges early."),
    Claim(
        "r1-and-r2", TABLE,
        "with R1 and R2 it converges, with all 1,000 modes and a KL of 0.078; without pairs there are 693.",
        {BOTH: recorded("r3gan, nearest")}, within(BOTH, "modes", low=995), within(BOTH, "modes", low=900),
        SHOWS,
        remark=f"{LENGTH} G enlarges by nearest neighbours and a convolution. Without pairs is not tried.",
    ),
)  # fmt: skip
