"""The cache of decoded images: whole or absent, whoever kills, fills or damages what."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_ref.data.folder as folder_module
from gan_ref.data import open_dataset
from gan_ref.data.cache import Rows, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.errors import UserError
from gan_ref.files import cache_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture
def images(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(folder: Path) -> list[Path]:
    """What a cache holds, without the lock files."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def build(name: str, rows, folder: Path, size: int = 16) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_REF_CACHE", str(folder))
        return open_or_build(name, [name], Options(size, 3), rows)


def rows(count: int, size: int = 16):
    for i in range(count):
        yield Rows(np.full((10, size, size, 3), i % 256, np.uint8), {"labels": np.full(10, i)})


def test_the_second_opening_decodes_nothing(images, cache, monkeypatch):
    first = open_dataset(str(images))
    monkeypatch.setattr(folder_module, "decode_files", None)
    second = open_dataset(str(images))
    assert np.array_equal(first.samples, second.samples) and np.array_equal(first.labels, second.labels)
    assert isinstance(second.samples, np.memmap) and not second.samples.flags.writeable
    assert len(entries(cache)) == 1


def test_a_changed_source_or_setting_is_another_entry(images, cache):
    open_dataset(str(images))
    open_dataset(str(images), image_size=16)
    open_dataset(str(images), channels=1)
    assert len(entries(cache)) == 3
    open_dataset(str(images), channels=3)  # what it already was
    assert len(entries(cache)) == 3
    Image.new("RGB", (40, 40), "white").save(images / "a" / "0.png")
    os.utime(images / "a" / "0.png", (1, 1))
    assert (open_dataset(str(images)).samples[0] == 255).all()
    (images / "a" / "0.png").rename(images / "b" / "0.png")
    assert open_dataset(str(images)).labels.tolist() == [0, 0, 1, 1, 1, 1]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("GAN_REF_CACHE")
    assert cache_folder() == tmp_path / "b" / "gan_ref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / ".cache" / "gan_ref"


@pytest.mark.parametrize("file", ["samples.npy", "labels.npz"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "nonsense"])
def test_a_damaged_entry_is_built_again(images, cache, file, damage):
    first = np.array(open_dataset(str(images)).samples)
    (entry,) = entries(cache)
    path = entry / file
    if damage == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[:-7], "emptied": b"", "nonsense": b"[1]" * 99}[damage])
    again = open_dataset(str(images))
    assert np.array_equal(again.samples, first) and again.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_cache_that_cannot_be_written_is_one_line(images, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="cannot write the cache .*GAN_REF_CACHE"):
        open_dataset(str(images))
    if os.geteuid():  # nothing is forbidden to root
        (tmp_path / "closed").mkdir(mode=0o500)
        monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "closed"))
        with pytest.raises(UserError, match="Permission denied"):
            open_dataset(str(images))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match="cannot write the cache"):
            build("full", lambda: rows(100), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert entries(tmp_path / "cache") == []


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted():
        yield from rows(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("stopped", interrupted, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


SLOW = """
import os, sys, time
import numpy as np
from gan_ref.data.cache import Rows, open_or_build
from gan_ref.data.dataset import Options
from gan_ref.data.workers import in_order

os.environ["GAN_REF_CACHE"] = sys.argv[1]

def rows():
    for _ in in_order(time.sleep, [0.01] * 1000, 2):
        print("row", flush=True)
        yield Rows(np.zeros((10, 16, 16, 3), np.uint8))

open_or_build("slow", ["slow"], Options(16, 3), rows)
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child processes in /proc")
def test_kill_9_leaves_no_entry_and_no_process_and_its_remains_are_overwritten(tmp_path):
    folder = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)

    (left,) = entries(folder)
    assert left.name.startswith(".") and left.suffix == ".part"
    again = build("slow", lambda: rows(2), folder)
    (entry,) = entries(folder)
    assert len(again) == 20 and not left.exists() and not entry.name.startswith(".")


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


BUILD = """
import os, sys, time
import numpy as np
from gan_ref.data.cache import Rows, open_or_build
from gan_ref.data.dataset import Options

os.environ["GAN_REF_CACHE"] = sys.argv[1]

def rows():
    print("built", end=" ", flush=True)
    time.sleep(0.5)
    yield Rows(np.full((10, 16, 16, 3), 7, np.uint8))

print(open_or_build("one", ["one"], Options(16, 3), rows).samples.sum())
"""


@pytest.mark.full
def test_of_two_processes_one_builds_and_the_other_waits(tmp_path):
    command = [sys.executable, "-c", BUILD, str(tmp_path / "cache")]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = sorted(process.communicate()[0] for process in both)
    assert printed == ["53760\n", "built 53760\n"]
    assert len(entries(tmp_path / "cache")) == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="resident memory is read from /proc")
def test_building_needs_no_more_memory_for_more_images(tmp_path):
    seen = []

    def watched():
        for chunk in rows(400, size=128):  # 197 MB
            with open("/proc/self/statm") as file:
                seen.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            yield chunk

    entry = build("large", watched, tmp_path, size=128)
    assert entry.samples.shape == (4000, 128, 128, 3) and entry.labels[-1] == 399
    assert max(seen) - seen[0] < 30e6


def test_progress_is_quiet_where_nobody_looks(images, cache, capfd):
    open_dataset(str(images))
    out, err = capfd.readouterr()
    assert out == err == ""
