"""Directions of latent space along which the picture changes: unit vectors (R, Z), the strongest first.

Those of a matrix or of a covariance are known but for their sign; here the entry of largest size is positive.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.paths import sweep
from gan_ref.latents.samples import FinishedGenerator, forward, forward_batch

BASES = 8  # z that each direction is tried from
FEATURES_OF = 2048  # z whose features are decomposed


def layer_directions(generator: FinishedGenerator) -> Tensor:
    """The directions that move the output of G's first layer most (Shen & Zhou 2021, "SeFa", §3.2): (Z, Z).

    The layer is affine, y = A z + b. Its output moves by A n for a step n, and ‖A n‖² is largest, among unit
    vectors perpendicular to those before, for the eigenvectors of AᵀA, in the order of their eigenvalues.
    Nothing is sampled: A is what the layer makes of the axes of latent space.
    """
    z = torch.cat([torch.zeros(1, generator.config.latent_dim), torch.eye(generator.config.latent_dim)])
    y, _ = first_layer(generator.module, z)
    a = (y[1:] - y[0]).double()  # Aᵀ: (Z, F)
    return _signed(torch.linalg.eigh(a @ a.T).eigenvectors.T.flip(0)).float()


def feature_directions(generator: FinishedGenerator, count: int, seed: int) -> Tensor:
    """The principal components of G's features, as directions of z (Härkönen et al. 2020, "GANSpace", §2.2).

    The features Y (N, F) are what the second layer takes in, of z number 0 to N − 1. Their principal
    components x_k = (Y − mean) v_k are coordinates; direction k is the gradient of the linear function of z
    that fits x_k best. (The paper fits z to x. For normal z and many samples the direction is the same.)
    """
    latent_dim = generator.config.latent_dim
    z = numbered_z(seed, range(max(FEATURES_OF, 8 * latent_dim)), latent_dim)
    y = torch.cat([first_layer(generator.module, part)[1] for part in z.split(64)])
    y = y - y.mean(dim=0)
    values, vectors = torch.linalg.eigh(y @ y.T)  # of the (N, N) products: x_k = √λ_k · vector k
    x = (vectors * values.clamp(min=0).sqrt()).flip(1)[:, :count]
    fitted = torch.linalg.lstsq(torch.cat([z, torch.ones(len(z), 1)], dim=1), x).solution[:-1]  # (Z, count)
    return _signed(F.normalize(fitted.T, dim=1))


@torch.inference_mode()
def first_layer(module: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """What G's first layer makes of z (N, Z), and what its second takes in, both (N, F) on the CPU.

    A layer is a module with a weight of two dimensions or more. Where there is no second, take G's output.
    """
    seen: list[tuple[Tensor, Tensor]] = []  # what went into each layer and came out, in the order of calls

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0].clone(), output.clone()))  # an activation may write over them

    layers = [m for m in module.modules() if any(p.ndim > 1 for p in m.parameters(recurse=False))]
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(note).remove)
        out = module(z.to(next(module.parameters()).device))
    first, second = (seen[0][1] if seen else out), (seen[1][0] if len(seen) > 1 else out)
    return first.flatten(1).float().cpu(), second.flatten(1).float().cpu()


def strongest_dimensions(
    generator: FinishedGenerator, count: int, seed: int, span: tuple[float, float]
) -> tuple[int, ...]:
    """The ``count`` coordinates of z that move the picture most, the strongest first.

    How far one moves it is the mean square, over pixels and z number 0 to 7, of G(z with high there) −
    G(z with low there).
    """
    dims = generator.config.latent_dim
    images = torch.cat(
        list(sweep_ends(generator, torch.eye(dims), numbered_z(seed, range(BASES), dims), span))
    )
    low, high = images.flatten(1).unflatten(0, (dims, BASES, 2)).unbind(2)
    return tuple((high - low).square().mean(dim=(1, 2)).topk(min(count, dims)).indices.tolist())


def sweep_ends(
    generator: FinishedGenerator, directions: Tensor, bases: Tensor, span: tuple[float, float]
) -> Iterator[Tensor]:
    """Samples at both ends of a sweep of each base (C, Z) along each direction (R, Z), low and high in turn:
    a stream of (≤ batch, *shape), R·C·2 of them in all, on the CPU.
    """
    z = (sweep(bases, d, *span).flatten(0, 1) for d in directions.split(1))
    for x in forward(generator.module, z, forward_batch(generator.shape[-1])):
        yield x.float().cpu()


def _signed(directions: Tensor) -> Tensor:
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return directions * largest.sign()
