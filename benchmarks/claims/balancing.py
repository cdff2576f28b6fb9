"""The balancing article: panels A, B and C, and its further advice."""

from benchmarks.claims.arms import Train, short
from benchmarks.claims.claim import Claim, clearly_less, less, within

TITLE = "Balancing"
ARTICLE = "Larsen & Sønderby 2015, “Generating faces with Torch”"
SOURCE = (
    f"{ARTICLE}. The panels are 1,000 rounds of 32 at width 32 with the article's networks; the other claims "
    "vary the recipe `dcgan`, 600 rounds of 32 at width 16. See also [techniques](techniques.md)."
)
PICTURE = "claims-lfw.png"
PICTURE_SAYS = "samples after 5 and after 100 epochs of LFW, as in epochs-of-lfw, seed 0"
SHOWS = "frechet", "modes", "d_loss", "g_loss", "fools", "sees_fakes", "sees_reals"


def panel(recipe: str) -> Train:
    return Train(recipe, "--data faces --steps 1000 --image-size 32 --width 32 --threads 1 --device cpu", 1)


A, B, C = map(panel, ("face-2015-bn", "face-2015-margin", "face-2015-l2"))
BASE = short()
LFW = "--device cpu --threads 1 --data lfw-aligned.zip --image-size 32 --width 16 --flip"
CLAIMS = (
    Claim(
        "panel-a",
        f"{ARTICLE}, panel A",
        "batch norm makes D too powerful: the training never converges (and samples are gibberish, as the "
        "article shows of a G trained without care).",
        {"A: batch norm in D": A, "B: margin": B, "C: adaptive L2": C},
        within("A: batch norm in D", "sees_fakes", low=0.99)
        & within("A: batch norm in D", "sees_reals", low=0.99)
        & less("C: adaptive L2", "A: batch norm in D", "frechet", 0.5),
        within("A: batch norm in D", "d_loss", high=0.1),
        SHOWS,
    ),
    Claim(
        "panel-b",
        f"{ARTICLE}, panel B",
        "a player that is too good waits (margin 0.3, no batch norm in D), and the training converges.",
        {"B: margin": B, "A: batch norm in D": A},
        within("B: margin", "sees_reals", 0.5, 0.95)
        & within("B: margin", "sees_fakes", 0.5, 0.95)
        & less("B: margin", "A: batch norm in D", "frechet", 0.5),
        less("B: margin", "A: batch norm in D", "frechet"),
        SHOWS,
    ),
    Claim(
        "panel-c",
        f"{ARTICLE}, panel C",
        "an L2 penalty on D that grows while G's loss is over 1.3 and shrinks below 0.9 keeps D better than "
        "G, but not too much.",
        {"C: adaptive L2": C},
        within("C: adaptive L2", "g_loss", 0.9, 1.3),
        within("C: adaptive L2", "d_loss", 0.9, 1.3),
        SHOWS,
        remark="The bounds are the article's code; its text has 0.9 to 1.2. The penalty looks at G's loss. "
        "The weaker rule asks for D's, the sum of two errors.",
    ),
    Claim(
        "dropout-against-oscillation",
        ARTICLE,
        "plenty of dropout in D avoids oscillation.",
        {"dropout 0.5": short("--d-dropout 0.5"), "none": BASE},
        clearly_less("dropout 0.5", "none", "g_loss_swing"),
        less("dropout 0.5", "none", "g_loss_swing"),
        ("g_loss_swing", "d_loss_swing", "frechet", "sees_fakes"),
        remark="The swing is the standard deviation of a loss over the second half of the run.",
    ),
    Claim(
        "batch-norm-in-g",
        ARTICLE,
        "batch norm in G speeds up training a lot.",
        {"batch norm in G": short("--norm-d none"), "none": short("--norm-d none --norm-g none")},
        clearly_less("batch norm in G", "none", "frechet"),
        less("batch norm in G", "none", "frechet"),
        ("frechet", "modes", "sees_fakes", "sees_reals"),
    ),
    Claim(
        "batch-norm-in-d",
        ARTICLE,
        "batch norm in D is dangerous, as D becomes too powerful.",
        {"none": short("--norm-d none"), "batch norm in D": BASE},
        clearly_less("none", "batch norm in D", "frechet"),
        less("none", "batch norm in D", "frechet"),
        ("frechet", "modes", "sees_fakes", "sees_reals"),
        remark="Here D's batches are of reals or of fakes; the article's are mixed, which is panel A.",
    ),
    Claim(
        "more-filters-in-g",
        ARTICLE,
        "it may help to limit D: fewer features, so that G has more parameters.",
        {"G 16, D 11": short("--d-width 11"), "G 16, D 16": BASE, "G 16, D 23": short("--d-width 23")},
        clearly_less("G 16, D 11", "G 16, D 16", "frechet")
        & clearly_less("G 16, D 11", "G 16, D 23", "frechet"),
        less("G 16, D 11", "G 16, D 16", "frechet") & less("G 16, D 11", "G 16, D 23", "frechet"),
        ("frechet", "modes", "sees_fakes", "sees_reals"),
        remark="On flowers weights-of-half, of the notes on difficulties, plays the same.",
    ),
    Claim(
        "epochs-of-lfw",
        ARTICLE,
        "faces are spooky after 5 epochs of LFW, and more pleasant after 100.",
        {
            "5 epochs": Train("baseline", f"{LFW} --steps 1200", 0.5, 3000),
            "100 epochs": Train("baseline", f"{LFW} --steps 24000", 5, 3000),
        },
        clearly_less("5 epochs", "100 epochs", "pixel_recall"),
        less("5 epochs", "100 epochs", "pixel_recall"),
        ("pixel_precision", "pixel_recall"),
        remark="At 32×32 and width 16, with the package's default recipe.",
        needs="Labeled Faces in the Wild as lfw-aligned.zip",
    ),
)
