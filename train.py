"""python train.py: train a GAN. --help lists the settings, --recipes the published combinations."""

from gan_ref.train import main

if __name__ == "__main__":
    raise SystemExit(main())
