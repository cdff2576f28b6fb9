"""Layers that the papers add to a network, one paper a file.

    minibatch_discrimination    MinibatchDiscrimination                  Salimans et al. 2016, §3.2
    virtual_batch_norm          VirtualBatchNorm2d, set_reference        Salimans et al. 2016, §3.5
    batch_norm                  batch_norm, SyncBatchNorm                Ioffe & Szegedy 2015
    conditional_batch_norm      ConditionalBatchNorm2d                   Dumoulin et al. 2017
    weight_norm                 WeightNormLinear, WeightNormConv2d       Salimans & Kingma 2016
    spectral_norm               spectral_norm                            Miyato et al. 2018
    equalised                   EqualisedLinear, EqualisedConv2d         Karras et al. 2018, §4.1
    pixel_norm                  PixelNorm                                Karras et al. 2018, §4.2
    minibatch_deviation         MinibatchDeviation                       Karras et al. 2018, §3
    uniform_latent              UniformLatent                            Radford et al. 2016
    noise                       GaussianNoise, Dropout, SpatialDropout   Srivastava et al. 2014
    ends                        FromLatent, flatten                      where PyTorch's own are slow

All are ordinary modules. They work in any network, under torch.compile, functional_call and gradient
penalties.
"""

from gan_ref.layers.batch_norm import SyncBatchNorm, batch_norm, measure_statistics, synchronise_batch_norm
from gan_ref.layers.conditional_batch_norm import ConditionalBatchNorm2d, ConditionedSequential
from gan_ref.layers.ends import FromLatent, flatten
from gan_ref.layers.equalised import EqualisedConv2d, EqualisedLinear
from gan_ref.layers.maxout import Maxout
from gan_ref.layers.minibatch_deviation import MinibatchDeviation
from gan_ref.layers.minibatch_discrimination import MinibatchDiscrimination
from gan_ref.layers.noise import Dropout, GaussianNoise, SpatialDropout, seed_noise
from gan_ref.layers.pixel_norm import PixelNorm
from gan_ref.layers.spectral_norm import SpectralNorm, spectral_norm
from gan_ref.layers.uniform_latent import UniformLatent
from gan_ref.layers.virtual_batch_norm import VirtualBatchNorm2d, reference_pass, set_reference
from gan_ref.layers.weight_norm import WeightNormConv2d, WeightNormLinear, data_dependent_init

__all__ = [
    "ConditionalBatchNorm2d", "ConditionedSequential", "Dropout", "EqualisedConv2d", "EqualisedLinear",
    "FromLatent", "GaussianNoise", "Maxout", "MinibatchDeviation", "MinibatchDiscrimination", "PixelNorm",
    "SpatialDropout", "SpectralNorm", "SyncBatchNorm", "UniformLatent", "VirtualBatchNorm2d",
    "WeightNormConv2d", "WeightNormLinear", "batch_norm", "data_dependent_init", "flatten",
    "measure_statistics", "reference_pass", "seed_noise", "set_reference", "spectral_norm",
    "synchronise_batch_norm",
]  # fmt: skip
