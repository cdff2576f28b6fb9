"""``python -m gan_ref COMMAND``, also installed as ``gan-ref COMMAND``."""

import importlib
import signal
import sys

from gan_ref import __version__
from gan_ref.errors import printable

COMMANDS = {
    "train": "train a GAN, as python train.py does",
    "walk": "a movie of a walk through latent space",
    "sample": "pictures of samples, on one page or a file each",
    "project": "the z whose samples are nearest to your pictures",
    "film": "a movie of a run's sample pages: the same z while it trains",
    "evaluate": "metrics of a trained generator, and of real data beside them",
    "compare": "train several recipes with several seeds, and tabulate them",
    "games": "the small games of the convergence theory, as a film and a table",
    "explore": "a page that runs a generator in a browser, or that shows runs in the plane",
    "export": "a finished generator as one file: ONNX, or a small checkpoint",
    "kernels": "which implementation of the two operators runs here, and why",
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else "--help"
    if name in COMMANDS:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # While Python imports, Ctrl-C ends the program without a word.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return importlib.import_module(f"gan_ref.commands.{name}").main(argv[1:])
    if name == "--version":
        print(f"gan-ref {__version__}")
        return 0
    if name in ("--help", "-h"):
        print("usage: gan-ref COMMAND …        (gan-ref COMMAND --help explains one)\n")
        print("\n".join(f"  {name:<10}{line}" for name, line in COMMANDS.items()))
        return 0
    print(f"error: there is no command {printable(name)!r}: take {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
