"""The cache of decoded images: whole or absent, whoever kills, fills or damages what."""

from __future__ import annotations

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
from gan_ref.data.cache import Rows, cached, default_directory
from gan_ref.errors import UserError

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


def rows(count: int, size: int = 16):
    for i in range(count):
        yield Rows(np.full((10, size, size, 3), i % 256, np.uint8), {"labels": np.full(10, i)})


def test_the_second_opening_decodes_nothing(images, cache, monkeypatch):
    first = open_dataset(str(images))
    monkeypatch.setattr(folder_module, "decode_files", None)
    second = open_dataset(str(images))
    assert np.array_equal(first.samples, second.samples) and np.array_equal(first.labels, second.labels)
    assert isinstance(second.samples, np.memmap) and not second.samples.flags.writeable
    assert len(list(cache.iterdir())) == 1


def test_a_changed_source_or_setting_is_another_entry(images, cache):
    open_dataset(str(images))
    open_dataset(str(images), image_size=16)
    open_dataset(str(images), channels=1)
    assert len(list(cache.iterdir())) == 3
    open_dataset(str(images), channels=3)  # what it already was
    assert len(list(cache.iterdir())) == 3
    Image.new("RGB", (40, 40), "white").save(images / "a" / "0.png")
    os.utime(images / "a" / "0.png", (1, 1))
    assert (open_dataset(str(images)).samples[0] == 255).all()
    (images / "a" / "0.png").rename(images / "b" / "0.png")
    assert open_dataset(str(images)).labels.tolist() == [0, 0, 1, 1, 1, 1]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_directory() == tmp_path / "a"
    monkeypatch.delenv("GAN_REF_CACHE")
    assert default_directory() == tmp_path / "b" / "gan_ref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert default_directory() == tmp_path / "c" / ".cache" / "gan_ref"


@pytest.mark.parametrize("file", ["samples.npy", "labels.npz", "skipped.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "nonsense"])
def test_a_damaged_entry_is_built_again(images, cache, file, damage):
    first = np.array(open_dataset(str(images)).samples)
    (entry,) = cache.iterdir()
    path = entry / file
    if damage == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[:-7], "emptied": b"", "nonsense": b"[1]" * 99}[damage])
    again = open_dataset(str(images))
    assert np.array_equal(again.samples, first) and again.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_cache_that_cannot_be_written_is_one_line(images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the cache .*GAN_REF_CACHE"):
        open_dataset(str(images), cache_dir=tmp_path / "file" / "cache")
    if os.geteuid():  # nothing is forbidden to root
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(UserError, match="Permission denied"):
            open_dataset(str(images), cache_dir=tmp_path / "closed")


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match="cannot write the cache"):
            cached("full", ["full"], (16, 16, 3), lambda: rows(100), 1000, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted():
        yield from rows(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("stopped", ["stopped"], (16, 16, 3), interrupted, 100, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from gan_ref.data.cache import Rows, cached, in_order

def rows():
    for _ in in_order(time.sleep, [0.01] * 1000, 2):
        print("row", flush=True)
        yield Rows(np.zeros((10, 16, 16, 3), np.uint8))

cached("slow", ["slow"], (16, 16, 3), rows, 10_000, Path(sys.argv[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child processes in /proc")
def test_kill_9_leaves_no_entry_and_no_process_and_its_remains_are_swept_up(tmp_path):
    folder = tmp_path / "cache"
    build = subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    build.stdout.readline()
    children = Path(f"/proc/{build.pid}/task/{build.pid}/children").read_text().split()
    assert len(children) >= 2
    build.send_signal(signal.SIGKILL)
    build.wait()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)

    (left,) = folder.iterdir()
    assert left.name.startswith("building-")
    cached("new", ["new"], (16, 16, 3), lambda: rows(2), 20, folder)
    assert left.exists()  # it might still be somebody's
    for item in (*left.iterdir(), left):
        os.utime(item, (time.time() - 7200,) * 2)
    cached("newer", ["newer"], (16, 16, 3), lambda: rows(2), 20, folder)
    assert not left.exists() and len(list(folder.iterdir())) == 2


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_two_processes_may_build_at_once(images, tmp_path):
    code = "import sys; from gan_ref.data import open_dataset; print(open_dataset(sys.argv[1]).samples.sum())"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(images)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env=os.environ | {"GAN_REF_CACHE": str(tmp_path / "cache")},
        )
        for _ in range(2)
    ]
    sums = [process.communicate()[0] for process in both]
    assert sums[0] == sums[1] != b"" and [process.returncode for process in both] == [0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_whoever_comes_second_uses_the_first_s_entry(tmp_path):
    def overtaken():
        yield from rows(2)
        first.append(cached("same", ["same"], (16, 16, 3), lambda: rows(2), 20, tmp_path))

    first = []
    second = cached("same", ["same"], (16, 16, 3), overtaken, 20, tmp_path)
    assert second.samples.filename == first[0].samples.filename and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="resident memory is read from /proc")
def test_building_needs_no_more_memory_for_more_images(tmp_path):
    seen = []

    def watched():
        for chunk in rows(400, size=128):  # 197 MB
            with open("/proc/self/statm") as file:
                seen.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            yield chunk

    entry = cached("large", ["large"], (128, 128, 3), watched, 4000, tmp_path)
    assert entry.samples.shape == (4000, 128, 128, 3) and entry.labels["labels"][-1] == 399
    assert max(seen) - seen[0] < 30e6


def test_progress_is_quiet_where_nobody_looks(images, cache, capfd):
    open_dataset(str(images))
    out, err = capfd.readouterr()
    assert out == err == ""
