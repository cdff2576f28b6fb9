"""Data by name: downloaded once, from a server that may fail in every way, on the loopback address."""

import functools
import gzip
import hashlib
import http.server
import pickle
import re
import socket
import struct
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mat_files import mat_file
from test_data_streams import pictures, png, write_tar

from gan_ref.config import Config
from gan_ref.data import open_dataset, published
from gan_ref.errors import UserError
from gan_ref.run import choose_settings


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; of the files in ``halves`` only the first half, whatever their length says."""

    asked: list[str] = []
    halves: set[str] = set()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.asked.append(name)
        if name not in self.halves:
            return super().do_GET()
        content = (Path(self.directory) / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder, the sets of which are "published" by a server on the loopback address."""
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between two tries
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "server"
    folder.mkdir()
    handler = type("Mine", (Server,), {"asked": [], "halves": set()})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    ) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()

        def publish(name: str, files: dict[str, bytes]) -> type[Server]:
            """Put the files there, and let the set's entry have this address and their checksums."""
            entry = published.PUBLISHED[name]
            for file, content in files.items():
                (folder / file).write_bytes(content)
            sums = {}
            for file, known in entry.files.items():
                algorithm, content = known.split(":")[0], files[entry.address or file]
                sums[file] = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
            base = f"http://127.0.0.1:{http_server.server_port}/"
            monkeypatch.setitem(published.PUBLISHED, name, replace(entry, base=base, files=sums))
            return handler

        yield publish
        http_server.shutdown()


def idx_files() -> dict[str, bytes]:
    files = {}
    for part, count in (("train", 10), ("t10k", 3)):
        digits = np.arange(count * 784, dtype=np.uint32).astype(np.uint8).tobytes()
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(
            struct.pack(">4I", 0x803, count, 28, 28) + digits
        )
        labels = bytes(k % 10 for k in range(count))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(struct.pack(">2I", 0x801, count) + labels)
    return files


def tgz(members: dict[str, bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_tar(Path(folder) / "c.tgz", members).read_bytes()


def refused(name: str, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_a_set_is_downloaded_once_and_its_licence_told_once(server, capsys):
    handler = server("mnist", idx_files())
    data, test = open_dataset("mnist"), open_dataset("mnist", split="test")
    assert len(data) == 10 and len(test) == 3 and data.name == "mnist"
    assert len(open_dataset("stacked-mnist:mnist").channel) == 10
    assert sorted(handler.asked) == sorted(idx_files())
    said = capsys.readouterr()
    assert said.out == "" and said.err == (
        "mnist: CC BY-SA 3.0; cite LeCun, Bottou, Bengio and Haffner 1998, "
        "Gradient-based learning applied to document recognition\n"
    )


def test_a_broken_file_in_the_cache_is_downloaded_again(server, tmp_path):
    handler = server("fashion-mnist", idx_files())
    assert open_dataset("fashion-mnist").classes[9] == "boot"
    (tmp_path / "cache" / "downloads" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(b"half")
    assert len(open_dataset("fashion-mnist", split="test")) == 3
    assert len(handler.asked) == 5


def test_a_download_that_breaks_off_is_tried_three_times_and_leaves_nothing(server, tmp_path):
    handler = server("mnist", idx_files())
    handler.halves.add("train-images-idx3-ubyte.gz")
    place = tmp_path / "cache" / "downloads" / "mnist" / "train-images-idx3-ubyte.gz"
    refused("mnist", "mnist needs http://127.0.0.1", "connection failed", f"by hand to {place}")
    assert len(handler.asked) == 3 and [path.name for path in place.parent.iterdir()] == [".lock"]
    handler.halves.clear()
    assert len(open_dataset("mnist")) == 10


def test_a_file_with_another_checksum_is_not_kept(server, tmp_path):
    files = idx_files()
    server("mnist", files)
    (tmp_path / "server" / "train-labels-idx1-ubyte.gz").write_bytes(b"other")
    refused("mnist", "train-labels-idx1-ubyte.gz", "its checksum is wrong")
    place = tmp_path / "cache" / "downloads" / "mnist" / "train-labels-idx1-ubyte.gz"
    assert not place.exists()
    place.write_bytes(files[place.name])  # by hand
    assert len(open_dataset("mnist")) == 10


def test_a_file_that_is_gone_is_told_with_its_address_and_its_place(server, tmp_path):
    server("mnist", idx_files())
    (tmp_path / "server" / "t10k-images-idx3-ubyte.gz").unlink()
    refused("mnist", "t10k-images-idx3-ubyte.gz: the server says 404", "try again")


def test_without_a_network_one_line_says_what_is_needed(server, tmp_path, monkeypatch):
    server("mnist", idx_files())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = replace(published.PUBLISHED["mnist"], base=f"http://127.0.0.1:{port}/")
    monkeypatch.setitem(published.PUBLISHED, "mnist", entry)
    refused("mnist", f"http://127.0.0.1:{port}/train-images", "the connection failed", "by hand to")


def test_cifar10_is_unpacked_under_its_own_names_and_nothing_else_is(server, tmp_path):
    batch = {b"labels": [k % 10 for k in range(4)], b"data": np.full((4, 3072), 7, np.uint8)}
    held = {f"cifar-10-batches-py/{name}": pickle.dumps(batch, 2) for name in published.BATCHES}
    held |= {"../../evil": b"x", "cifar-10-batches-py/readme.html": b"x"}
    archive = write_tar(tmp_path / "c.tar.gz", held).read_bytes()
    server("cifar10", {"cifar-10-python.tar.gz": archive})
    data, test = open_dataset("cifar10"), open_dataset("cifar10", split="test")
    assert len(data) == 20 and len(test) == 4 and data.classes[9] == "truck"
    kept = {path.name for path in (tmp_path / "cache" / "downloads" / "cifar10").iterdir()}
    assert kept == {*published.BATCHES, "cifar-10-python.tar.gz", ".lock"}


def test_svhn_has_its_own_files(server):
    x, y = np.zeros((32, 32, 3, 4), np.uint8), np.array([[10], [1], [2], [3]], np.uint8)
    test = mat_file({"X": x[..., :2], "y": y[:2]})
    server("svhn", {"train_32x32.mat": mat_file({"X": x, "y": y}), "test_32x32.mat": test})
    assert (
        open_dataset("svhn").labels.tolist() == [0, 1, 2, 3] and len(open_dataset("svhn", split="test")) == 2
    )


def test_faces_come_from_their_archive_as_they_are(server):
    members = {f"x/{k % 2}/{k}.png": png(image) for k, image in enumerate(pictures(4))}
    server("lfw", {"5976015": tgz(members)})
    data = open_dataset("lfw")
    assert np.array_equal(data.samples, pictures(4)) and data.labels is None and data.name == "lfw"
    assert open_dataset("lfw", split="test") is None


def test_flowers_have_the_labels_of_their_own_file(server, tmp_path):
    order = [3, 1, 4, 2]  # as they lie in the archive; a number names a picture and its label
    members = {f"jpg/image_{k:05}.png": png(image) for k, image in zip(order, pictures(4))}
    labels = mat_file({"labels": np.array([[77, 9, 102, 9]], np.uint8)})
    handler = server("flowers102", {"102flowers.tgz": tgz(members), "imagelabels.mat": labels})
    data = open_dataset("flowers102")
    assert np.array_equal(data.samples, pictures(4)) and data.name == "flowers102"
    assert [data.classes[k] for k in data.labels] == ["102", "77", "9", "9"]
    assert data.classes == ("9", "77", "102") and open_dataset("flowers102", split="test") is None
    config, told = choose_settings(Config(data="flowers102", conditional="projection", width=4, device="cpu"))
    assert config.conditional == "projection" and len(told.classes) == 3
    assert handler.asked == ["102flowers.tgz", "imagelabels.mat"]


@pytest.mark.parametrize("labels", [b"no .mat", mat_file({"other": np.ones((1, 4), np.uint8)})])
def test_labels_of_another_kind_are_refused(server, labels):
    archive = tgz({"jpg/image_00001.png": png(pictures(1)[0])})
    server("flowers102", {"102flowers.tgz": archive, "imagelabels.mat": labels})
    refused("flowers102", "imagelabels.mat is not the labels of flowers102")


def test_a_folder_of_that_name_is_what_it_was(server, tmp_path):
    handler = server("mnist", idx_files())
    (tmp_path / "mnist").mkdir()
    for name, content in idx_files().items():
        (tmp_path / "mnist" / name).write_bytes(content)
    assert len(open_dataset("mnist")) == 10 and handler.asked == []


def test_celeba_is_had_by_hand(server):
    refused("celeba", "img_align_celeba.zip", "give its path")


def test_every_entry_is_whole():
    """The checksums and addresses themselves are torchvision's and scikit-learn's."""
    for entry in published.PUBLISHED.values():
        assert entry.base.startswith("http") and entry.base.endswith("/") and entry.licence and entry.citation
        assert all(
            re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", known) for known in entry.files.values()
        )
