"""python train.py: train a GAN. --help lists the settings, and --recipes the published combinations."""

from gan_ref.commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
