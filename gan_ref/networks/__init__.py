"""Generators and discriminators, chosen by a Config and by the shape of a sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gan_ref.config import Config
from gan_ref.networks import autoencoder, dcgan, face2015, improved, mlp

CHANNELS_LAST = torch.channels_last  # the layout that convolutions on CPUs and GPUs are fastest in


def build_generator(config: Config, shape: tuple[int, ...]) -> nn.Module:
    """G for ``shape``, (C, S, S) or (2,): z (N, latent_dim) → (N, *shape). Weights follow the seed."""
    with _seeded(config.seed):
        if len(shape) == 1:
            return mlp.Generator(shape[0], config.width, config.layers, config.latent_dim)
        channels, size, _ = shape
        width, latent_dim, decay = config.width, config.latent_dim, config.norm_decay
        if config.network == "improved-dense":
            network = improved.DenseGenerator(size, channels, width, latent_dim, decay)
        elif config.network == "improved-conv":
            network = improved.ConvGenerator(size, channels, width, latent_dim, decay)
        elif config.network == "face2015":
            network = face2015.Generator(size, channels, width, latent_dim, config.norm_g)
        else:
            network = dcgan.Generator(size, channels, width, latent_dim, config.norm_g, decay)
    return network.to(memory_format=CHANNELS_LAST)


def build_discriminator(config: Config, shape: tuple[int, ...], num_classes: int = 0) -> nn.Module:
    """D for samples of ``shape``: (N, *shape) → Output, with class logits where num_classes > 0."""
    width = config.d_width or config.width
    regular = {"noise": config.d_noise, "dropout": config.d_dropout}
    with _seeded(config.seed + 1):
        if config.autoencoder:
            network = autoencoder.Discriminator(shape, width, config.layers, config.norm_d, config.norm_decay)
        elif len(shape) == 1:
            norm = "spectral" if config.norm_d == "spectral" else "none"  # the others speak of feature maps
            return mlp.Discriminator(
                shape[0], width, config.layers, norm, config.minibatch_discrimination, **regular
            )
        elif config.network == "improved-dense":
            network = improved.DenseDiscriminator(shape[1], shape[0], num_classes, width)
        elif config.network == "improved-conv":
            network = improved.ConvDiscriminator(shape[0], num_classes, width)
        elif config.network == "face2015":
            network = face2015.Discriminator(
                shape[1], shape[0], width, config.norm_d, config.minibatch_discrimination, config.d_dropout
            )
        else:
            network = dcgan.Discriminator(
                shape[1], shape[0], width, config.norm_d, config.norm_decay, config.minibatch_discrimination,
                num_classes=num_classes, **regular,
            )  # fmt: skip
    return network.to(memory_format=CHANNELS_LAST) if len(shape) == 3 else network


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed`` and leave the process's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
