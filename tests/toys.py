"""Games small enough to know the answer: linear critics, tiny MLPs, everything in float64."""

import torch
from torch import Tensor, nn

from gan_ref.layers import spectral_norm
from gan_ref.networks.output import Output
from gan_ref.techniques.balance import Fixed
from gan_ref.techniques.game import Batch, Game, Player, Turn
from gan_ref.techniques.objectives import NonSaturating


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


class Linear(nn.Module):
    """D(x) = w·x, its features x itself."""

    def __init__(self, *w: float):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x: Tensor) -> Output:
        return Output(x.flatten(1) @ self.w, x.flatten(1))


class Spy(Linear):
    """A linear D that keeps all that it is shown."""

    def __init__(self, *w: float):
        super().__init__(*w)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Output:
        self.seen.append(x.detach().clone())
        return super().forward(x)


class Critic(nn.Module):
    """A tiny smooth D on points, with a batch norm or a spectral norm if asked for."""

    def __init__(self, batch_norm: bool = False, spectral: bool = False, seed: int = 1):
        super().__init__()
        self.first, self.score = nn.Linear(2, 5), nn.Linear(5, 1)
        self.norm = nn.BatchNorm1d(5) if batch_norm else nn.Identity()
        randomise(self.double(), seed)
        if spectral:
            for layer in (self.first, self.score):
                spectral_norm(layer, seeded(seed))

    def forward(self, x: Tensor) -> Output:
        features = torch.tanh(self.norm(self.first(x)))
        return Output(self.score(features).squeeze(1), features)


class Points(nn.Module):
    """A tiny smooth G: z (N, 3) → (N, 2)."""

    def __init__(self, seed: int = 2):
        super().__init__()
        self.first, self.out = nn.Linear(3, 4), nn.Linear(4, 2)
        randomise(self.double(), seed)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(torch.tanh(self.first(z)))


def randomise(module: nn.Module, seed: int) -> None:
    rng = seeded(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))


def same(a, b) -> bool:
    """Equal to the bit, through nested dicts and lists."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def sgd(module: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr)


def play(discriminator: nn.Module | None = None, generator: nn.Module | None = None, optimizer=sgd, **parts):
    """A prepared game of these networks; ``parts`` are further arguments of Game."""
    generator, discriminator = generator or Points(), discriminator or Critic()
    parts = {"objective": NonSaturating(), "balance": Fixed(), "rng": seeded(3)} | parts
    players = (Player(network, optimizer(network)) for network in (generator, discriminator))
    game = Game(*players, **parts)
    game.prepare()
    return game


def batches(seed: int = 4, count: int = 6):
    """A ``draw`` of fresh batches, the same sequence for the same seed."""
    rng = seeded(seed)

    def draw():
        real = torch.randn(count, 2, generator=rng, dtype=torch.float64) + 1
        return Batch(real, None, torch.randn(count, 3, generator=rng, dtype=torch.float64))

    return draw


def play_round(game: Game, rule, draw, balance=None) -> tuple[Turn, Turn]:
    """A round of the rule, on as many batches from ``draw`` as it takes."""
    game.balance = balance or game.balance
    return rule(game, [draw() for _ in range(rule.batches(game))])
