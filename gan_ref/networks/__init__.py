"""Generators and discriminators, chosen by a Config and by the shape of a sample."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gan_ref.config import Config
from gan_ref.layers import UniformLatent
from gan_ref.networks import autoencoder, dcgan, face2015, improved, lapgan, mlp, progressive
from gan_ref.networks.conditional import see_labels
from gan_ref.networks.output import choose_features
from gan_ref.networks.weights import draw_weights
from gan_ref.seeds import mix_seed


def to_channels_last(network: nn.Module) -> nn.Module:
    """The network in the layout in which convolutions are fastest, on CPUs and GPUs."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs


def build_generator(config: Config, shape: tuple[int, ...], num_classes: int = 0) -> nn.Module:
    """G for samples of ``shape``, (C, H, W) or (2,): z (N, latent_dim) → (N, *shape). The seed fixes its
    weights.

    The config must be complete: its width and latent_dim are numbers. A conditional G takes (N, latent_dim +
    num_classes): see gan_ref/latents/classes.py.
    """
    with _weights_from(mix_seed(config.seed, "weights of G")):
        told = num_classes if config.conditional != "none" else 0
        network = _with_weights(config, _plain_generator(config, shape, told))
    if config.latent == "uniform":
        network = UniformLatent(network, config.latent_dim)
    return to_channels_last(network) if len(shape) == 3 else network


def _plain_generator(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """G with its paper's weights, of any z: (N, latent_dim + classes) → (N, *shape)."""
    width, latent_dim, decay = config.width, config.latent_dim, config.norm_decay
    by_norm = config.conditional == "projection" and len(shape) == 3 and config.network == "dcgan"
    if not (by_norm and config.norm_g == "batch"):  # then the class is a part of z, concatenated
        latent_dim, classes = latent_dim + classes, 0
    if len(shape) == 1:
        return mlp.Generator(shape[0], width, config.layers, latent_dim, config.network, decay)
    channels, size = shape[0], shape[1:]
    if config.network == "improved-dense":
        return improved.DenseGenerator(size, channels, width, latent_dim, decay)
    if config.network == "improved-conv":
        return improved.ConvGenerator(size, channels, width, latent_dim, decay)
    if config.network == "face2015":
        return face2015.Generator(size, channels, width, latent_dim, config.norm_g)
    if config.network == "progressive":
        return progressive.Generator(size, channels, width, latent_dim)
    if config.network == "lapgan":
        return lapgan.Generator(size, channels, width, latent_dim)
    norm, upsample = config.norm_g, config.upsample
    return dcgan.Generator(size, channels, width, latent_dim, norm, decay, upsample, classes)


def packed(config: Config, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What D sees at once: m samples of ``shape``, the channels of one after those of another."""
    return config.pack * shape[0], *shape[1:]


def build_discriminator(config: Config, shape: tuple[int, ...], num_classes: int = 0) -> nn.Module:
    """D for samples of ``shape``: (N, *shape) → Output. If it is conditional, (N, *shape) and labels (N,).

    It takes packs of m samples if the config says so (see ``packed``), and gives each pack one score.
    """
    shape = packed(config, shape)
    with _weights_from(mix_seed(config.seed, "weights of D")):
        if config.conditional != "none" and num_classes:
            wider = lambda k: (shape[0] + k, *shape[1:])
            more = lambda k: _with_weights(config, _plain_discriminator(config, wider(k), 0))
            network = see_labels(config.conditional, more, num_classes, config.norm_d == "spectral")
        else:
            network = _with_weights(config, _plain_discriminator(config, shape, num_classes))
    if config.match_layers:
        choose_features(network, config.match_layers)
    return to_channels_last(network) if len(shape) == 3 else network


def _plain_discriminator(config: Config, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """D that sees samples alone: (N, *shape) → Output, with class logits if it is a classifier's network."""
    width, layers = config.d_width or config.width, config.d_layers or config.layers
    similar, noise, dropout = config.minibatch_discrimination, config.d_noise, config.d_dropout
    norm, decay = config.norm_d, config.norm_decay
    if config.autoencoder:
        return autoencoder.Discriminator(shape, width, layers, norm, decay)
    if len(shape) == 1:
        norm = "spectral" if norm == "spectral" else "none"  # the others are about feature maps
        return mlp.Discriminator(shape[0], width, layers, norm, similar, noise, dropout, config.network)
    if config.network == "improved-dense":
        return improved.DenseDiscriminator(shape[1:], shape[0], num_classes, width)
    if config.network == "improved-conv":
        return improved.ConvDiscriminator(shape[0], num_classes, width, similar)
    if config.network == "imagenet2016":
        return improved.ImageNetDiscriminator(shape[1:], shape[0], width, norm, decay, similar)
    if config.network == "face2015":
        return face2015.Discriminator(shape[1:], shape[0], width, norm, similar, dropout)
    if config.network == "progressive":
        return progressive.Discriminator(shape[1:], shape[0], width)
    if config.network == "lapgan":
        return lapgan.Discriminator(shape[1:], shape[0], width)
    return dcgan.Discriminator(shape[1:], shape[0], width, norm, decay, similar, noise, dropout)


def _with_weights(config: Config, network: nn.Module) -> nn.Module:
    """The network, with the weights that the config asks for."""
    if config.weights != "own":
        draw_weights(network, config.weights, config.weights_scale)
    return network


@contextmanager
def _weights_from(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed``, and leave the process's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
