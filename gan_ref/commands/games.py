"""``python -m gan_ref games --out DIR``: the toy games as a picture (games.gif), a table and data."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gan_ref.commands.command_line import Parser, command, output_file, require_range
from gan_ref.files import write_atomically
from gan_ref.toy_games.dynamics import DYNAMICS, GAMES, Play, play
from gan_ref.toy_games.picture import brief, draw


def table(plays: Sequence[Play], η: float) -> str:
    """The distance to the equilibrium at eight moments of each play, as text, and what is left out."""
    steps, starts = len(plays[0].distance) - 1, plays[0].θ.shape[1]
    times = np.unique(np.linspace(0, steps, 8).round().astype(int))
    lines = [f"distance to the equilibrium (mean of {starts} starts) after so many steps at rate {η:g}", ""]
    lines += [f"{'game':29}{'dynamics':16}" + "".join(f"{t:>9}" for t in times) + "   verdict"]
    for each in plays:
        numbers = "".join(f"{brief(float(each.distance[t])):>9}" for t in times)
        lines.append(f"{each.game.name:29}{each.dynamics:16}{numbers}   {each.verdict}")
    lines += ["", "left out"]
    lines += [f"{game.name:29}{name:16}  {why}" for game in GAMES for name, why in game.blank.items()]
    return "\n".join(lines) + "\n"


def report(plays: Sequence[Play], η: float, seed: int) -> dict:
    """The same as data, at up to 201 moments. A distance that overflowed is null: JSON has no infinity."""
    steps = len(plays[0].distance) - 1
    times = np.unique(np.linspace(0, steps, 201).round().astype(int))
    rows = [
        {"game": each.game.name, "dynamics": each.dynamics, "verdict": each.verdict,
         "distance": [float(f"{d:.6g}") if np.isfinite(d) else None for d in each.distance[times]]}
        for each in plays
    ]  # fmt: skip
    blanks = [(game.name, name, why) for game in GAMES for name, why in game.blank.items()]
    left_out = [dict(zip(("game", "dynamics", "why"), blank)) for blank in blanks]
    settings = {"steps": steps, "lr": η, "seed": seed}
    return {**settings, "at": times.tolist(), "plays": rows, "left_out": left_out}


@command
def main(argv: Sequence[str] | None = None) -> None:
    description = "Play four small games in eight ways; write games.gif, games.txt and games.json."
    parser = Parser(prog="gan-ref games", description=description)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to; it is made if missing")
    add("--steps", type=int, default=600, metavar="N", help="steps of each play [600]")
    add("--lr", type=float, default=0.1, metavar="η", help="rate of both players [0.1]")
    add("--seed", type=int, default=3, metavar="N", help="seed of the starting points [3]")
    args = parser.parse_args(argv)
    require_range("--steps", args.steps, 1, 20_000)
    require_range("--lr", args.lr, 1e-6, 1)
    require_range("--seed", args.seed, 0, 2**63 - 1)
    paths = [output_file(args.out / f"games{suffix}", (suffix,)) for suffix in (".gif", ".txt", ".json")]

    pairs = [(game, name) for game in GAMES for name in DYNAMICS if name not in game.blank]
    quiet = not sys.stderr.isatty()
    bar = tqdm(pairs, "playing", unit="game", leave=False, disable=quiet)
    plays = [play(game, name, args.steps, args.lr, seed=args.seed) for game, name in bar]
    text = table(plays, args.lr)
    with contextlib.ExitStack() as files:  # all three appear, or none
        gif, txt, data = (files.enter_context(write_atomically(path)) for path in paths)
        txt.write_text(text, encoding="utf-8")
        data.write_text(json.dumps(report(plays, args.lr, args.seed)) + "\n")
        draw(plays, args.lr, gif, quiet=quiet)
    print(f"{text}\nwrote games.gif, games.txt and games.json to {args.out}")
