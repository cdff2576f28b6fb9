"""What a run is made of, what of it a checkpoint holds, and how settings that are left open are chosen."""

from typing import Any

import torch
from torch import Tensor, nn

from gan_ref import checkpoint, cuda_graph, distributed
from gan_ref.config import OF_NETWORKS, Config, flag
from gan_ref.data import Batches, Dataset, absolute, has_small_images, is_points, open_split, open_training
from gan_ref.data.batches import finish
from gan_ref.data.partly import PartlyLabelled, hold_out
from gan_ref.devices import choose_device
from gan_ref.errors import UserError
from gan_ref.latents.classes import classes_in_turn, with_class
from gan_ref.latents.numbers import numbered_z
from gan_ref.layers import measure_statistics, seed_noise, set_reference, synchronise_batch_norm
from gan_ref.networks import build_discriminator, build_generator
from gan_ref.networks.conditional import classes_told
from gan_ref.networks.lapgan import levels, pyramid, to_rows
from gan_ref.networks.size import require_memory
from gan_ref.seeds import mix_seed
from gan_ref.techniques import build
from gan_ref.techniques.averaging import Average
from gan_ref.techniques.combinations import refuse_contradictions
from gan_ref.techniques.game import Batch, Game, Player, UpdateRule

# The settings of a run where no flag or recipe gives them. Those for the CPU were measured on two cores:
# docs/speed.md.
EVERYWHERE = {"latent_dim": 100, "log_every": 20, "sample_every": 200, "checkpoint_every": 500}
ON_CPU = {"image_size": 32, "width": 64, "steps": 4_500, "batch_size": 32}
ON_GPU = {"image_size": 64, "width": 64, "steps": 50_000, "batch_size": 128}
IN_PLANE = {"width": 128, "latent_dim": 2, "steps": 15_000, "batch_size": 256}
IN_PLANE |= {"log_every": 100, "sample_every": 1000, "checkpoint_every": 1000}

STATISTICS = 512  # samples that measure the statistics of the averaged G; 2,048 give no better ones


class Run:
    """The game, with everything that must survive a crash for the next round to be the same."""

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.classes = classes_told(config, dataset.classes)
        self.levels = levels(config, dataset.shape)
        self.device = torch.device(config.device)
        self.rng = torch.Generator(self.device).manual_seed(mix_seed(config.seed, "training"))
        self.data = open_batches(config, dataset)
        generator, discriminator = build_networks(config, dataset, self.rng)
        self.average = Average(generator, config.ema)
        self.d_average = Average(discriminator, config.d_ema) if config.labels_per_class else None
        of_g = config.optimizer, config.lr_g, config.beta1
        of_d = config.optimizer_d, config.lr_d, config.beta1_d
        self.game = Game(
            Player(generator, build_optimizer(config, generator, *of_g)),
            Player(discriminator, build_optimizer(config, discriminator, *of_d)),
            build("objectives", config.objective).to(self.device),
            build("balance", config.balance),
            [build("penalties", line).to(self.device) for line in config.penalties],
            build("noise", config.instance_noise) if config.instance_noise else None,
            build("augmentation", config.augment).to(self.device) if config.augment else None,
            build("growth", config.growth) if config.growth else None,
            [build("schedules", line) for line in config.schedules],
            config.steps,
            rng=self.rng,
            reference=self._reference(),
            averages=[average for average in (self.average, self.d_average) if average],
            bfloat16=config.precision == "bfloat16",
            pack=config.pack,
            mixed_batches=config.mixed_batches,
        )
        self.game.prepare()
        self.update: UpdateRule = build("updates", config.update)
        self.not_recorded = cuda_graph.reason_not_to_record(config, self.game)
        self._measured_in = -1  # the round whose average has its norms' statistics
        self.play = self.update if self.not_recorded else cuda_graph.RecordedRounds(self.update, self.game)

    def _reference(self) -> Batch:
        """The fixed batch that virtual batch norm compares with, whole on every process."""
        config = self.config
        rng = torch.Generator().manual_seed(mix_seed(config.seed, "reference"))
        z = torch.randn(config.batch_size, config.latent_dim, generator=rng)
        x, labels = self.data.take(config.batch_size)
        return Batch(x, labels, self.with_class(z.to(self.device), labels))

    def numbered_z(self, count: int) -> Tensor:
        """z number 0 to count − 1 of the run's seed, (count, latent_dim): those of its sample pages.

        A conditional G's have the classes in turn.
        """
        z = numbered_z(self.config.seed, range(count), self.config.latent_dim)
        return with_class(z, classes_in_turn(range(count), self.classes), self.classes).to(self.device)

    def batch(self, x: Tensor, labels: Tensor | None, z: Tensor) -> Batch:
        """What a round is played with, of reals x (N, C, H, W) and z (N, Z).

        A conditional G has the labels at the end of z. A pyramid has the levels of x as rows, and x itself at
        the end of z, since it makes its fakes from smaller reals.
        """
        if self.levels > 1:
            z = torch.cat([z, x.flatten(1)], dim=1)
            return Batch(to_rows(pyramid(x, self.levels)), labels, z)
        return Batch(x, labels, self.with_class(z, labels))

    def with_class(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """What G is given for z (N, Z): the same, and the labels (N,) if it is conditional."""
        return with_class(z, labels, self.classes)

    def sampling_generator(self) -> nn.Module:
        """The averaged G in eval mode, with the statistics that its norms have at its present weights.

        After 2,500 rounds of the recipe dcgan the Fréchet distance is 7 or 8% less than with averaged
        statistics, for each of three seeds (benchmarks/averaging.py).
        """
        self.game.grow()
        if self._measured_in != self.game.round:
            assert self.game.reference is not None
            rng = torch.Generator().manual_seed(mix_seed(self.config.seed, "statistics"))
            z = torch.randn(STATISTICS, self.config.latent_dim, generator=rng).to(self.device)
            z = self.with_class(z, self.data.take(STATISTICS)[1] if self.classes else None)
            with distributed.alone():
                set_reference(self.average.module, self.game.reference.z)
                measure_statistics(self.average.module, z.split(64))
            self._measured_in = self.game.round
        return self.average.module

    # ---------------------------------------------------------------- what a checkpoint holds

    def _parts(self) -> dict[str, Any]:
        game = self.game
        techniques: dict[str, Any] = {f"penalty {k}": penalty for k, penalty in enumerate(game.penalties)}
        techniques |= {"objective": game.objective, "balance": game.balance, "update rule": self.update}
        if game.augmentation is not None:
            techniques["augmentation"] = game.augmentation
        return {
            "generator": game.g.module,
            "discriminator": game.d.module,
            "average": self.average.module,
            "g_optimizer": game.g.optimizer,
            "d_optimizer": game.d.optimizer,
            "batches": self.data,
            "techniques": nn.ModuleDict(techniques),
            **({"d_average": self.d_average.module} if self.d_average else {}),
        }

    def state_dict(self) -> dict[str, Any]:
        self.sampling_generator()  # so that a checkpoint draws samples by itself
        assert self.game.reference is not None
        return {
            "format": checkpoint.FORMAT,
            "config": self.config.to_dict(),
            "step": self.game.round,
            "shape": list(self.dataset.shape),
            "classes": list(self.dataset.classes),
            "reference": {"real": self.game.reference.x, "z": self.game.reference.z},
            "rng": self.rng.get_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written. Raises UserError if it does not fit this run."""
        if tuple(state["shape"]) != self.dataset.shape or state["classes"] != list(self.dataset.classes):
            raise UserError(f"the data at {self.config.data} is no longer what this run was trained on")
        fresh = self.state_dict()
        for name in ("reference", "rng"):
            checkpoint.require_like(state[name], fresh[name], name)
        for name, part in self._parts().items():
            checkpoint.restore(part, state.get(name), name)
        try:
            self.rng.set_state(state["rng"])
        except RuntimeError as error:
            raise UserError("the checkpoint's random state is damaged") from error
        reference = state["reference"]
        labels = self._reference().labels
        self.game.reference = Batch(reference["real"].to(self.device), labels, reference["z"].to(self.device))
        self.game.round, self._measured_in = state["step"], -1

    def begin_from(self, other: dict[str, Any]) -> None:
        """Take the weights of another run's checkpoint: G, D and the average of G. Nothing else is the same.

        Raises UserError if its networks are built otherwise.
        """
        parts = self._parts()
        for name in ("generator", "discriminator", "average"):
            mine, theirs = (
                {key: getattr(value, "shape", None) for key, value in state.items()}
                for state in (parts[name].state_dict(), other[name])
            )
            if mine != theirs:
                changed = [n for n in OF_NETWORKS if getattr(self.config, n) != getattr(other["config"], n)]
                flags = ", ".join(f"{flag(n)} (there {getattr(other['config'], n)})" for n in changed)
                todo = f"leave out what changes the networks, {flags}"
                raise UserError(f"--init: its {name} is built otherwise: {todo}")
            checkpoint.restore(parts[name], other[name], name)
        for penalty in self.game.penalties:
            penalty.prepare(self.game)  # as it may remember where the players began


def open_batches(config: Config, dataset: Dataset) -> Batches | PartlyLabelled:
    """The endless stream of this process's part of each batch."""
    regular = config.batch_size, config.seed, torch.device(config.device), config.flip
    place = distributed.rank(), distributed.world()
    if config.labels_per_class:
        return PartlyLabelled(dataset, config.labels_per_class, *regular, *place)
    return Batches(dataset, *regular, *place)


def build_networks(config: Config, dataset: Dataset, rng: torch.Generator) -> tuple[nn.Module, nn.Module]:
    """G and D on the run's device; their noise layers draw from ``rng``."""
    classes = classes_known(config, dataset)
    generator = build_generator(config, dataset.shape, classes).to(config.device)
    discriminator = build_discriminator(config, dataset.shape, classes).to(config.device)
    for network in (generator, discriminator):
        seed_noise(network, rng)
        if config.sync_batch_norm and distributed.world() > 1:
            synchronise_batch_norm(network)
    return generator, discriminator


def classes_known(config: Config, dataset: Dataset) -> int:
    """How many classes the networks know, whether G is told them or D finds them; 0 if they know none."""
    return len(dataset.classes) if config.labels_per_class else classes_told(config, dataset.classes)


def build_optimizer(
    config: Config, module: nn.Module, name: str, rate: float, beta1: float
) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    if name == "adam":
        return torch.optim.Adam(parameters, rate, (beta1, config.beta2), fused=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, alpha=config.beta2)
    return torch.optim.SGD(parameters, rate, momentum=beta1, fused=True)


# ---------------------------------------------------------------- before the first round


def choose_settings(config: Config) -> tuple[Config, Dataset]:
    """Open the data and choose every setting that is None: the complete Config and its Dataset."""
    device = choose_device(config.device).type
    if device == "mps" and distributed.world() > 1:
        raise UserError("Apple's GPU trains in one process: leave torchrun out, or take --device cpu")
    points = is_points(config.data)
    for name in ("image_size", "channels"):
        if points and getattr(config, name) is not None:
            raise UserError(f"{flag(name)} does not apply to {config.data}: its samples are points")
    default = EVERYWHERE | (IN_PLANE if points else ON_GPU if device == "cuda" else ON_CPU)
    if config.image_size is None and not points and has_small_images(config.data):
        default["image_size"] = 32
    chosen: dict[str, Any] = {name: value for name, value in default.items() if getattr(config, name) is None}
    chosen["data"] = absolute(config.data)
    config = config.replace(device=device, precision=choose_precision(config, device, points), **chosen)
    distributed.share_batches(config.batch_size, config.pack)
    dataset = open_training(config)
    if config.labels_per_class and open_split(config, "test") is None:
        dataset, _ = hold_out(dataset)
    if config.conditional != "none" and (dataset.labels is None or len(dataset.classes) < 2):
        has = f"{dataset.name} has {'no labels' if dataset.labels is None else 'only one class'}"
        raise UserError(f"--conditional {config.conditional}: {has}; put images in class folders")
    if config.flip and not dataset.flip:
        raise UserError(f"--flip makes no sense for {dataset.name}: its mirror images are not samples of it")
    config = config.replace(
        channels=None if points else dataset.shape[0],
        threads=config.threads or min(torch.get_num_threads(), 256),  # the data, now open, took all cores
        d_width=config.d_width or config.width,
        d_layers=config.d_layers or config.layers,
        optimizer_d=config.optimizer_d or config.optimizer,
        beta1_d=config.beta1 if config.beta1_d is None else config.beta1_d,
    )
    refuse_contradictions(config, dataset.shape)
    require_memory(config, dataset.shape, classes_known(config, dataset))
    return config, dataset


def second_order(config: Config) -> bool:
    """Whether the run differentiates gradients."""
    penalties = [build("penalties", line) for line in config.penalties]
    return any(part.second_order for part in (build("updates", config.update), *penalties))


def choose_precision(config: Config, device: str, points: bool) -> str:
    """bfloat16 if the processor has it and nothing differentiates a gradient, else float32."""
    if config.precision != "auto":
        return config.precision
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False  # on Apple's GPU nobody has measured it
    return "bfloat16" if native and not points and not second_order(config) else "float32"


def use_fast_arithmetic(config: Config) -> None:
    """On a GPU, let cuDNN measure its algorithms, and let products that stay float32 use TF32.

    Runs that differentiate gradients keep full float32, for the reason that they do not use bfloat16: the
    second derivative loses too much.
    """
    if config.device == "cuda":
        torch.backends.cudnn.benchmark = True
        precision = "ieee" if second_order(config) else "tf32"
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]  # made at run time


# ---------------------------------------------------------------- D as a classifier


def test_images(config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    """The test split, or else the tenth that training leaves out: uint8 (N, H, W, C), labels int64 (N,)."""
    test = open_split(config, "test")
    if test is None:
        _, test = hold_out(open_training(config))
    return torch.tensor(test.samples, device=device), torch.tensor(test.labels, device=device)


@torch.no_grad()
def error_rate(discriminator: nn.Module, images: Tensor, labels: Tensor, batch: int) -> float:
    """The share of images uint8 (N, H, W, C) whose largest class logit is not their label's, in eval mode.

    With minibatch discrimination a logit depends on the batch, so all batches are as in training: shuffled,
    and of ``batch`` images, the last one filled up with some of the first.
    """
    wrong = torch.zeros((), device=images.device)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).to(images.device)
    for part in order.split(batch):
        filled = torch.cat([part, order[: batch - len(part)]])
        x, _ = finish(images[filled], None, None)
        wrong += (discriminator(x).logits.argmax(1)[: len(part)] != labels[part]).sum()
    return float(wrong) / len(images)
