"""python train.py: train a GAN. --help lists the settings, and --recipes the published combinations."""

import sys

from gan_ref.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
