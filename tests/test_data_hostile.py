"""Files that are broken, lie, or mean harm: left out and named, or refused in one line; never believed."""

import gzip
import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from mat_files import mat_file
from PIL import Image

from gan_ref.data import open_dataset
from gan_ref.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with one good image."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "data" / "good.png")
    return tmp_path / "data"


def picture(kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a hundred bytes that declares 50,000×50,000 pixels."""
    file = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")):
        file += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return file


def refused(source: Path | str, *words: str, **settings) -> None:
    """Opening gives a UserError of one line with these words in it, and leaves nothing in the cache."""
    with pytest.raises(UserError) as caught:
        open_dataset(str(source), **settings)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    cache = Path(os.environ["GAN_REF_CACHE"])
    assert not cache.is_dir() or all(path.suffix == ".lock" for path in cache.iterdir())


# Image files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"text", picture()[:2000], picture("PNG")[:3000], bomb(), b"%PDF-1.4", b"\xff\xd8\xff", bytes(999)],
    ids=["empty", "text", "half jpeg", "half png", "bomb", "pdf", "jpeg's first bytes", "zeros"],
)
def test_a_file_that_is_no_image_is_skipped_and_named(folder, content):
    (folder / "bad one.jpg").write_bytes(content)
    data = open_dataset(str(folder))
    assert len(data) == 1 and data.skipped_count == 1 and data.skipped[0].startswith("bad one.jpg: ")
    assert "bad one.jpg" in data.notice() and "1 file was skipped" in data.notice()
    again = open_dataset(str(folder))  # from the cache
    assert again.skipped == data.skipped and again.skipped_count == 1


def test_an_image_under_another_image_s_extension_is_what_it_is(folder):
    (folder / "png.jpg").write_bytes(picture("PNG"))
    (folder / "one.gif").write_bytes(picture("BMP"))
    assert len(open_dataset(str(folder))) == 3


def test_of_many_bad_files_all_are_counted_and_some_named(folder):
    for i in range(50):
        (folder / f"bad{i:02d}.png").write_bytes(b"bad")
    data = open_dataset(str(folder))
    assert data.skipped_count == 50 and len(data.skipped) == 20 and "and 30 more" in data.notice()


def test_a_folder_with_nothing_left_is_an_error(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bad.png").write_bytes(b"bad")
    refused(tmp_path / "data", "none of 1 files", "bad.png")


@pytest.mark.parametrize("names", [[], ["a.pdf", "b.pdf"], ["notes.txt", ".hidden.png"]])
def test_a_folder_without_images_is_an_error(tmp_path, names):
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).write_bytes(b"%PDF-1.4")
    refused(tmp_path / "data", "no image", ".png")


@pytest.mark.parametrize("source", ["nowhere", "", "a\0b", "~no such user/x", "n" * 5000])
def test_a_missing_path_is_an_error(tmp_path, source, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    refused(source, "no ")


def test_another_kind_of_file_is_an_error(tmp_path):
    (tmp_path / "movie.mp4").write_bytes(b"....")
    refused(tmp_path / "movie.mp4", ".zip", ".npz")


def test_names_may_have_spaces_quotes_newlines_and_any_bytes(folder):
    for name in ("a b.png", "ünï ☃.png", "quote'\".png", "line\nbreak.png"):
        (folder / name).write_bytes(picture("PNG"))
        (folder / f"bad {name}").write_bytes(b"bad")
    with open(os.fsencode(folder) + b"/\xff\xfe.png", "wb") as file:
        file.write(b"bad")
    data = open_dataset(str(folder))
    assert len(data) == 5 and data.skipped_count == 5 and "\n" not in data.notice()
    data.notice().encode()  # prints anywhere


@pytest.fixture
def linked(folder, tmp_path) -> Path:
    """A folder with links to itself, to nowhere, and twice to a picture elsewhere."""
    (folder / "sub").mkdir()
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "nowhere.png").symlink_to(folder / "missing.png")
    (folder / "other.png").symlink_to(folder / "good.png")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.png").write_bytes(picture("PNG"))
    (folder / "twice").symlink_to(elsewhere)
    (folder / "thrice").symlink_to(elsewhere)
    (folder / "file.png").symlink_to(elsewhere / "linked.png")
    return folder


def test_links_are_followed_within_the_folder_but_not_out_of_it(linked):
    data = open_dataset(str(linked))
    assert len(data) == 2  # good.png and other.png
    names = [line.split(":")[0] for line in data.skipped]
    assert names == ["file.png", "nowhere.png", "self.png", "thrice", "twice"] and data.skipped_count == 5
    assert "--follow-links" in data.skipped[0]


def test_links_out_of_the_folder_are_followed_on_demand_but_never_in_a_circle(linked):
    data = open_dataset(str(linked), follow_links=True)
    assert len(data) == 4 and [line.split(":")[0] for line in data.skipped] == ["nowhere.png", "self.png"]


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert open_dataset(str(tmp_path / "link")).skipped_count == 0


def test_links_out_of_the_folder_do_not_spoil_its_classes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.png").write_bytes(picture("PNG"))
    (tmp_path / "data" / "c").symlink_to(tmp_path)
    data = open_dataset(str(tmp_path / "data"))
    assert data.classes == ("a", "b") and data.labels.tolist() == [0, 1] and data.skipped_count == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_read_is_named_itself(folder):
    (folder / "closed").mkdir(mode=0)
    assert "closed: cannot read the folder" in open_dataset(str(folder)).notice()
    folder.chmod(0)
    try:
        refused(folder, f"cannot read the folder {folder}:")
    finally:
        folder.chmod(0o700)


def test_damaged_tiffs_are_named_in_silence(folder, capfd):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "TIFF", compression="tiff_lzw")
    content = bytearray(file.getvalue())
    content[500:600] = b"\xff" * 100  # libtiff complains of this by itself
    (folder / "bad.tif").write_bytes(content)
    assert open_dataset(str(folder)).skipped_count == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_named_like_an_image_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    assert open_dataset(str(folder)).skipped_count == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    "name",
    ["a.npy", "a.npz", "a.zip", "d/train-images-idx3-ubyte", "d/train-images-idx3-ubyte.gz", "d/data_batch_1",
     "d/data_batch_1.bin", "d/train_32x32.mat"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_or_a_socket_is_refused_at_once(tmp_path, monkeypatch, name, kind):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(path.parent)  # the name of a socket is short
    if kind == "pipe":
        os.mkfifo(path.name)
    else:
        socket.socket(socket.AF_UNIX).bind(path.name)
    refused(path.parent if path.parent != tmp_path else path, path.name, "not a regular file")


# Archives -----------------------------------------------------------------------------------------


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_names_that_climb_out_of_an_archive_are_only_labels(tmp_path):
    names = ("../../evil/a.png", "/etc/b.png", "..\\..\\c\\d.png")
    path = write_zip(tmp_path / "climb.zip", {name: picture("PNG") for name in names})
    data = open_dataset(str(path))
    assert len(data) == 3 and data.classes == ("c", "etc", "evil")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", "climb.zip"]


def test_a_member_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("good.png", picture("PNG"))
        with archive.open("bomb.png", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    data = open_dataset(str(path))
    assert len(data) == 1 and "bomb.png" in data.skipped[0] and "more than" in data.skipped[0]


def test_a_member_that_hides_its_size_is_cut_off_at_what_it_declares(tmp_path):
    path = write_zip(tmp_path / "liar.zip", {"good.png": picture("PNG"), "liar.png": bytes(7_654_321)})
    truth = struct.pack("<I", 7_654_321)
    assert path.read_bytes().count(truth) == 2  # beside the member, and in the directory
    path.write_bytes(path.read_bytes().replace(truth, struct.pack("<I", 1000)))
    data = open_dataset(str(path))
    assert len(data) == 1 and data.skipped[0].startswith("liar.png")


def test_an_encrypted_archive_is_an_error(tmp_path):
    path = write_zip(tmp_path / "locked.zip", {"a.png": picture("PNG")})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the central directory's flags
    content[6] |= 1
    path.write_bytes(content)
    refused(path, "encrypted", "password")


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_corrupt_archive_is_an_error(tmp_path, damage):
    path = write_zip(tmp_path / "broken.zip", {"a.png": picture("PNG")})
    path.write_bytes({"cut": path.read_bytes()[:-30], "text": b"not a zip", "empty": b""}[damage])
    refused(path, "not a readable .zip")


def test_a_damaged_member_is_skipped_and_named(tmp_path):
    path = write_zip(tmp_path / "damaged.zip", {"a.png": picture("PNG"), "b.png": picture("PNG")})
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(content)
    data = open_dataset(str(path))
    assert len(data) == 1 and data.skipped[0].startswith("a.png")


def test_a_member_without_a_name_is_passed_over(tmp_path):
    path = write_zip(tmp_path / "nameless.zip", {"a.png": picture("PNG"), "b.png": picture("PNG")})
    path.write_bytes(path.read_bytes().replace(b"b.png", b"\0.png"))
    assert len(open_dataset(str(path))) == 1


def test_an_archive_without_images_is_an_error(tmp_path):
    members = {"a.txt": b"text", "__MACOSX/b.png": b"", "dir.png/": b""}
    refused(write_zip(tmp_path / "texts.zip", members), "no image")


# MNIST and CIFAR-10 -------------------------------------------------------------------------------


def idx(sizes: tuple[int, ...], held: int, magic: int | None = None) -> bytes:
    return struct.pack(f">{1 + len(sizes)}I", magic or 0x0800 | len(sizes), *sizes) + bytes(held)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    "content, word",
    [
        (idx((10, 28, 28), 9 * 784), "only 9"),
        (idx((10, 28, 28), 11 * 784), "goes on"),
        (idx((4_000_000_000, 28, 28), 784), "only 1"),
        (idx((10, 4_000_000_000, 28), 784), "sizes"),
        (idx((0, 28, 28), 0), "sizes"),
        (idx((10, 28, 28), 7840, magic=0x0D03), "IDX"),
        (idx((10,), 10), "IDX"),
        (b"\0\0\x08", "IDX"),
        (b"", "IDX"),
    ],
)
def test_an_idx_header_is_not_believed(tmp_path, content, word, suffix):
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    refused(tmp_path, "train-images", word)


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(idx((10, 28, 28), 7840))[:-20]], ids=["not gzip", "cut off"]
)
def test_a_damaged_gzip_is_an_error(tmp_path, content):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    refused(tmp_path, "download it again")


@pytest.mark.parametrize("held, declared", [(9, 9), (10, 11), (11, 10)])
def test_labels_must_match_their_images(tmp_path, held, declared):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx((10, 28, 28), 7840))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx((declared,), held))
    refused(tmp_path, "labels")


def test_test_files_alone_cannot_be_trained_on(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx((10, 28, 28), 7840))
    refused(tmp_path, "training files")
    assert len(open_dataset(str(tmp_path), split="test")) == 10


@pytest.mark.parametrize("content", [bytes(99), b"", b"\n" + bytes(3072)], ids=["short", "empty", "class 10"])
def test_a_wrong_cifar_binary_is_an_error(tmp_path, content):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    refused(tmp_path, "data_batch_1.bin", "download it again")


class Touch:
    """A pickle that runs a program when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_program_does_not(tmp_path, protocol):
    touched = tmp_path / "touched"
    (tmp_path / "data").mkdir()
    batch = {"data": Touch(touched), "labels": [0]}
    (tmp_path / "data" / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=protocol))
    refused(tmp_path / "data", "data_batch_1", "plain data")
    assert not touched.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"not a pickle",
        b"\x80\x02.",
        b"\x80\x02}.",
        b"\x80\x02](K\x01e.",
        b"\x80\x02]}u.",
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.",
        b"\x80\x02c_codecs\nencode\nU\x01aU\x05rot13\x86R.",
        b"\x80\x02cnumpy\nndarray\nK\x00\x85R.",
        b"\x80\x02K\x01K\x00\x85R.",
        b"\x80\x02\x8a\xff.",
        b"\x80\x02h\x05.",
        pickle.dumps({"data": np.zeros((1, 3072)), "labels": [0]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), object), "labels": [0]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 9), np.uint8), "labels": [0]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["0"]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1 << 70]}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, protocol=2),
        pickle.dumps({"data": [0] * 3072, "labels": [0]}, protocol=2),
        b"\x80\x02N" + b"r" + struct.pack("<I", 1 << 31) + b".",  # C's unpickler would fill 34 GB for this
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x02}()" + b"\x85" * 300_000 + b"Nu.",  # to hash this overflows the stack
        b"\x80\x04\x8f()" + b"\x85" * 300_000 + b"\x90.",
        b"\x80\x02cnumpy\nndarray\n}(U\x01aK\x01ub.",
        b"\x80\x02cnumpy\ndtype\nN}(U\x08__init__K\x01u\x86b.",
        b"\x80\x02cnumpy\ndtype\n)\x81.",
    ],
)
def test_a_pickle_of_anything_but_a_batch_is_an_error(tmp_path, program):
    (tmp_path / "data_batch_1").write_bytes(program)
    refused(tmp_path, "data_batch_1", "download it again")


# Arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array, word",
    [
        (np.zeros((4, 8, 8, 3), np.float32), "float32"),
        (np.zeros((4, 8, 8, 3), object), "uint8"),
        (np.zeros((4, 3, 8, 8), np.uint8), "channels last"),
        (np.zeros((4, 8, 8, 2), np.uint8), "shape"),
        (np.zeros((4, 8), np.uint8), "(N, H, W"),
        (np.zeros((0, 8, 8, 3), np.uint8), "shape"),
    ],
)
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_an_array_of_something_else_is_an_error(tmp_path, array, word, save):
    path = tmp_path / ("set.npy" if save is np.save else "set.npz")
    save(path, array)
    if not (save is np.savez and array.ndim == 2):
        refused(path, path.name, word)
    else:
        refused(path, path.name, "one array of images")


def test_an_array_pickle_is_not_loaded(tmp_path):
    array = np.empty((1, 8, 8), object)
    array[:] = [[[Touch(tmp_path / "touched")] * 8] * 8]
    for save, name in ((np.save, "evil.npy"), (np.savez, "evil.npz")):
        save(tmp_path / name, array, allow_pickle=True)
        refused(tmp_path / name, name)
    (tmp_path / "renamed.npy").write_bytes(pickle.dumps(Touch(tmp_path / "touched")))
    refused(tmp_path / "renamed.npy", "renamed.npy")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x02\x00{}"])
def test_a_damaged_array_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content if name.endswith("npy") else content or b"PK")
    refused(tmp_path / name, name)
    write_zip(tmp_path / "inner.npz", {"images.npy": content})
    refused(tmp_path / "inner.npz", "inner.npz")


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_an_array_that_declares_more_than_it_holds_is_an_error(tmp_path, name):
    file = io.BytesIO()
    declared = {"descr": "|u1", "fortran_order": False, "shape": (1_000_000_000, 64, 64, 3)}
    np.lib.format.write_array_header_1_0(file, declared)
    content = file.getvalue() + bytes(64 * 64 * 3)
    if name.endswith("npz"):
        write_zip(tmp_path / name, {"images.npy": content})
    else:
        (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, name)


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.zeros(3, np.int64), "4 integers"),
        (np.zeros(4), "4 integers"),
        (np.array([None] * 4), "Object arrays cannot be loaded"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(tmp_path, labels, words):
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 16, 16, 3), np.uint8), labels=labels)
    refused(tmp_path / "set.npz", words)


@pytest.mark.full
@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_a_huge_picture_in_an_array_is_refused_unread(tmp_path, name):
    file = io.BytesIO()
    declared = {"descr": "|u1", "fortran_order": False, "shape": (1, 9_000, 9_000, 1)}
    np.lib.format.write_array_header_1_0(file, declared)
    if name == "set.npy":
        (tmp_path / name).write_bytes(file.getvalue())
        os.truncate(tmp_path / name, len(file.getvalue()) + 9_000**2)
        refused(tmp_path / name, "pixels")
    else:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("images.npy", file.getvalue() + bytes(9_000**2))
        refused(tmp_path / name, "pixels")


def open_or_refuse(path: Path) -> bool:
    """Open a file; True if it is refused, in one line."""
    try:
        open_dataset(str(path), image_size=16)
    except UserError as error:
        assert "\n" not in str(error)
        return True
    return False


@pytest.mark.full
@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_any_damaged_byte_of_an_array_is_read_or_refused_in_one_line(tmp_path, save):
    path = tmp_path / ("set.npy" if save is np.save else "set.npz")
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    save(path, images) if save is np.save else save(path, images=images, labels=np.arange(3))
    whole = path.read_bytes()
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(400):
        content = bytearray(whole)
        content[rng.integers(min(len(content), 700))] = rng.integers(256)
        path.write_bytes(content)
        refusals += open_or_refuse(path)
    assert 30 < refusals < 400


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "data_batch_1", "data_batch_1.bin", "train_32x32.mat"]
)
def test_any_damaged_byte_of_a_published_set_is_read_or_refused_in_one_line(tmp_path, name):
    (tmp_path / "data").mkdir()
    if name == "data_batch_1":
        data = np.zeros((3, 3072), np.uint8)
        whole = pickle.dumps({b"labels": [1, 2, 3], b"data": data}, protocol=2)
    elif name.endswith("mat"):
        whole = mat_file({"y": np.ones((1, 1)), "X": np.zeros((32, 32, 3, 1), np.uint8)}, packed=False)
    else:
        whole = bytes(3073 * 3) if name.endswith("bin") else idx((3, 8, 8), 192)
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(300):
        content = bytearray(whole)
        content[rng.integers(min(len(content), 250))] = rng.integers(256)
        (tmp_path / "data" / name).write_bytes(content)
        refusals += open_or_refuse(tmp_path / "data")
    assert refusals or name.endswith("bin")
