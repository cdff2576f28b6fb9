"""Steps a second on two-dimensional data: ours against the obvious loop, measured in one run.

    python benchmarks/mixtures.py [--segments 25] [--steps 20] [--out FILE]

The obvious loop is how anyone would write it: nn.Sequential networks, torch.optim.Adam as it comes, D called
on reals and on fakes, zero_grad, fake.detach(). Ours is what ``python train.py --data ring8`` runs between
two logged steps. Both have batch 256, width 128, three hidden layers and z of 2. Beside them run the matrix
products of our step's hidden layers and nothing else, which bound what any loop over them could do. Segments
alternate, so that whatever else the machine does falls on all; time is the process's own, on one thread; the
ratios are of the medians.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gan_ref.config import Config
from gan_ref.loop import play_round
from gan_ref.run import Run, choose_settings
from gan_ref.watch.finite import FiniteGuard

BATCH, WIDTH, LAYERS, LATENT = 256, 128, 3, 2


def network(inputs: int, outputs: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, WIDTH), activation()]
    for _ in range(LAYERS - 1):
        layers += [nn.Linear(WIDTH, WIDTH), activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))


def obvious(samples: Tensor) -> Callable[[], None]:
    generator, discriminator = network(LATENT, 2, nn.ReLU), network(2, 1, lambda: nn.LeakyReLU(0.2))
    g_adam = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_adam = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    loss, ones, zeros = nn.BCEWithLogitsLoss(), torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def step() -> None:
        real = samples[torch.randint(len(samples), (BATCH,))]
        fake = generator(torch.randn(BATCH, LATENT))
        d_adam.zero_grad()
        d_loss = loss(discriminator(real), ones) + loss(discriminator(fake.detach()), zeros)
        d_loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        g_loss = loss(discriminator(fake), ones)
        g_loss.backward()
        g_adam.step()
        _ = d_loss.item(), g_loss.item()

    return step


def ours() -> tuple[Callable[[], None], Tensor]:
    sizes = Config(batch_size=BATCH, width=WIDTH, layers=LAYERS, latent_dim=LATENT)
    config, dataset = choose_settings(sizes.replace(data="ring8", device="cpu"))
    run = Run(config, dataset)
    guard = FiniteGuard(run.game, Path(), run.device, config.log_every)

    def step() -> None:
        d, g = play_round(run)
        guard.look(d.loss, g.loss)

    return step, torch.from_numpy(dataset.samples)


def products() -> Callable[[], None]:
    """Forward, to the inputs and to the weights: D on reals and fakes; then G and D there and back."""
    weight, one, both = torch.randn(WIDTH, WIDTH), torch.randn(BATCH, WIDTH), torch.randn(2 * BATCH, WIDTH)

    def step() -> None:
        for _ in range(LAYERS - 1):
            _ = torch.mm(both, weight.T), torch.mm(both, weight), torch.mm(both.T, both)
            for _ in range(2):
                _ = torch.mm(one, weight.T), torch.mm(one, weight)
            torch.mm(one.T, one)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--segments", type=int, default=25)
    parser.add_argument("--steps", type=int, default=20, help="in a segment")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    given = parser.parse_args()
    torch.set_num_threads(1)  # two would share 256 rows, and wait for each other
    fast, samples = ours()
    loops = {"obvious": obvious(samples), "ours": fast, "products": products()}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for segment in range(given.segments + 1):
        for name, step in loops.items():
            began = time.process_time()
            for _ in range(given.steps):
                step()
            if segment > 0:  # the first warms up
                times[name].append((time.process_time() - began) / given.steps)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:9}{seconds * 1e3:6.2f} ms a step, {1 / seconds:5.0f} steps/s")
    ratios = np.array(times["obvious"]) / np.array(times["ours"])
    low, high = np.percentile(ratios, [25, 75])
    ratio = medians["obvious"] / medians["ours"]
    bound = medians["obvious"] / medians["products"]
    result = {"ratio": ratio, "quartiles": [low, high], "bound": bound, "seconds_a_step": medians}
    print(f"ours does {ratio:.2f} times the steps (quartiles {low:.2f} to {high:.2f})")
    print(f"the matrix products alone would do {bound:.2f} times")
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
