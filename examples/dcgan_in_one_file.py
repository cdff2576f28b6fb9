"""A DCGAN in one file (Radford, Metz & Chintala 2016): everything that a GAN needs, and torch alone.

    python examples/dcgan_in_one_file.py                        # random images, to see that it runs
    python examples/dcgan_in_one_file.py --data FOLDER          # a folder of images (needs Pillow)

The package plays the same game: a test holds the losses of ``train.py --recipe dcgan`` equal to these.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def filters(width: int, size: int) -> list[int]:
    """Filters at 4×4, 8×8, … size/2: doubled each time the side halves, at most 8·width."""
    levels = size.bit_length() - 3
    return [width * min(2**k, 8) for k in reversed(range(levels))]


class Generator(nn.Module):
    """z (N, Z) → image (N, C, S, S) in [−1, 1]."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int):
        super().__init__()
        sizes = filters(width, size)
        layers = [
            nn.ConvTranspose2d(latent_dim, sizes[0], 4, bias=False),
            nn.BatchNorm2d(sizes[0]),
            nn.ReLU(),
        ]
        for before, after in zip(sizes, sizes[1:]):
            layers += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(sizes[-1], channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class Discriminator(nn.Module):
    """image (N, C, S, S) → score (N,): the log odds that it is real."""

    def __init__(self, size: int, channels: int, width: int):
        super().__init__()
        sizes = [channels, *reversed(filters(width, size))]
        layers: list[nn.Module] = []
        for k, (before, after) in enumerate(zip(sizes, sizes[1:])):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=k == 0))
            layers += [nn.BatchNorm2d(after)] if k > 0 else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * sizes[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02²), scales of batch norm from N(1, 0.02²), biases 0 (their §4)."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def play_round(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimizer: torch.optim.Optimizer,
    d_optimizer: torch.optim.Optimizer,
    x: Tensor,
    z: Tensor,
) -> tuple[float, float]:
    """One step of D and one of G on a batch of reals x (N, C, S, S) and latents z (N, Z). Returns both
    losses.
    """
    fake = generator(z)

    # D descends −E log σ(s(x)) − E log(1 − σ(s(G(z)))), with softplus(−s) = −log σ(s)
    d_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(fake.detach())).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()

    # G descends −E log σ(s(G(z))) against the new D
    g_loss = F.softplus(-discriminator(fake)).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def load_images(folder: Path, size: int) -> Tensor:
    """All images below a folder, cropped to their centre square: (N, 3, size, size) in [−1, 1]."""
    from PIL import Image, ImageOps

    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    pictures = [ImageOps.fit(Image.open(path).convert("RGB"), (size, size)) for path in paths]
    pixels = [
        torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8).view(size, size, 3) for p in pictures
    ]
    return torch.stack(pixels).permute(0, 3, 1, 2) / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a DCGAN.")
    parser.add_argument("--data", type=Path, help="a folder of images [random images]")
    parser.add_argument("--size", type=int, default=32, help="side of the images, a power of two [32]")
    parser.add_argument("--width", type=int, default=32, help="filters of the layer beside the image [32]")
    parser.add_argument("--rounds", type=int, default=1000, help="rounds to play [1000]")
    parser.add_argument("--out", type=Path, default=Path("dcgan.pt"), help="where G's weights go [dcgan.pt]")
    given = parser.parse_args()

    torch.manual_seed(0)
    images = (
        load_images(given.data, given.size)
        if given.data
        else torch.rand(256, 3, given.size, given.size) * 2 - 1
    )
    generator = Generator(given.size, 3, given.width, latent_dim=100)
    discriminator = Discriminator(given.size, 3, given.width)
    initialise(generator)
    initialise(discriminator)
    g_optimizer = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999))

    for round in range(1, given.rounds + 1):
        x = images[torch.randint(len(images), (64,))]
        z = torch.randn(64, 100)
        d_loss, g_loss = play_round(generator, discriminator, g_optimizer, d_optimizer, x, z)
        if round % 50 == 0:
            print(f"round {round}  D {d_loss:.3f}  G {g_loss:.3f}", flush=True)
    torch.save(generator.state_dict(), given.out)


if __name__ == "__main__":
    main()
