"""How good is it, and has it collapsed? Scores, each a small function of arrays, named after its paper.

    inception_score      certain and varied classes           Salimans et al. 2016, §4
    frechet_distance     Gaussians fitted to features         Heusel et al. 2017
    kernel_distance      unbiased MMD² of features            Bińkowski et al. 2018
    precision_recall     overlap of the manifolds             Kynkäänniemi et al. 2019
    mode_coverage        modes seen, reverse KL, entropy      Srivastava et al. 2017
    birthday_support     support size from collisions         Arora & Zhang 2017
    nearest_neighbours   is it memorised?

Features and class probabilities come from a classifier of the data's own labels (classifier.py) or from the
published Inception network (inception.py).
"""

from gan_ref.evaluation.frechet import Moments, frechet_distance, frechet_distance_from_moments
from gan_ref.evaluation.inception_score import inception_score
from gan_ref.evaluation.kernel import kernel_distance
from gan_ref.evaluation.manifold import precision_recall
from gan_ref.evaluation.modes import Coverage, MixtureCoverage, mixture_coverage, mode_coverage
from gan_ref.evaluation.neighbours import closest_pair, nearest_neighbours
from gan_ref.evaluation.support import Support, birthday_support, twin_distance

__all__ = [
    "Coverage",
    "MixtureCoverage",
    "Moments",
    "Support",
    "birthday_support",
    "closest_pair",
    "frechet_distance",
    "frechet_distance_from_moments",
    "inception_score",
    "kernel_distance",
    "mixture_coverage",
    "mode_coverage",
    "nearest_neighbours",
    "precision_recall",
    "twin_distance",
]
