"""The device code of csrc/*.cuh, run thread by thread on the CPU, computes what the papers define.

The very files that nvcc compiles are compiled here by the host compiler over cuda_on_cpu/cuda_on_cpu.h, with
the launch code that a GPU would use. The fast kernels, and the plain ones that are there to be read, are
compared with float64: as they are, under the address and undefined-behaviour sanitizers (every index) and
under the thread sanitizer (every barrier). Faults planted in copies of the files show that this can fail.
"""

import itertools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TYPES = ("float32", "float16", "bfloat16")
SANITIZERS = {"none": [], "address": ["-fsanitize=address,undefined"], "thread": ["-fsanitize=thread"]}

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, and there is none"),
]


def compile_driver(name: str, sanitizer: str, folder: Path, csrc: Path = ROOT / "csrc") -> Path:
    """The driver tests/cuda_on_cpu/<name>.cpp over the kernels in `csrc`, as a program in `folder`."""
    program = folder / f"{name}-{sanitizer}"
    here = ROOT / "tests" / "cuda_on_cpu"
    flags = ["-std=c++20", "-O1", "-g1", "-pthread", "-Wall", "-Wno-unknown-pragmas", *SANITIZERS[sanitizer]]
    command = ["g++", *flags, f"-I{csrc}", f"-I{here}", here / f"{name}.cpp", "-o", program]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr[:4000]
    assert "warning" not in compiled.stderr, compiled.stderr[:4000]
    return program


def run(program: Path, cases: list[tuple], timeout: float = 300) -> subprocess.CompletedProcess:
    arguments = [str(value) for case in cases for value in case]
    strict = {f"{name}_OPTIONS": "halt_on_error=1" for name in ("ASAN", "UBSAN", "TSAN")}
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=timeout, env={**os.environ, **strict}
    )


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """driver(name, sanitizer) is a program; they are compiled once, two at a time."""
    folder = tmp_path_factory.mktemp("cuda_on_cpu")
    pool = ThreadPoolExecutor(2)
    names = [(name, sanitizer) for sanitizer in SANITIZERS for name in ("similarity", "virtual_batch_norm")]
    made = {which: pool.submit(compile_driver, *which, folder) for which in names}
    yield lambda name, sanitizer: made[name, sanitizer].result()
    pool.shutdown(cancel_futures=True)


def assert_right(program: Path, cases: list[tuple], timeout: float = 300) -> None:
    result = run(program, cases, timeout)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    assert result.stdout.count(" ok\n") == len(cases), result.stdout


# (N, B, C, type, type of the gradient). A tile is 128 samples for C ≤ 8, 64 for C ≤ 16, 32 above.
SIMILARITY = [
    (1, 1, 1, "float32", "float32"),  # nobody to resemble
    (2, 3, 5, "bfloat16", "float32"),
    (67, 2, 5, "float32", "float16"),  # one tile, not full
    (33, 1, 16, "float16", "bfloat16"),
    (131, 1, 3, "float32", "float32"),  # two tiles, three samples in the second
    (70, 2, 33, "float32", "float32"),  # C between two compiled sizes; three tiles
]
CHANNELS = (1, 2, 4, 7, 8, 32, 64)
SIMILARITY_MORE = [
    *((n, 2, c, t, "float32") for n, c, t in zip((5, 32, 65, 128, 129, 33, 40), CHANNELS, TYPES * 3)),
    (0, 3, 5, "float32", "float32"),
    (3, 0, 5, "float32", "float32"),
    (300, 1, 5, "bfloat16", "bfloat16"),  # three groups
    (330, 1, 20, "float32", "float32"),  # eleven tiles in groups of two: a block adds to its own slots again
]

# (N, C, H·W, type, layout, slope, unaligned by): what each is for is the path it takes.
NORM = [
    (3, 5, 16, "float32", "contiguous", 0.2, 0),  # a thread a packet
    (2, 3, 144, "float16", "contiguous", 0.0, 0),  # held, within a warp
    (1, 3, 1600, "float32", "contiguous", 1.0, 0),  # held, over warps
    (2, 5, 49, "bfloat16", "contiguous", 0.2, 0),  # 16 bytes do not divide the plane
    (2, 4, 16, "float32", "contiguous", 0.2, 1),  # aligned to nothing
    (2, 12, 20, "float32", "channels_last", 0.2, 0),  # held, a slab of channels
    (1, 24, 300, "float16", "channels_last", 0.2, 0),  # over warps; the last slab is not full
    (2, 3, 36, "bfloat16", "channels_last", 0.2, 0),  # 16 bytes do not divide the channels
]
NORM_MORE = [
    *(
        (2, 8, p, t, layout, 0.2, 0)
        for p, t, layout in itertools.product((1, 4, 64, 100, 1024), TYPES, ("contiguous", "channels_last"))
    ),
    (0, 3, 16, "float32", "contiguous", 0.2, 0),
    (17, 33, 4, "float32", "channels_last", 0.2, 0),  # more examples and channels than a block reduces
    (1, 8, 5000, "float32", "channels_last", 0.2, 0),  # too large to hold, in every layout
    (1, 16, 4200, "float16", "channels_last", 0.0, 0),
    (1, 1, 20000, "float32", "contiguous", 0.2, 0),
    (1, 1, 36864, "bfloat16", "contiguous", 0.2, 0),
    (1, 2, 4099, "float32", "contiguous", 0.2, 0),
    (1, 3, 5003, "float16", "channels_last", 0.2, 0),
]


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_similarity_is_the_definition(driver, sanitizer):
    assert_right(
        driver("similarity", sanitizer), SIMILARITY + (SIMILARITY_MORE if sanitizer == "none" else [])
    )


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_virtual_batch_norm_is_the_definition(driver, sanitizer):
    assert_right(driver("virtual_batch_norm", sanitizer), NORM + (NORM_MORE if sanitizer == "none" else []))


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_every_size_in_every_way(driver, sanitizer):
    """A quarter of an hour on one core. Five pairs of B and type take turns; 5 does not divide the 12 C."""
    sizes = itertools.product((1, 31, 64, 129, 260), (1, 2, 3, 4, 5, 6, 8, 16, 17, 32, 48, 64))
    turns = itertools.cycle([*zip((1, 2, 3, 1, 3), (*TYPES, "float32", "bfloat16"))])
    similarity = [(n, b, c, t, "float32") for (n, c), (b, t) in zip(sizes, turns)]
    assert_right(driver("similarity", sanitizer), SIMILARITY_MORE + similarity, timeout=3600)
    shapes = itertools.product((1, 3), (1, 8, 13, 72), (1, 6, 16, 63, 256, 1024, 2304))
    ways = itertools.product(shapes, ("contiguous", "channels_last"), (0, 1))
    norm = [
        (*shape, t, layout, 0.2, shift) for (shape, layout, shift), t in zip(ways, itertools.cycle(TYPES))
    ]
    largest = [(1, 2, 65536, "float32", layout, 0.2, 0) for layout in ("contiguous", "channels_last")]
    assert_right(driver("virtual_batch_norm", sanitizer), NORM_MORE + norm + largest, timeout=3600)


def test_equal_input_gives_equal_bits(driver):
    """Threads interleave differently each time; the driver prints a hash of all results."""
    for name, case in (("similarity", SIMILARITY[4]), ("virtual_batch_norm", NORM[6])):
        first, second = (run(driver(name, "none"), [case]).stdout for _ in range(2))
        assert first == second and " ok\n" in first and "bits" in first


# What is broken: the file, the text that does it, a case that meets it, and who has to notice.
FAULTS = {
    "a barrier is missing before the tiles are read": (
        "similarity.cuh",
        ("      __syncthreads();\n\n      float x[R][C], row_sum", "\n      float x[R][C], row_sum"),
        (67, 2, 5, "float32", "float32"),
        "thread",
    ),
    "a barrier is missing before the warps' sums are read": (
        "similarity.cuh",
        ("      __syncthreads();\n      float sum = 0.f;", "      float sum = 0.f;"),
        (67, 2, 5, "float32", "float32"),
        "thread",
    ),
    "the tile has one sample too many": (
        "similarity.cuh",
        ("first + row < shape.samples", "first + row <= shape.samples"),
        (67, 2, 5, "float32", "float32"),
        "address",
    ),
    "a sample resembles itself": (
        "similarity.cuh",
        ("&& !(diagonal && row == column)", ""),
        (20, 1, 2, "float32", "float32"),
        "none",
    ),
    "the columns' sums stay behind": (
        "similarity.cuh",
        ("column_sum = __shfl_sync(kAllLanes, column_sum, (lane + 1) % kWarp);", ""),
        (131, 1, 3, "float32", "float32"),
        "none",
    ),
    "a tie counts as positive": (
        "similarity.cuh",
        ("FLT_MAX, 0.5f", "FLT_MAX, 1.0f"),
        (67, 2, 5, "float32", "float32"),
        "none",
    ),
    "the plain kernel takes a tie as negative": (
        "similarity_plain.cuh",
        ("t < 0.f ? -w : 0.f", "-w"),
        (67, 2, 5, "float32", "float32"),
        "none",
    ),
    "the plain kernel has one sample too many": (
        "similarity_plain.cuh",
        ("if (i >= N) return;", "if (i > N) return;"),
        (67, 2, 5, "float32", "float32"),
        "address",
    ),
    "a barrier is missing before the next sum": (
        "virtual_batch_norm.cuh",
        ("  __syncthreads();  // the next sum writes here\n", ""),
        (1, 3, 1600, "float32", "contiguous", 1.0, 0),
        "thread",
    ),
    "a group's sum leaves a warp out": (
        "virtual_batch_norm.cuh",
        ("w < first + warps; ++w", "w < first + warps - 1; ++w"),
        (1, 3, 1600, "float32", "contiguous", 1.0, 0),
        "none",
    ),
    "a thread has a packet too many": (
        "virtual_batch_norm.cuh",
        ("slabs.rows - 1) / slabs.rows : 0", "slabs.rows) / slabs.rows : 0"),
        (2, 3, 144, "float32", "contiguous", 0.0, 0),
        "address",
    ),
    "the variance takes a sign for another": (
        "virtual_batch_norm.cuh",
        ("v + own * own", "v - own * own"),
        (3, 5, 16, "float32", "contiguous", 0.2, 0),
        "none",
    ),
    "the plain kernel forgets that the mean moves with x": (
        "virtual_batch_norm_plain.cuh",
        ("a / P * (dmean + 2.f", "a / P * (2.f"),
        (3, 5, 16, "float32", "contiguous", 0.2, 0),
        "none",
    ),
}

# Only what the cases above use is compiled with a fault: C = 5, and float32.
FEWER = {
    "similarity": [(r"  if \(channels <= (?!5).*\n", ""), (r"<64>\(\)", "<5>()")],
    "virtual_batch_norm": [(r"with_slabs<(__half|__nv_bfloat16),", "with_slabs<float,")],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault, tmp_path):
    name, (sound, broken), case, sanitizer = FAULTS[fault]
    csrc = tmp_path / "csrc"
    shutil.copytree(ROOT / "csrc", csrc)
    source = (csrc / name).read_text()
    assert sound in source, f"the kernel has changed: plant {fault!r} anew"
    (csrc / name).write_text(source.replace(sound, broken))
    driver = name.removesuffix(".cuh").removesuffix("_plain")
    source = (csrc / f"{driver}.cuh").read_text()
    for pattern, fewer in FEWER[driver]:
        source, changes = re.subn(pattern, fewer, source)
        assert changes, pattern
    (csrc / f"{driver}.cuh").write_text(source)
    result = run(compile_driver(driver, sanitizer, tmp_path, csrc), [case])
    assert result.returncode != 0, result.stdout
    marks = {"none": "WRONG", "address": "AddressSanitizer", "thread": "ThreadSanitizer: data race"}
    assert marks[sanitizer] in result.stdout + result.stderr
