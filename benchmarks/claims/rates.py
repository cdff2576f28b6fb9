"""Labels and rates against mode collapse."""

from benchmarks.claims.arms import Recorded, Train
from benchmarks.claims.claim import Claim, clearly_less, less

TITLE = "Labels and rates"
ADVICE = "Advice without a known source"
SOURCE = (
    "Advice of tutorials against mode collapse, paraphrased: where it was first given has not been found. "
    "Tried on `ring8` with the recipe `dcgan` and rates of 2e-3 at β₁ = 0.9, a game that loses modes (see "
    "[failures](failures.md)). Modes of 8, means over the last 200 of 1,000 rounds."
)
RING = "--data ring8 --device cpu --steps 1000 --log-every 10 --sample-every 500"
SHOWS = "modes", "high_quality", "average_modes", "average_high_quality", "d_loss_swing"
LOST = "both rates 2e-3"


def ring(flags: str) -> Train:
    return Train("dcgan", f"{RING} {flags}", 0.25)


BASE = ring("--beta1 0.9 --lr-g 2e-3 --lr-d 2e-3")


def more_modes(name: str, source: str, says: str, cure: str, arm: Train, remark: str = "") -> Claim:
    rules = clearly_less(LOST, cure, "modes"), less(LOST, cure, "modes")
    return Claim(name, source, says, {LOST: BASE, cure: arm}, *rules, SHOWS, remark=remark)


def grid_runs(recipe: str):
    return lambda data: [run for run in data["runs"] if run["recipe"] == recipe]


GRID = (
    "python -m gan_ref compare --data grid25 --recipes dcgan,label-smoothing,ttur --seeds 3 --steps 6000 "
    "--out runs/grid25"
)
PLAIN, SMOOTH, TWO = (
    Recorded("grid25-all.json", grid_runs(r), GRID) for r in ("dcgan", "label-smoothing", "ttur")
)
CLAIMS = (
    more_modes(
        "smoothing-ring",
        f"{ADVICE}; Salimans et al. 2016, §3.4",
        "one-sided label smoothing (0.9) helps against mode collapse.",
        "real label 0.9",
        ring('--beta1 0.9 --lr-g 2e-3 --lr-d 2e-3 --objective "NonSaturating(real_label=0.9)"'),
        "The paper smooths labels, and does not say that it helps against collapse.",
    ),
    more_modes(
        "two-time-scales-ring",
        f"{ADVICE}; Heusel et al. 2017",
        "so does a D that learns four times as fast as G.",
        "D 4e-3, G 1e-3",
        ring("--beta1 0.9 --lr-g 1e-3 --lr-d 4e-3"),
        "The advice has 4e-4 and 1e-4 (as Zhang et al. 2019); here their ratio is tried about the same mean.",
    ),
    more_modes(
        "lower-rate-ring",
        ADVICE,
        "a lower rate cures collapse.",
        "both rates 2e-4",
        ring("--beta1 0.9 --lr-g 2e-4 --lr-d 2e-4"),
    ),
    more_modes(
        "less-momentum-ring",
        "Gidel et al. 2019",
        "momentum makes players oscillate, and a negative one converges where others do not.",
        "β₁ = 0",
        ring("--beta1 0 --lr-g 2e-3 --lr-d 2e-3"),
        "Here none is compared with 0.9; Adam has no negative one.",
    ),
    Claim(
        "smoothing-grid",
        f"{ADVICE}; Salimans et al. 2016, §3.4",
        "one-sided label smoothing finds more modes of the grid of 25 Gaussians.",
        {"dcgan": PLAIN, "real label 0.9": SMOOTH},
        clearly_less("dcgan", "real label 0.9", "modes"),
        less("dcgan", "real label 0.9", "modes"),
        SHOWS[:4],
    ),
    Claim(
        "two-time-scales-grid",
        f"{ADVICE}; the rates are Zhang et al.'s, 2019",
        "rates of 4e-4 for D and 1e-4 for G find more modes of the grid than 2e-4 for both.",
        {"dcgan": PLAIN, "D 4e-4, G 1e-4": TWO},
        clearly_less("dcgan", "D 4e-4, G 1e-4", "modes"),
        less("dcgan", "D 4e-4, G 1e-4", "modes"),
        SHOWS[:4],
    ),
)
