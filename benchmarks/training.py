"""Training against a tutorial's loop, in images a second and peak memory: python benchmarks/training.py

The plain loop is the DCGAN that most people start from: NCHW, float32, Adam as it comes, D's two losses
differentiated one after the other, and in G's step the weight gradients of D too, which the next step throws
away. The fast one is ``gan_ref.loop.play_round``, with the average of G's weights and the guard against NaN.
Both have the same layers and batch size. Each configuration has a process to itself, in which short segments
of the two alternate, so that whatever else the machine does slows both; a ratio is the median over pairs of
segments. Peak memory is of processes that run one of the two: resident on a CPU, allocated on a GPU.
"""

import argparse
import io
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gan_ref.config import Config
from gan_ref.cuda_graph import REHEARSALS
from gan_ref.data import Batches, Dataset
from gan_ref.data.faces import draw
from gan_ref.loop import play_round
from gan_ref.run import Run, choose_precision, use_fast_arithmetic
from gan_ref.watch.finite import FiniteGuard

Step = Callable[[], object]

BASE = (64, 64, 64)  # image size, width, batch; one at a time is varied
SWEEP = [(32, 32, 64), BASE, (32, 64, 64), (128, 64, 64)]
SWEEP += [(64, 32, 64), (64, 128, 64), (64, 64, 16), (64, 64, 256)]
QUICK = SWEEP[:2]
LATENT = 100
WARM_UP = {"cpu": 1, "cuda": REHEARSALS + 1}  # algorithms are chosen; on a GPU the round is recorded too

# ---------------------------------------------------------------- the plain loop


def plain_networks(size: int, width: int) -> tuple[nn.Module, nn.Module]:
    """The layers of gan_ref.networks.dcgan as a tutorial writes them down, in PyTorch's default layout."""
    sizes = [width * min(2**k, 8) for k in range(size.bit_length() - 3)]  # beside the image first
    g: list[nn.Module] = [nn.ConvTranspose2d(LATENT, sizes[-1], 4, bias=False)]
    for before, after in zip(sizes[::-1], sizes[-2::-1]):
        g += [nn.BatchNorm2d(before), nn.ReLU(True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    g += [nn.BatchNorm2d(sizes[0]), nn.ReLU(True), nn.ConvTranspose2d(sizes[0], 3, 4, 2, 1), nn.Tanh()]
    d: list[nn.Module] = [nn.Conv2d(3, sizes[0], 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for before, after in zip(sizes, sizes[1:]):
        d += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
    d += [nn.Conv2d(sizes[-1], 1, 4), nn.Flatten(0)]
    return nn.Sequential(*g), nn.Sequential(*d)


def plain(size: int, width: int, batch: int, device: torch.device) -> Step:
    g, d = (network.to(device) for network in plain_networks(size, width))
    d_adam, g_adam = (torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (d, g))
    loss = nn.BCEWithLogitsLoss()
    real, ones = images(size, batch, device), torch.ones(batch, device=device)
    zeros = torch.zeros_like(ones)

    def step() -> tuple[float, float]:
        d.zero_grad()
        on_real = loss(d(real), ones)
        on_real.backward()
        fake = g(torch.randn(batch, LATENT, 1, 1, device=device))
        on_fake = loss(d(fake.detach()), zeros)
        on_fake.backward()
        d_adam.step()
        g.zero_grad()
        g_loss = loss(d(fake), ones)
        g_loss.backward()
        g_adam.step()
        return (on_real + on_fake).item(), g_loss.item()

    return step


def plain_parts(size: int, width: int, batch: int, device: torch.device) -> Step:
    """Its forward and backward passes alone, without data, losses and Adam: the least that it could take."""
    g, d = (network.to(device) for network in plain_networks(size, width))
    real, z = images(size, batch, device), torch.randn(batch, LATENT, 1, 1, device=device)

    def step() -> None:
        fake = g(z)
        for x in (real, fake.detach(), fake):
            d(x).sum().backward()

    return step


def images(size: int, batch: int, device: torch.device) -> Tensor:
    return torch.rand(batch, 3, size, size, device=device) * 2 - 1


# ---------------------------------------------------------------- ours


def fast(size: int, width: int, batch: int, device: torch.device, kind: str, how: str = "") -> Step:
    """What gan_ref.loop.train does in a round that neither logs nor saves."""
    samples = np.random.default_rng(0).integers(0, 256, (4 * batch, size, size, 3), dtype=np.uint8)
    config = Config(
        image_size=size, width=width, d_width=width, batch_size=batch, latent_dim=LATENT, channels=3,
        steps=10**9, log_every=10**6, sample_every=10**6, checkpoint_every=10**6, beta1_d=0.5,
        device=device.type, precision=kind, cuda_graph=not how,
    )  # fmt: skip
    config = config.replace(precision=choose_precision(config, device.type, points=False))
    run = Run(config, Dataset("noise", samples, None, (), flip=True))
    if how == "compiled":
        for player in (run.game.g, run.game.d):
            player.module.compile(dynamic=False)

    guard = FiniteGuard(run.game, Path("."), run.device, config.log_every)

    def step() -> None:
        d, g = play_round(run)
        guard.look(d.loss, g.loss)

    return step


# ---------------------------------------------------------------- measuring


def seconds(step: Step, count: int, device: torch.device) -> float:
    """Of one step, over ``count``; on a GPU by its own clock."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(count):
            step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000 / count
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def compare(
    size: int, width: int, batch: int, device: torch.device, segments: int, length: float, compile: bool
) -> dict:
    """Images a second of every contestant, and their ratios to the plain loop, segment by segment."""
    shape = size, width, batch
    contestants = {
        "plain": plain(*shape, device),
        "its passes": plain_parts(*shape, device),
        "float32": fast(*shape, device, "float32"),
        "auto": fast(*shape, device, "auto"),
    }
    if device.type == "cuda":
        contestants["from Python"] = fast(*shape, device, "auto", "from Python")
    if compile:
        contestants["compiled"] = fast(*shape, device, "auto", "compiled")
    counts = {}
    for name, step in contestants.items():
        for _ in range(WARM_UP[device.type]):
            step()
        counts[name] = max(1, round(length / seconds(step, 1, device)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(segments):
        for name, step in contestants.items():
            times[name].append(seconds(step, counts[name], device))
    ratio = {
        name: statistics.median(p / t for p, t in zip(times["plain"], times[name])) for name in contestants
    }
    return {
        "image_size": size, "width": width, "batch": batch,
        "precision": choose_precision(Config(device=device.type), device.type, points=False),
        "images_per_second": {name: batch / statistics.median(t) for name, t in times.items()},
        "times_plain": ratio, "seconds": times,
    }  # fmt: skip


def peak(size: int, width: int, batch: int, device: torch.device, which: str) -> float:
    """MiB after a few steps of one contestant."""
    step = plain(size, width, batch, device) if which == "plain" else fast(size, width, batch, device, which)
    for _ in range(WARM_UP[device.type] + 2):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def loading(size: int, batch: int, device: torch.device) -> dict[str, float]:
    """Images a second of the data alone: ours from the cache, and JPEGs decoded anew, in one process."""
    pictures, _ = draw(np.arange(256), size, seed=0)
    files = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG")
        files.append(file)
    ours = Batches(Dataset("faces", pictures, None, (), flip=True), batch, seed=0, device=device, flip=True)

    def decode() -> Tensor:
        arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files[:batch]]
        stacked = torch.stack([torch.from_numpy(a.copy()).permute(2, 0, 1).float().div(255) for a in arrays])
        return stacked.sub_(0.5).div_(0.5).to(device)

    rates = {}
    for name, step in (("cached", ours.next), ("jpeg", decode)):
        step()
        rates[name] = batch / min(seconds(step, 20, device) for _ in range(5))
    return rates


# ---------------------------------------------------------------- the table


def alone(*arguments: object) -> dict:
    """The result of this script, called with ``arguments``, in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def one(what: str, size: int, width: int, batch: int, device: str, *rest: Any) -> object:
    place = torch.device(device)
    use_fast_arithmetic(Config(device=device))  # for the plain loop too
    if what == "compare":
        return compare(size, width, batch, place, *rest)
    if what == "peak":
        return peak(size, width, batch, place, *rest)
    return loading(size, batch, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="32x32 at width 32 and 64x64 at width 64 alone")
    parser.add_argument("--segments", type=int, default=7, help="pairs of segments a configuration [7]")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a segment [1]")
    parser.add_argument("--compile", action="store_true", help="our networks through torch.compile too")
    parser.add_argument("--out", type=Path, help="write everything as JSON too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*json.loads(options.one))))
        return

    gpu, threads = options.device == "cuda", f"{torch.get_num_threads()} CPU threads"
    about = {
        "command": " ".join(["python", *sys.argv]), "date": time.strftime("%Y-%m-%d"),
        "hardware": torch.cuda.get_device_name() if gpu else threads, "machine": platform.machine(),
        "torch": torch.__version__,
    }  # fmt: skip
    print("{hardware}, torch {torch}, {date}; images a second, times plain, peak MiB".format(**about))
    print("size width batch │ plain  MiB │ float32        MiB │ auto                MiB │ passes/plain")
    rows = []
    for shape in QUICK if options.quick else SWEEP:
        measured = options.device, options.segments, options.seconds, options.compile
        row = alone("compare", *shape, *measured)
        row["peak_mib"] = {n: alone("peak", *shape, options.device, n) for n in ("plain", "float32", "auto")}
        rows.append(row)
        rate, times, mib = row["images_per_second"], row["times_plain"], row["peak_mib"]
        print(
            f"{shape[0]:4} {shape[1]:5} {shape[2]:5} │ {rate['plain']:5.0f} {mib['plain']:4.0f} │ "
            f"{rate['float32']:6.0f}  {times['float32']:.2f}×  {mib['float32']:5.0f} │ "
            f"{rate['auto']:6.0f}  {times['auto']:.2f}× {row['precision'][:8]} {mib['auto']:5.0f} │ "
            f"{1 / times['its passes']:.2f}",
            flush=True,
        )
        for name in ("from Python", "compiled"):
            if name in times:
                print(f"{'':16} │ auto, {name}: {rate[name]:.0f} {times[name]:.2f}×", flush=True)
    data = {size: alone("loading", size, 0, 64, options.device) for size in (32, 64, 128)}
    for size, rates in data.items():
        cached, jpeg = rates["cached"], rates["jpeg"]
        print(f"data alone, {size}x{size}: {cached:,.0f} images/s from the cache, {jpeg:,.0f} from JPEGs")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(about | {"steps": rows, "data": data}, indent=1) + "\n")


if __name__ == "__main__":
    main()
