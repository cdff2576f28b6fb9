"""What each source of real samples is once opened: built in, MNIST, CIFAR-10, folders, archives, arrays."""

import gzip
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gan_ref.config import Config
from gan_ref.data import absolute, has_small_images, open_dataset
from gan_ref.errors import UserError
from gan_ref.evaluation.modes import mixture_coverage
from gan_ref.run import choose_settings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "cache"))


def random_images(count: int, size: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def save_images(folder: Path, images: np.ndarray, kind: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(folder / f"{i:03d}.{kind}")


# Built in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, modes, sigma", [("ring8", 8, 0.02), ("grid25", 25, 0.05)])
def test_mixtures_have_the_published_modes(name, modes, sigma):
    data = open_dataset(name)
    assert data.shape == (2,) and data.samples.dtype == np.float32 and len(data) == 100_000
    assert data.means.shape == (modes, 2) and data.sigma == sigma
    assert len(data.classes) == modes and not data.flip and data.points
    if name == "ring8":
        assert np.allclose(np.linalg.norm(data.means, axis=1), 2)
        apart = np.linalg.norm(data.means - np.roll(data.means, 1, axis=0), axis=1)
        assert np.allclose(apart, 4 * np.sin(np.pi / 8))
    else:
        lines = range(-4, 5, 2)
        assert {tuple(mean) for mean in data.means} == {(x, y) for x in lines for y in lines}
    for k in range(modes):
        mode = data.samples[data.labels == k].astype(float)
        assert abs(len(mode) - 100_000 / modes) < 5 * np.sqrt(100_000 / modes)
        assert np.allclose(mode.mean(axis=0), data.means[k], atol=5 * sigma / np.sqrt(len(mode)))
        assert np.allclose(mode.std(axis=0), sigma, rtol=0.06)


def test_the_swiss_roll_is_reached_in_equal_parts_from_the_inside_out():
    data = open_dataset("swissroll")
    radius = np.linalg.norm(data.means, axis=1)  # t, uniform from 3π/2 to 9π/2
    assert np.allclose(np.diff(radius), 3 * np.pi / 200) and abs(radius.mean() - 3 * np.pi) < 1e-9
    angle = np.arctan2(data.means[:, 1], data.means[:, 0])
    assert np.allclose(np.cos(angle - radius), 1)  # the angle is t too
    seen = mixture_coverage(data.samples, data.means, data.sigma)
    assert seen.modes == 200 and seen.high_quality > 0.98


@pytest.mark.parametrize("name, own", [("ring8", 2**0.5), ("grid25", 8**0.5)])
def test_points_are_scaled_as_a_whole(name, own):
    plain, scaled = open_dataset(name), open_dataset(name, points_std=1.0)
    for a, b in ((plain.samples, scaled.samples), (plain.means, scaled.means), (plain.sigma, scaled.sigma)):
        assert np.allclose(np.asarray(b) * own, a, atol=1e-6)
    assert np.allclose(scaled.samples.std(axis=0), 1, atol=0.01)


def test_a_mixture_is_the_same_each_time_and_its_test_split_is_another_draw():
    assert np.array_equal(open_dataset("ring8").samples, open_dataset("ring8").samples)
    assert not np.array_equal(open_dataset("ring8").samples, open_dataset("ring8", split="test").samples)


def test_faces_are_drawn_once_with_labels_for_every_factor(monkeypatch):
    import gan_ref.data as data_package
    from gan_ref.data import faces

    monkeypatch.setattr(data_package, "FACES", {"train": (700, 0), "test": (100, 1)})
    data = open_dataset("faces", image_size=16, workers=1)
    assert data.samples.shape == (700, 16, 16, 3) and data.flip and isinstance(data.samples, np.memmap)
    drawn, factors = faces.draw(np.arange(700), 16, 0)
    assert np.array_equal(data.samples, drawn)
    assert set(data.factors) == set(factors)
    assert all(np.array_equal(data.factors[key], factors[key]) for key in factors)
    assert data.labels.dtype == np.int64 and 0 <= data.labels.min() and data.labels.max() < len(data.classes)
    test = open_dataset("faces", image_size=16, split="test", workers=1)
    assert len(test) == 100 and not np.array_equal(test.samples, data.samples[:100])
    assert open_dataset("faces", image_size=16, channels=1, workers=1).shape == (1, 16, 16)


def test_a_folder_that_is_called_like_built_in_data_is_not_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("faces", "ring8"):
        (tmp_path / name).mkdir()
        assert absolute(name) == name and absolute(f"./{name}") == str(tmp_path / name)


@pytest.mark.full
def test_opening_data_does_not_import_torch():
    """Each decoding process imports the package, and torch would cost it 2 s and 200 MB."""
    code = "import sys, gan_ref.data, gan_ref.data.faces; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# Folders and archives of images -------------------------------------------------------------------


def test_class_folders_give_labels(tmp_path):
    cats, dogs = random_images(3), random_images(5)
    save_images(tmp_path / "pets" / "kitten cats", cats)
    save_images(tmp_path / "pets" / "hündchen" / "nested" / "deeper", dogs)
    (tmp_path / "pets" / "notes.txt").write_text("not an image")
    (tmp_path / "pets" / ".DS_Store").write_bytes(b"\0")
    data = open_dataset(str(tmp_path / "pets"))
    assert data.name == "pets" and data.shape == (3, 32, 32) and data.flip
    assert data.classes == ("hündchen", "kitten cats") and data.labels.tolist() == [0] * 5 + [1] * 3
    assert np.array_equal(data.samples, np.concatenate([dogs, cats]))
    assert data.notice() == "" and open_dataset(str(tmp_path / "pets"), split="test") is None


@pytest.mark.parametrize("names", [["a.png", "x/b.png"], ["one/a.png", "one/b.png"], ["a.png"]])
def test_images_beside_the_folders_or_in_one_folder_have_no_labels(tmp_path, names):
    for i, name in enumerate(names):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (i, i, i)).save(tmp_path / "data" / name)
    data = open_dataset(str(tmp_path / "data"))
    assert data.labels is None and data.classes == () and len(data) == len(names)


def test_folders_around_the_class_folders_are_peeled_off(tmp_path):
    for name in ("a", "b"):
        save_images(tmp_path / "data" / "dataset" / "train" / name, random_images(2))
    assert open_dataset(str(tmp_path / "data")).classes == ("a", "b")


def test_channels_are_what_the_data_is(tmp_path):
    save_images(tmp_path / "gray", random_images(4, channels=1))
    save_images(tmp_path / "mixed", random_images(4, channels=1))
    Image.new("RGB", (9, 9), "red").save(tmp_path / "mixed" / "colour.png")
    assert open_dataset(str(tmp_path / "gray")).shape == (1, 32, 32)
    assert open_dataset(str(tmp_path / "mixed")).shape == (3, 32, 32)
    assert open_dataset(str(tmp_path / "gray"), channels=3).shape == (3, 32, 32)
    assert open_dataset(str(tmp_path / "mixed"), channels=1).shape == (1, 32, 32)


def test_an_archive_is_its_folder(tmp_path):
    for name in ("a", "b"):
        save_images(tmp_path / "data" / name, random_images(3))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in sorted((tmp_path / "data").rglob("*")):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/data/a/._000.png", b"\0\5\26\7")
    folder, zipped = open_dataset(str(tmp_path / "data")), open_dataset(str(tmp_path / "data.zip"))
    assert np.array_equal(folder.samples, zipped.samples) and np.array_equal(folder.labels, zipped.labels)
    assert folder.classes == zipped.classes == ("a", "b") and zipped.skipped_count == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "data.zip"]


@pytest.mark.full
def test_many_processes_give_what_one_gives(tmp_path, monkeypatch):
    images = random_images(230, size=20)
    for i, image in enumerate(images):
        (tmp_path / "data" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "data" / str(i % 3) / f"{i:03d}.png")
    (tmp_path / "data" / "1" / "broken.png").write_bytes(b"broken")
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "two"))
    two = open_dataset(str(tmp_path / "data"), workers=2)
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "one"))
    one = open_dataset(str(tmp_path / "data"), workers=1)
    assert np.array_equal(one.samples, two.samples) and np.array_equal(one.labels, two.labels)
    assert len(one) == 230 and one.skipped == two.skipped and one.skipped_count == 1


# MNIST and CIFAR-10 -------------------------------------------------------------------------------


def write_idx(path: Path, array: np.ndarray, declared: tuple[int, ...] | None = None) -> None:
    sizes = declared or array.shape
    data = struct.pack(f">{1 + len(sizes)}I", 0x0800 | len(sizes), *sizes) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read_with_its_test_split(tmp_path, suffix):
    digits, labels = random_images(30, 28, 1)[..., 0], (np.arange(30) % 10).astype(np.uint8)
    write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", digits)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", labels)
    assert open_dataset(str(tmp_path), split="test") is None
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", digits[:7])
    data, test = open_dataset(str(tmp_path)), open_dataset(str(tmp_path), split="test")
    assert data.shape == (1, 32, 32) and not data.flip and data.classes == tuple("0123456789")
    assert np.array_equal(data.samples[:, 2:30, 2:30, 0], digits) and np.array_equal(data.labels, labels)
    assert len(test) == 7 and test.labels is None
    assert open_dataset(str(tmp_path), image_size=64, channels=3).shape == (3, 64, 64)


def test_small_images_are_not_enlarged_unasked_on_a_gpu(tmp_path, monkeypatch):
    def chosen(source: str) -> object:
        return choose_settings(Config(data=source))[0].image_size

    gpu = SimpleNamespace(type="cuda")
    monkeypatch.setattr("gan_ref.run.choose_device", lambda name: gpu)
    monkeypatch.setattr("gan_ref.run.choose_precision", lambda *settings: "float32")
    monkeypatch.setattr("gan_ref.run.require_memory", lambda *settings: None)
    folder = tmp_path / "digits" / "raw"
    folder.mkdir(parents=True)
    write_idx(folder / "train-images-idx3-ubyte", random_images(30, 28, 1)[..., 0])
    write_idx(folder / "train-labels-idx1-ubyte", (np.arange(30) % 10).astype(np.uint8))
    save_images(tmp_path / "photos", random_images(3))
    assert [chosen(str(tmp_path / name)) for name in ("digits", "photos")] == [32, 64]
    assert chosen(f"stacked-mnist:{tmp_path / 'digits'}") == 32
    assert has_small_images("cifar10") and not has_small_images("lfw") and not has_small_images("faces")


def test_cifar_binary_is_read(tmp_path):
    images, labels = random_images(20), (np.arange(20) % 10).astype(np.uint8)
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(20, -1)], axis=1)
    (tmp_path / "data_batch_1.bin").write_bytes(records[:12].tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(records[12:].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[:5].tobytes())
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    data, test = open_dataset(str(tmp_path)), open_dataset(str(tmp_path), split="test")
    assert np.array_equal(data.samples, images) and np.array_equal(data.labels, labels)
    assert data.classes[9] == "truck" and data.flip and len(test) == 5


def python_2_batch(images: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2's cPickle wrote the published ones, its strings bytes without an encoding."""
    data = images.transpose(0, 3, 1, 2).tobytes()

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07(K\x01"
        + b"M"
        + struct.pack("<H", len(images))
        + b"M\x00\x0c\x86"
        + b"cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + struct.pack("<i", len(data))
        + data
        + b"tb"
    )
    listed = b"]q\x03(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(b"labels") + b"q\x02" + listed + text(b"data") + b"q\x04" + array + b"u."


@pytest.mark.parametrize("written", ["python 2", 2, 3, 4])
def test_cifar_python_batches_are_read(tmp_path, written):
    images, labels = random_images(12), [k % 10 for k in range(12)]
    if written == "python 2":
        batch = python_2_batch(images, labels)
        assert np.array_equal(pickle.loads(batch, encoding="bytes")[b"labels"], labels)  # it is a true pickle
    else:
        planes = images.transpose(0, 3, 1, 2).reshape(12, -1)
        batch = pickle.dumps({b"batch_label": b"one", b"labels": labels, b"data": planes}, protocol=written)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(batch)
    for source in (folder, tmp_path):  # the folder itself, or the one it was unpacked in
        data = open_dataset(str(source))
        assert np.array_equal(data.samples, images) and data.labels.tolist() == labels


# Arrays -------------------------------------------------------------------------------------------


def test_a_fitting_npy_is_mapped_where_it_lies(tmp_path):
    images = random_images(6)
    np.save(tmp_path / "images.npy", images)
    data = open_dataset(str(tmp_path / "images.npy"))
    assert np.array_equal(data.samples, images) and isinstance(data.samples, np.memmap)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("order", ["C", "F"])
def test_other_arrays_are_resized_into_the_cache(tmp_path, order):
    gray = random_images(6, 48, 1)[..., 0]
    np.save(tmp_path / "gray.npy", np.asarray(gray, order=order))
    data = open_dataset(str(tmp_path / "gray.npy"))
    assert data.shape == (1, 32, 32) and abs(data.samples.mean() - gray.mean()) < 3
    clear = np.zeros((3, 16, 16, 4), np.uint8)
    np.savez(tmp_path / "clear.npz", clear)
    assert (open_dataset(str(tmp_path / "clear.npz"), image_size=16).samples == 255).all()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["labels", "y"])
def test_an_npz_carries_labels(tmp_path, save, key):
    images = random_images(300)
    save(tmp_path / "set.npz", images=images, **{key: np.arange(300) % 3 * 10})
    data = open_dataset(str(tmp_path / "set.npz"))
    assert np.array_equal(data.samples, images)
    assert data.classes == ("0", "10", "20") and data.labels.tolist() == [k % 3 for k in range(300)]


# Options ------------------------------------------------------------------------------------------


def test_other_channels_are_refused(tmp_path):
    with pytest.raises(UserError, match="1 .*or 3"):
        open_dataset("faces", channels=2)


@pytest.mark.skipif("GAN_REF_REAL_DATA" not in os.environ, reason="GAN_REF_REAL_DATA names no folder of data")
@pytest.mark.parametrize("name, count", [("mnist10k", 8000), ("cifar10-train.zip", 50_000)])
def test_real_data(name, count):
    data = open_dataset(str(Path(os.environ["GAN_REF_REAL_DATA"]) / name))
    assert len(data) == count and len(data.classes) == 10 and data.skipped_count == 0
