"""gan_ref: how generative adversarial networks are made to train."""

__version__ = "0.1.0"
