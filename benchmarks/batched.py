"""Several seeds of a small GAN in one batched round, and the round compiled: does either pay on a CPU?

    python benchmarks/batched.py [--seeds 8] [--segments 8] [--compile] [--out FILE]

K independent GANs of two-dimensional data are K matrices where one has one: products are batched, losses are
summed over the GANs, which changes no gradient, and one fused Adam moves all. What Python and torch do around
a product is then paid once for K GANs. The compiled round has each player's loss and gradients in one graph
of torch.compile. Three sizes are measured: those of the script of Mescheder et al. 2017 (4 layers of 16,
batch 512), ours (3 of 128, batch 256), and those of Lin et al. 2018 (4 of 400, batch 100). Beside them run
the matrix products of the hidden layers alone, which no way of calling them can beat. Before the timing, K
batched GANs are held to K single ones. Segments alternate; time is the process's own, on one thread.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = {"16": (4, 16, 512, 16), "128": (3, 128, 256, 2), "400": (4, 400, 100, 2)}  # layers, width, batch, z
Weights = list[Tensor]


def weights(sizes: list[int], seeds: list[int]) -> Weights:
    """(K, inputs, outputs) and (K, 1, outputs) of each layer; number k depends on seeds[k] alone."""
    found: Weights = []
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for a, b in zip(sizes, sizes[1:]):
        found.append(torch.stack([torch.randn(a, b, generator=rng) * (2 / a) ** 0.5 for rng in generators]))
        found.append(torch.zeros(len(seeds), 1, b))
    return [weight.requires_grad_() for weight in found]


def network(layers: Weights, x: Tensor, slope: float) -> Tensor:
    """x (K, N, inputs) → (K, N, outputs), each of the K by its own weights."""
    for k in range(0, len(layers), 2):
        x = torch.baddbmm(layers[k + 1], x, layers[k])
        x = F.leaky_relu(x, slope) if k + 2 < len(layers) else x
    return x


def d_loss(d: Weights, real: Tensor, fake: Tensor) -> Tensor:
    scores = network(d, torch.cat([real, fake], dim=1), 0.2).squeeze(2)
    on_reals, on_fakes = scores.split(real.shape[1], dim=1)
    return (F.softplus(-on_reals).mean(dim=1) + F.softplus(on_fakes).mean(dim=1)).sum()


def g_loss(g: Weights, d: Weights, z: Tensor) -> Tensor:
    return F.softplus(-network(d, network(g, z, 0.0), 0.2)).mean(dim=(1, 2)).sum()


class Gans:
    """K GANs of one size, by their seeds."""

    def __init__(self, size: str, seeds: list[int], compiled: bool = False):
        layers, width, self.batch, self.latent = SIZES[size]
        self.g = weights([self.latent, *[width] * layers, 2], seeds)
        self.d = weights([2, *[width] * layers, 1], [seed + 1000 for seed in seeds])
        self.adams = [torch.optim.Adam(own, 2e-4, (0.5, 0.999), fused=True) for own in (self.d, self.g)]
        self.rngs = [torch.Generator().manual_seed(seed + 2000) for seed in seeds]
        self.compiled = compiled
        if compiled:
            d_gradients = torch.func.grad(d_loss)
            fakes_and_gradients = lambda d, g, x, z: d_gradients(d, x, network(g, z, 0.0))
            self.d_gradients = torch.compile(fakes_and_gradients)
            self.g_gradients = torch.compile(torch.func.grad(g_loss))

    def round(self) -> None:
        draw = lambda size: torch.stack([torch.randn(self.batch, size, generator=rng) for rng in self.rngs])
        real, z = draw(2), draw(self.latent)  # of what the reals are, time does not depend
        d_adam, g_adam = self.adams
        if self.compiled:
            with torch.no_grad():
                move(d_adam, self.d, self.d_gradients(self.d, self.g, real, z))
                move(g_adam, self.g, self.g_gradients(self.g, self.d, z))
            return
        with torch.no_grad():
            fake = network(self.g, z, 0.0)
        move(d_adam, self.d, torch.autograd.grad(d_loss(self.d, real, fake), self.d))
        move(g_adam, self.g, torch.autograd.grad(g_loss(self.g, self.d, z), self.g))


def move(adam: torch.optim.Adam, own: Weights, gradients: Weights | tuple[Tensor, ...]) -> None:
    for weight, gradient in zip(own, gradients):
        weight.grad = gradient
    adam.step()


def products(size: str) -> Callable[[], None]:
    """Of one GAN's hidden layers: D on 2N there and back twice, then G and D on N; inputs and weights."""
    layers, width, batch, _ = SIZES[size]
    weight, one, two = torch.randn(width, width), torch.randn(batch, width), torch.randn(2 * batch, width)

    def step() -> None:
        for _ in range(layers - 1):
            _ = torch.mm(one, weight), torch.mm(two, weight), torch.mm(two, weight), torch.mm(two.T, two)
            _ = [torch.mm(one, weight) for _ in range(4)], torch.mm(one.T, one)

    return step


@torch.no_grad()
def check(size: str, seeds: list[int], compiled: bool) -> float:
    """How far batched GANs are from single ones after five rounds: ‖θ − θ'‖ / ‖θ'‖ of all their weights."""
    together, alone = Gans(size, seeds, compiled), [Gans(size, [seed]) for seed in seeds]
    for _ in range(5):
        for gans in (together, *alone):
            with torch.enable_grad():
                gans.round()
    a = torch.cat([weight.flatten(1) for weight in together.g + together.d], dim=1)
    b = torch.cat([torch.cat([weight.flatten() for weight in gans.g + gans.d])[None] for gans in alone])
    return float((a - b).norm() / b.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="GANs in a batched round")
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="and the compiled rounds")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    for size in SIZES:
        seeds, kinds = list(range(given.seeds)), [False, True] if given.compile else [False]
        apart = max(check(size, seeds, compiled) for compiled in kinds)
        assert apart < 1e-4, f"batched and single GANs differ by {apart}"
        ways = {"products": (products(size), 1)}
        for compiled in kinds:
            word = "compiled " if compiled else ""
            for count in (1, given.seeds):
                gans = Gans(size, seeds[:count], compiled)
                ways[f"{word}{count} in a round"] = gans.round, count
        times: dict[str, list[float]] = {name: [] for name in ways}
        for segment in range(given.segments + 1):
            for name, (step, count) in ways.items():
                rounds, began = max(1, 16 // count), time.process_time()
                for _ in range(rounds):
                    step()
                if segment:  # the first warms up
                    times[name].append((time.process_time() - began) / rounds / count)
        ms = {name: 1e3 * float(np.median(values)) for name, values in times.items()}
        gain = {name: ms["1 in a round"] / value for name, value in ms.items()}
        result[size] = {
            "milliseconds a round of one GAN": ms,
            "times the rounds of one": gain,
            "apart": apart,
        }
        print(f"width {size}:", ", ".join(f"{name} {ms[name]:.2f} ms ({gain[name]:.2f}×)" for name in ms))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
