"""Test error with few labels: with the rest of the data as unlabelled samples, and on those labels alone.

    python benchmarks/semi_supervised.py --data MNIST_FOLDER [--seeds 3] [--out DIR] [train.py's flags]

For each draw of the labels (the seed) two runs of ``--recipe semi-supervised`` differ in one number: the
weight of the unlabelled part of D's loss, 1 or 0. Network, noise, weight average, steps and labels are the
same. A run that is there is not repeated, one that was stopped is resumed. Prints a table and writes
DIR/semi_supervised.json.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from gan_ref.commands.train import main as train

OBJECTIVES = {
    "semi-supervised": "SemiSupervised(unlabelled=1.0)",
    "labels alone": "SemiSupervised(unlabelled=0.0)",
}


def test_error(folder: Path, flags: list[str]) -> tuple[float, float]:
    """(test error at the end, seconds a step) of the run in ``folder``, made or finished first."""
    if (folder / "checkpoint.pt").exists():
        train(["--resume", str(folder)])  # says so, and changes nothing, if it is finished
    elif status := train([*flags, "--out", str(folder)]):
        sys.exit(status)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rate = statistics.median(row["images_per_second"] for row in rows)
    return next(row["test_error"] for row in reversed(rows) if "test_error" in row), rate


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="semi-supervised")
    parser.add_argument("--out", type=Path, default=Path("runs/semi-supervised"))
    options, flags = parser.parse_known_args()

    errors: dict[str, list[float]] = {name: [] for name in OBJECTIVES}
    for seed in range(options.seeds):
        for name, objective in OBJECTIVES.items():
            folder = options.out / f"{name.replace(' ', '-')}-{seed}"
            run = ["--recipe", options.recipe, "--data", options.data, "--seed", str(seed), "--no-walk"]
            error, rate = test_error(folder, [*run, "--objective", objective, *flags])
            errors[name].append(error)
            print(f"{name}, labels of seed {seed}: test error {error:.2%} ({rate:.0f} images/s)", flush=True)

    print(f"\n{'':16}  mean test error  each draw")
    for name, values in errors.items():
        print(f"{name:16}  {statistics.mean(values):15.2%}  {', '.join(f'{v:.2%}' for v in values)}")
    ratio = statistics.mean(errors["semi-supervised"]) / statistics.mean(errors["labels alone"])
    print(f"ratio of the means: {ratio:.2f}")
    record = {"command": " ".join(sys.argv), "errors": errors, "ratio": ratio}
    (options.out / "semi_supervised.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
