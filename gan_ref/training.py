"""The training loop, from the settings to the last checkpoint. Read ``train`` from top to bottom."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_ref import checkpoint, distributed, imaging, plane, recipes, replay
from gan_ref.config import Config
from gan_ref.data import Batches, Dataset, open_dataset
from gan_ref.data.batches import finish
from gan_ref.data.mixtures import MIXTURES
from gan_ref.data.partly import PartlyLabelled, hold_out
from gan_ref.errors import UserError
from gan_ref.layers import seed_noise, set_reference, synchronised
from gan_ref.monitor import Monitor, measure, numbers
from gan_ref.networks import build_discriminator, build_generator
from gan_ref.scoring import Scores
from gan_ref.techniques import build
from gan_ref.techniques.averaging import Average
from gan_ref.techniques.game import Game, Player, Turn

SAMPLES = 64  # in a sample picture, of the same z throughout a run

# What a run has where no flag or recipe says. The CPU's were measured on two cores: README, "Train".
EVERYWHERE = {"latent_dim": 100, "log_every": 20, "sample_every": 200, "checkpoint_every": 500}
ON_CPU = {"image_size": 32, "width": 32, "steps": 7_500, "batch_size": 64}
ON_GPU = {"image_size": 64, "width": 64, "steps": 50_000, "batch_size": 128}
IN_PLANE = {"image_size": None, "width": 128, "latent_dim": 2, "steps": 15_000, "batch_size": 256}
IN_PLANE |= {"log_every": 100, "sample_every": 1000, "checkpoint_every": 1000}


def train(config: Config, dataset: Dataset, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Play ``config.steps`` rounds of the game and leave a run in ``folder``; go on from ``state`` if given.

    ``config`` is complete and ``dataset`` what it names: see ``settle``. Raises UserError where the run
    cannot go on (a loss that is not finite, a full disk), and Stopped, with a checkpoint written, after
    Ctrl-C or SIGTERM.
    """
    fast_arithmetic(config.device)
    run = Run(config, dataset)
    if state is not None:
        run.restore(state)
    if distributed.rank() > 0:
        return follow(run, folder)
    prepare_folder(folder, config)
    if run.device.type == "cuda":
        reason = replay.obstacle(run)
        print(f"rounds are played from Python: {reason}" if reason else "rounds are replayed as a CUDA graph")
    unit = "points" if run.in_plane else "images"
    monitor = Monitor(folder, run.game.step, config.steps, config.batch_size, unit)
    scores = Scores(run, folder, monitor) if config.every else None
    film = plane.Film(folder, run.game.step, config.steps) if run.in_plane else None
    if film and run.game.step == 0:
        film.add(0, run.picture())
    try:
        with interruptions() as signals:
            stop = 0  # the signal that one of the processes got
            while run.game.step < config.steps and not stop:
                d, g = run.play()
                run.game.end_round(d, g)
                step = run.game.step
                for average in run.averages:
                    average.update(step)
                stop = distributed.agreed(max(signals, default=0))

                monitor.advance(step)
                run.watch(d.loss, g.loss, folder)
                scored = scores(run) if scores and run.due(config.every) else {}
                if scored or run.due(config.log_every):
                    values = numbers(measure(run.game, d, g)) | run.scores() | scored
                    monitor.log(values, d.real_output.scores, d.fake_output.scores)
                if film and film.wants(step):
                    film.add(step, run.picture())
                if run.due(config.sample_every):
                    imaging.write_png(folder / "samples" / f"{step:06}.png", run.picture())
                    monitor.curves()
                if run.due(config.checkpoint_every) or stop:
                    run.check(folder)
                    checkpoint.save(folder / "checkpoint.pt", run.state_dict())
        if stop and run.game.step < config.steps:
            raise Stopped(stop, run.game.step, folder)
        if film:
            film.develop()
    finally:
        monitor.close()


def follow(run: Run, folder: Path) -> None:
    """What every process but rank 0 does: the same rounds on its part of each batch, and nothing written."""
    stop = 0
    with interruptions() as signals:
        while run.game.step < run.config.steps and not stop:
            d, g = run.play()
            run.game.end_round(d, g)
            stop = distributed.agreed(max(signals, default=0))
            run.watch(d.loss, g.loss, folder)
    if stop and run.game.step < run.config.steps:
        raise Stopped(stop, run.game.step, folder)


# ---------------------------------------------------------------- what a run is made of


class Run:
    """The game with everything that must survive a crash for the next step to be the same."""

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.device = torch.device(config.device)
        self.rng = torch.Generator(self.device).manual_seed(config.seed)
        self.batches = self._batches()
        self.next_batch = self.batches.next
        self.game = self._build_game()
        self.update, self.balance = build("updates", config.update), build("balance", config.balance)
        self.average = Average(self.game.g.module, config.ema)
        self.classifier = Average(self.game.d.module, config.d_ema) if config.labels_per_class else None
        self.averages = [self.average] + ([self.classifier] if self.classifier else [])
        self.test = test_images(config, self.device) if self.classifier else None
        self.in_plane = dataset.means is not None
        self.samples_z = self.fixed_z(plane.SAMPLES if self.in_plane else SAMPLES, purpose=1)
        self.bad = torch.zeros((), dtype=torch.int64, device=self.device)  # the first step with a bad loss
        self.play = self.round if replay.obstacle(self) else replay.Replay(self)

    def _batches(self) -> Batches | PartlyLabelled:
        config, place = self.config, (distributed.rank(), distributed.world())
        regular = config.batch_size, config.seed, self.device, config.flip, *place
        if config.labels_per_class:
            return PartlyLabelled(self.dataset, config.labels_per_class, *regular)
        return Batches(self.dataset, *regular)

    def _build_game(self) -> Game:
        config, shape = self.config, self.dataset.shape
        classes = len(self.dataset.classes) if config.labels_per_class else 0
        generator = build_generator(config, shape).to(self.device)
        discriminator = build_discriminator(config, shape, classes).to(self.device)
        for network in (generator, discriminator):
            seed_noise(network, self.rng)
            if config.sync_batch_norm and distributed.world() > 1:
                synchronised(network)
        game = Game(
            Player(generator, optimizer(config, generator, config.lr_g)),
            Player(discriminator, optimizer(config, discriminator, config.lr_d)),
            build("objectives", config.objective).to(self.device),
            [build("penalties", spec).to(self.device) for spec in config.penalties],
            build("noise", config.instance_noise) if config.instance_noise else None,
            rng=self.rng,
            autocast=self._autocast,
            reference=(self.batches.take(config.batch_size)[0], self.fixed_z(config.batch_size, purpose=2)),
        )
        game.prepare()
        return game

    def _autocast(self) -> Any:
        if self.config.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def fixed_z(self, count: int, purpose: int) -> Tensor:
        rng = torch.Generator().manual_seed(self.config.seed * 16 + purpose & 2**63 - 1)
        return torch.randn(count, self.config.latent_dim, generator=rng).to(self.device)

    def round(self) -> tuple[Turn, Turn]:
        """One round, from Python; ``play`` is this, or on a GPU the same round from a recording."""
        return self.update(self.game, self.balance, self.draw)

    def draw(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """This process's part of a fresh batch: reals (N, C, H, W), labels (N,) or None, and z (N, Z)."""
        real, labels = self.next_batch()
        shape = self.config.batch_size, self.config.latent_dim
        z = torch.randn(shape, generator=self.rng, device=self.device)
        return real, labels, distributed.part(z)

    @distributed.alone()
    def picture(self) -> np.ndarray:
        """Samples of the same 64 z, by the averaged G: uint8 (8·S, 8·S, C). Of points: see plane.picture."""
        if self.in_plane:
            game = self.game
            return plane.picture(
                game.g.module, game.d.module, game.objective, self.samples_z, self.dataset, game.step
            )
        images = imaging.generate(self.average_for_samples(), [self.samples_z])
        return imaging.grid(next(images), 8, 8)

    def average_for_samples(self) -> nn.Module:
        """The averaged G, in eval mode, its virtual batch norm's statistics those of its present weights."""
        set_reference(self.average.module, self.game.reference[1])
        return self.average.module

    def scores(self) -> dict[str, float]:
        """What only this kind of data has: coverage of modes in the plane, or a classifier's test error."""
        if self.in_plane:
            return plane.scores(self.game.g.module, self.average.module, self.samples_z, self.dataset)
        if self.classifier and self.due(self.config.sample_every):
            return {"test_error": error_rate(self.classifier.module, *self.test)}
        return {}

    def due(self, every: int) -> bool:
        """Whether something done every so many steps, and at the end, is due now."""
        return self.game.step % every == 0 or self.game.step == self.config.steps

    # ---------------------------------------------------------------- what can go wrong

    def watch(self, d_loss: Tensor, g_loss: Tensor, folder: Path) -> None:
        """Remember the first step whose loss is not finite; on a CPU, where a look is free, stop there."""
        if self.device.type == "cpu":
            finite = math.isfinite(d_loss.item()) and math.isfinite(g_loss.item())
            return self._stop_if(0 if finite else self.game.step, "a loss", folder)
        finite = torch.isfinite(d_loss.detach()) & torch.isfinite(g_loss.detach())
        self.bad = torch.where((self.bad == 0) & ~finite, self.game.step, self.bad)
        if self.game.step % self.config.log_every == 0:
            self._stop_if(int(self.bad), "a loss", folder)

    def check(self, folder: Path) -> None:
        """Before a checkpoint: it replaces the last good one, so it must be good."""
        self._stop_if(int(self.bad), "a loss", folder)
        for player in (self.game.g, self.game.d):
            finite = torch.stack([torch.isfinite(p).all() for p in player.module.parameters()]).all()
            self._stop_if(0 if finite else self.game.step, "a weight", folder)

    def _stop_if(self, step: int, what: str, folder: Path) -> None:
        if step:
            kept = folder / "checkpoint.pt"
            last = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
            raise UserError(
                f"step {step}: {what} became NaN or infinite, and the run has stopped; {last}. "
                "Lower --lr-d and --lr-g, or choose another --recipe"
            )

    # ---------------------------------------------------------------- what a checkpoint holds

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.game.g.module,
            "discriminator": self.game.d.module,
            "average": self.average.module,
            "g_optimizer": self.game.g.optimizer,
            "d_optimizer": self.game.d.optimizer,
            "batches": self.batches,
            "techniques": self._techniques(),
            **({"classifier": self.classifier.module} if self.classifier else {}),
        }

    def _techniques(self) -> nn.ModuleDict:
        game = self.game
        penalties = {f"penalty {k}": penalty for k, penalty in enumerate(game.penalties)}
        rules = {"objective": game.objective, "balance": self.balance, "update rule": self.update}
        return nn.ModuleDict(rules | penalties)

    def state_dict(self) -> dict[str, Any]:
        self.average_for_samples()  # so that a checkpoint draws samples by itself
        return {
            "format": checkpoint.FORMAT,
            "config": self.config.to_dict(),
            "step": self.game.step,
            "shape": list(self.dataset.shape),
            "classes": list(self.dataset.classes),
            "reference": dict(zip(("real", "z"), self.game.reference)),
            "rng": self.rng.get_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a run where its checkpoint left it. Raises UserError where the two do not fit."""
        if tuple(state["shape"]) != self.dataset.shape or state["classes"] != list(self.dataset.classes):
            raise UserError(f"the data at {self.config.data} is no longer what this run was trained on")
        for name, part in self._parts().items():
            checkpoint.restore(part, state.get(name, {}), name)
        try:
            self.rng.set_state(state["rng"])
            self.game.reference = tuple(state["reference"][name].to(self.device) for name in ("real", "z"))
        except (RuntimeError, TypeError, KeyError, AttributeError) as error:
            raise UserError("the checkpoint's random state or reference batch is damaged") from error
        self.game.step = state["step"]


@torch.no_grad()
def error_rate(classifier: nn.Module, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """The share of images, uint8 (N, H, W, C) as stored, whose class the classifier gets wrong."""
    wrong = 0
    for x, y in zip(images.split(batch), labels.split(batch)):
        wrong += (classifier(finish(x, None, None)[0]).logits.argmax(dim=1) != y).sum()
    return float(wrong) / len(labels)


def optimizer(config: Config, module: nn.Module, rate: float) -> torch.optim.Optimizer:
    """The step rule of one player; Adam and SGD in their fused form, a few kernels for all parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, (config.beta1, config.beta2), fused=True)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, alpha=config.beta2)
    return torch.optim.SGD(parameters, rate, momentum=config.beta1, fused=True)


# ---------------------------------------------------------------- before the first step


def settle(config: Config, progress: bool = True) -> tuple[Config, Dataset]:
    """Open the data and choose every setting left to us: the complete Config and its Dataset."""
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no GPU; leave it out to train on the CPU")
    points = config.data in MIXTURES
    default = EVERYWHERE | (IN_PLANE if points else ON_GPU if device == "cuda" else ON_CPU)
    chosen = {name: value for name, value in default.items() if getattr(config, name) is None}
    if not points and os.path.exists(config.data):
        chosen["data"] = os.path.abspath(config.data)  # so that a run resumes from any folder
    config = config.replace(device=device, precision=precision(config, device, points), **chosen)
    distributed.split(config.batch_size)
    with distributed.one_first():
        dataset = open_dataset(config.data, config.image_size or 32, config.channels, progress=progress)
        if config.labels_per_class and test_split(config) is None:
            dataset, _ = hold_out(dataset)
    if config.flip and not dataset.flip:
        raise UserError(f"--flip makes no sense for {dataset.name}: its mirror images are not samples of it")
    channels = None if points else dataset.shape[0]
    config = config.replace(channels=channels, d_width=config.d_width or config.width)
    recipes.check(config, dataset.shape)
    return config, dataset


def test_split(config: Config) -> Dataset | None:
    """The data's own, where it has one."""
    return open_dataset(config.data, config.image_size or 32, config.channels, split="test")


def test_images(config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    """The test split, or else the tenth that training leaves out: uint8 (N, H, W, C), labels int64 (N,)."""
    test = test_split(config) or hold_out(open_dataset(config.data, config.image_size, config.channels))[1]
    return torch.tensor(test.samples, device=device), torch.tensor(test.labels, device=device)


def precision(config: Config, device: str, points: bool) -> str:
    """bfloat16 where the processor has it and nothing differentiates a gradient, else float32."""
    if config.precision != "auto":
        return config.precision
    second_order = build("updates", config.update).second_order or any(
        build("penalties", spec).second_order for spec in config.penalties
    )
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native and not second_order and not points else "float32"


def fast_arithmetic(device: str) -> None:
    """On a GPU: TF32 for the products that stay float32, and the algorithms found fastest for their shapes."""
    if device == "cuda":
        torch.backends.cuda.matmul.fp32_precision = "tf32"  # convolutions have it by default
        torch.backends.cudnn.benchmark = True


def prepare_folder(folder: Path, config: Config) -> None:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    partial = folder / "config.json.partial"
    partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / "config.json")


# ---------------------------------------------------------------- being stopped


class Stopped(Exception):
    """The run was asked to stop and has saved itself."""

    def __init__(self, number: int, step: int, folder: Path):
        self.status = 128 + number
        super().__init__(
            f"stopped after step {step}; go on with: python train.py --resume {shlex.quote(str(folder))}"
        )


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM in a list instead of dying of them; a second one is obeyed at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
