"""How fast the two operators are, against other ways to write them and against what the machine can do.

    python benchmarks/kernels.py [--device auto|cpu|cuda] [--quick] [--out results.json]

On a GPU: forward, and forward with backward, each the median of repeated runs timed by CUDA events, on inputs
that take turns so that none is simply found in the L2 cache; the peak of memory; and the share of the floor.
The floor of the similarity is its arithmetic or its exponentials, whichever takes longer, once per unordered
pair; that of the norm is its bytes: one read and one write forward, two reads and one write backward. The
machine's ceilings (copy bandwidth, additions, exponentials) are measured in the same run.
On the CPU: the operators' PyTorch forms against the same others.
"""

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ref import ops
from gan_ref.ops import norm, similarity

try:  # comes with a CUDA build of torch, and only with that
    import triton  # pyright: ignore[reportMissingImports]
    import triton.language as tl  # pyright: ignore[reportMissingImports]
except ImportError:
    triton = None

SIMILARITY = [(128, 100, 5), (512, 100, 5), (1024, 100, 5), (1024, 50, 16), (64, 300, 50)]  # N, B, C
NORM = [(128, 64, 32, 32), (128, 512, 4, 4), (64, 128, 64, 64)]  # N, C, H, W
REFERENCE_SIZE, SLOPE = 128, 0.2

Operator = Callable[..., Tensor]


# --- the other ways to write them ---------------------------------------------------------------------------


def broadcast(features: Tensor) -> Tensor:
    """As the paper's formula reads: N²·B·C numbers."""
    distances = (features[:, None] - features[None]).abs().sum(3)
    return torch.exp(-distances).sum(1) - 1


def by_cdist(features: Tensor) -> Tensor:
    by_kernel = features.transpose(0, 1).contiguous()  # (B, N, C)
    return (torch.exp(-torch.cdist(by_kernel, by_kernel, p=1)).sum(2) - 1).t()


def batch_norm(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(F.batch_norm(x, None, None, weight, bias, training=True), SLOPE)


def instance_norm(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(F.instance_norm(x, weight=weight, bias=bias), SLOPE)


def virtual(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return ops.virtual_batch_norm(x, mean, var, weight, bias, REFERENCE_SIZE, negative_slope=SLOPE)


def virtual_plain(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return norm.plain(x, mean, var, weight, bias, REFERENCE_SIZE, 1e-5, SLOPE)


# --- measuring ----------------------------------------------------------------------------------------------


def seconds(step: Callable[[int], object], device: str, repeats: int) -> float:
    """Median seconds of step(k). On a GPU the launches are queued behind a busy wait, so that the events time
    the GPU's work and not the time Python takes to ask for it."""
    for k in range(3):
        step(k)
    if device == "cpu":
        took = []
        for k in range(repeats):
            start = time.perf_counter()
            step(k)
            took.append(time.perf_counter() - start)
        return statistics.median(took)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    torch.cuda.synchronize()
    for k, (start, end) in enumerate(events):
        torch.cuda._sleep(2_000_000)  # about a millisecond of cycles
        start.record()
        step(k)
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events) / 1e3


def measure(
    operator: Operator, inputs: list[tuple[Tensor, ...]], device: str, repeats: int
) -> dict[str, float | str]:
    """Seconds forward, seconds forward and backward, and bytes at the peak beyond what the inputs hold.

    `inputs` are sets of arguments that take turns. What does not fit the memory, or fails to compile, gives
    its error instead.
    """
    torch._dynamo.reset()  # else the ninth shape of a compiled function would run uncompiled
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    leaves = [tuple(t.detach().requires_grad_() for t in arguments) for arguments in inputs]
    grads = torch.empty(0)

    def forward(k: int) -> Tensor:
        with torch.no_grad():
            return operator(*inputs[k % len(inputs)])

    def both(k: int) -> tuple[Tensor | None, ...]:
        arguments = leaves[k % len(leaves)]
        return torch.autograd.grad(operator(*arguments), arguments, grads, allow_unused=True)

    try:
        grads = torch.randn_like(forward(0))
        result: dict[str, float | str] = {
            "forward_s": seconds(forward, device, repeats),
            "both_s": seconds(both, device, repeats),
        }
        if device == "cuda":
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            both(0)
            torch.cuda.synchronize()
            result["peak_bytes"] = torch.cuda.max_memory_allocated() - before
        return result
    except (torch.OutOfMemoryError, RuntimeError) as error:
        return {"failed": str(error).splitlines()[0][:100]}


if triton is not None:

    @triton.jit
    def many_additions(x, rounds, BLOCK: tl.constexpr):
        at = x + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        t = tl.load(at)
        step = t * 0.5
        for _ in range(rounds):
            for _ in tl.static_range(32):
                t = t + step
        tl.store(at, t)

    @triton.jit
    def many_exponentials(x, rounds, BLOCK: tl.constexpr):
        at = x + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        t = tl.load(at)
        for _ in range(rounds):
            for _ in tl.static_range(32):
                t = tl.exp2(-t)
        tl.store(at, t)


def copied_bytes(repeats: int) -> float:
    """Bytes a second that this GPU reads and writes in a copy."""
    big = torch.empty(2**28, device="cuda")
    other = torch.empty_like(big)
    return 2 * big.nbytes / seconds(lambda k: other.copy_(big), "cuda", repeats)


def ceilings(repeats: int) -> dict[str, float]:
    """What this GPU does at best, a second: bytes copied (read and written), float32 additions, exponentials.

    The last two by kernels that do nothing else, 4096 times on each of 2²² numbers.
    """
    result = {"copy_bytes_per_s": copied_bytes(repeats)}
    if triton is not None:
        x, rounds, block = torch.rand(2**22, device="cuda"), 128, 1024
        grid = (x.numel() // block,)
        kernels: dict[str, Any] = {"additions": many_additions, "exponentials": many_exponentials}
        for name, kernel in kernels.items():
            took = seconds(lambda k, run=kernel[grid]: run(x, rounds, BLOCK=block), "cuda", repeats)
            result[f"{name}_per_s"] = 32 * rounds * x.numel() / took
    return result


# --- the tables ---------------------------------------------------------------------------------------------


def draw_features(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    return (torch.randn(shape, device=device, dtype=dtype),)


def draw_norm_arguments(
    shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format, device: str
) -> tuple[Tensor, ...]:
    x = torch.randn(shape, device=device, dtype=dtype).to(memory_format=layout)
    mean, var, weight, bias = torch.randn(4, shape[1], device=device)
    return x, mean, var.exp(), weight, bias


def rotated(make: Callable[[], tuple[Tensor, ...]], device: str) -> list[tuple[Tensor, ...]]:
    """Sets of inputs that together exceed the L2 cache, 2 to 16 of them."""
    first = make()
    if device == "cpu":
        return [first, make()]
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    size = sum(t.nbytes for t in first)
    return [first, *(make() for _ in range(max(1, min(15, 2 * cache // size))))]


def similarity_rows(device: str, quick: bool, repeats: int, best: dict[str, float]) -> Iterator[dict]:
    ways: dict[str, Operator] = {"gan_ref": ops.minibatch_l1_similarity}
    ways |= {"broadcast": broadcast, "cdist": by_cdist}
    dtypes = [torch.float32]
    if device == "cuda":
        ways["plain torch, compiled"] = torch.compile(similarity.plain, dynamic=False)
        dtypes.append(torch.bfloat16)
    for n, b, c in SIMILARITY[:2] if quick else SIMILARITY:
        for dtype in dtypes:
            inputs = rotated(partial(draw_features, (n, b, c), dtype, device), device)
            for name, way in ways.items():
                if device == "cpu" and name == "broadcast" and n * n * b * c > 2**28:
                    continue  # 5 GB and more at N = 1024
                row = {"operator": "similarity", "shape": [n, b, c], "dtype": str(dtype)[6:], "way": name}
                row |= measure(way, inputs, device, repeats)
                if "additions_per_s" in best and "forward_s" in row and name == "gan_ref":
                    # Once a pair: C differences and C - 1 sums, then 1 more per direction; backward again,
                    # and per channel a sign and two sums.
                    pairs = n * (n - 1) / 2 * b
                    exponentials = pairs / best["exponentials_per_s"]
                    forward = max(pairs * (2 * c + 1) / best["additions_per_s"], exponentials)
                    backward = max(pairs * (5 * c + 4) / best["additions_per_s"], exponentials)
                    row["floor_share_forward"] = forward / row["forward_s"]
                    row["floor_share_both"] = (forward + backward) / row["both_s"]
                yield row


def norm_rows(device: str, quick: bool, repeats: int, best: dict[str, float]) -> Iterator[dict]:
    ways: dict[str, Operator] = {
        "gan_ref": virtual,
        "plain torch": virtual_plain,
        "batch norm": batch_norm,
        "instance norm": instance_norm,
    }
    cases = [(torch.float32, torch.contiguous_format)]
    if device == "cuda":
        ways["plain torch, compiled"] = torch.compile(virtual_plain, dynamic=False)
        cases = [
            (dtype, layout)
            for dtype in (torch.float32, torch.bfloat16)
            for layout in (torch.contiguous_format, torch.channels_last)
        ]
    for shape in NORM[:2] if quick else NORM:
        for dtype, layout in cases:
            inputs = rotated(partial(draw_norm_arguments, shape, dtype, layout, device), device)
            for name, way in ways.items():
                row = {
                    "operator": "norm",
                    "shape": list(shape),
                    "dtype": str(dtype)[6:],
                    "way": name,
                    "layout": str(layout)[6:],
                }
                row |= measure(way, inputs, device, repeats)
                if best and "forward_s" in row:
                    size = inputs[0][0].nbytes
                    row["floor_share_forward"] = 2 * size / best["copy_bytes_per_s"] / row["forward_s"]
                    row["floor_share_both"] = 5 * size / best["copy_bytes_per_s"] / row["both_s"]
                yield row


def show(row: dict, rows: list[dict]) -> None:
    """One line: times, how many times ours that is, the peak, the share of the floor."""
    label = f"{row['operator']} {tuple(row['shape'])} {row['dtype']} {row.get('layout', '')}"
    if "failed" in row:
        print(f"{label:58}{row['way']:27}{row['failed']}", flush=True)
        return
    ours = next(r for r in reversed(rows) if r["way"] == "gan_ref")
    line = f"{label:58}{row['way']:27}{row['forward_s'] * 1e6:10.1f} µs{row['both_s'] * 1e6:11.1f} µs"
    if "forward_s" in ours:
        line += f"  ×{row['forward_s'] / ours['forward_s']:6.2f} ×{row['both_s'] / ours['both_s']:6.2f}"
    if "peak_bytes" in row:
        line += f"  {row['peak_bytes'] / 2**20:8.1f} MiB"
    if "floor_share_forward" in row:
        line += f"  {row['floor_share_forward']:4.0%} {row['floor_share_both']:4.0%} of the floor"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the two operators against other ways to write them.")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="two shapes of each operator, fewer repeats")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    repeats = (5 if arguments.quick else 15) if device == "cpu" else (20 if arguments.quick else 100)

    machine = {
        "device": device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "host": platform.processor() or platform.machine(),
    }
    best: dict[str, float] = {}
    if device == "cuda":
        from gan_ref.ops import extension

        choice = extension.choose(may_build=True)
        machine |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "implementation": f"{choice.implementation}: {choice.reason}",
        }
        best = ceilings(repeats)
    print("  ".join(f"{k} {v}" for k, v in machine.items()))
    for name, value in best.items():
        print(f"{name:22}{value:.3g}")
    print(f"{'':58}{'':27}{'forward':>13}{'and backward':>14}  times ours")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    measured = device, arguments.quick, repeats, best
    for row in chain(similarity_rows(*measured), norm_rows(*measured)):
        rows.append(row)
        show(row, rows)
        if arguments.out:  # after each row, so that an early end loses nothing
            report = {"machine": machine, "ceilings": best, "rows": rows}
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
