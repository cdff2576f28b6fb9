"""Generators and discriminators, chosen by a Config and by the shape of a sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gan_ref.config import Config
from gan_ref.networks import autoencoder, dcgan, face2015, improved, mlp, progressive
from gan_ref.seeds import mix_seed


def to_channels_last(network: nn.Module) -> nn.Module:
    """The network in the layout in which convolutions are fastest, on CPUs and GPUs."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs


def build_generator(config: Config, shape: tuple[int, ...]) -> nn.Module:
    """G for samples of ``shape``, (C, H, W) or (2,): z (N, latent_dim) → (N, *shape). The seed fixes its
    weights.

    The config must be complete: its width and latent_dim are numbers.
    """
    width, latent_dim, decay = config.width, config.latent_dim, config.norm_decay
    with _weights_from(mix_seed(config.seed, "weights of G")):
        if len(shape) == 1:
            return mlp.Generator(shape[0], width, config.layers, latent_dim)
        channels, size = shape[0], shape[1:]
        if config.network == "improved-dense":
            network = improved.DenseGenerator(size, channels, width, latent_dim, decay)
        elif config.network == "improved-conv":
            network = improved.ConvGenerator(size, channels, width, latent_dim, decay)
        elif config.network == "face2015":
            network = face2015.Generator(size, channels, width, latent_dim, config.norm_g)
        elif config.network == "progressive":
            network = progressive.Generator(size, channels, width, latent_dim)
        else:
            norm, upsample = config.norm_g, config.upsample
            network = dcgan.Generator(size, channels, width, latent_dim, norm, decay, upsample)
    return to_channels_last(network)


def packed(config: Config, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What D sees at once: m samples of ``shape``, the channels of one after those of another."""
    return config.pack * shape[0], *shape[1:]


def build_discriminator(config: Config, shape: tuple[int, ...], num_classes: int = 0) -> nn.Module:
    """D for samples of ``shape``: (N, *shape) → Output, with class logits if num_classes > 0.

    It takes packs of m samples if the config says so (see ``packed``), and gives each pack one score.
    """
    shape = packed(config, shape)
    width = config.d_width or config.width
    similar, noise, dropout = config.minibatch_discrimination, config.d_noise, config.d_dropout
    with _weights_from(mix_seed(config.seed, "weights of D")):
        if config.autoencoder:
            network = autoencoder.Discriminator(shape, width, config.layers, config.norm_d, config.norm_decay)
        elif len(shape) == 1:
            norm = "spectral" if config.norm_d == "spectral" else "none"  # the others are about feature maps
            network = mlp.Discriminator(shape[0], width, config.layers, norm, similar, noise, dropout)
        elif config.network == "improved-dense":
            network = improved.DenseDiscriminator(shape[1:], shape[0], num_classes, width)
        elif config.network == "improved-conv":
            network = improved.ConvDiscriminator(shape[0], num_classes, width)
        elif config.network == "face2015":
            network = face2015.Discriminator(shape[1:], shape[0], width, config.norm_d, similar, dropout)
        elif config.network == "progressive":
            network = progressive.Discriminator(shape[1:], shape[0], width)
        else:
            network = dcgan.Discriminator(
                shape[1:], shape[0], width, config.norm_d, config.norm_decay, similar, noise, dropout
            )
    return to_channels_last(network) if len(shape) == 3 else network


@contextmanager
def _weights_from(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed``, and leave the process's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
