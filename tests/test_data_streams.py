"""Tar archives, webdataset shards and parquet files: what they hold, and what they may not do."""

import gzip
import io
import json
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_ref.data import absolute, open_dataset, short_name
from gan_ref.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / "cache"))


def pictures(count: int, size: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    packed = path.suffix in (".gz", ".tgz")
    with tarfile.open(path, "w:gz" if packed else "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def refused(source: Path | str, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        open_dataset(str(source))
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


# Tar ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pets.tar", "pets.tar.gz", "pets.tgz", "packed.tar"])
def test_a_tar_is_its_folder(tmp_path, name):
    drawn = pictures(5)
    names = ["pets/cat/0.png", "pets/cat/1.png", "pets/dog/0.png", "pets/dog/1.png", "pets/dog/2.png"]
    path = write_tar(tmp_path / name, dict(zip(names, map(png, drawn))) | {"pets/notes.txt": b"text"})
    if name == "packed.tar":  # what is compressed is known by its content
        path.write_bytes(gzip.compress(path.read_bytes()))
    data = open_dataset(str(path))
    assert np.array_equal(data.samples, drawn) and data.flip
    assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 1, 1, 1]
    again = open_dataset(str(path))  # from the cache, without reading the archive
    assert again.classes == data.classes and np.array_equal(again.labels, data.labels)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", name]
    assert open_dataset(str(path), split="test") is None and short_name(str(path)) == name.split(".")[0]


def test_a_gray_tar_has_one_channel_and_one_in_a_folder_of_nothing_else_is_found(tmp_path):
    gray = [png(image[..., 0]) for image in pictures(3)]
    write_tar(tmp_path / "x.tar", {f"{k}.png": content for k, content in enumerate(gray)})
    data = open_dataset(str(tmp_path))
    assert data.shape == (1, 32, 32) and data.labels is None and len(data) == 3


@pytest.mark.full
def test_several_processes_give_what_one_gives(tmp_path, monkeypatch):
    drawn = pictures(230, 20)
    members = {f"{k % 3}/{k}.png": png(image) for k, image in enumerate(drawn)} | {"1/bad.png": b"bad"}
    path = write_tar(tmp_path / "many.tgz", members)
    opened = []
    for workers in (1, 2):
        monkeypatch.setenv("GAN_REF_CACHE", str(tmp_path / f"cache{workers}"))
        opened.append(open_dataset(str(path), 16, workers=workers))
    assert np.array_equal(opened[0].samples, opened[1].samples) and len(opened[0]) == 230
    assert np.array_equal(opened[0].labels, opened[1].labels)
    assert opened[0].skipped == opened[1].skipped and opened[0].skipped_count == 1


@pytest.mark.parametrize("kind", ["cls", "json", "words"])
def test_webdataset_shards_carry_their_labels(tmp_path, kind):
    drawn, labels = pictures(6), [7, 11, 7, 2, 11, 7]
    words = {2: "ant", 7: "bee", 11: "cow"}
    for shard in range(2):
        members = {}
        for k in range(3):
            label = labels[3 * shard + k]
            members[f"s.d/{k:04}.png"] = png(drawn[3 * shard + k])  # the same names in each shard
            text = json.dumps({"label": label, "url": "x"}) if kind == "json" else str(label)
            members[f"s.d/{k:04}.{'json' if kind == 'json' else 'cls'}"] = (
                words[label] if kind == "words" else text
            ).encode()
        write_tar(tmp_path / f"x-{shard:06}.tar", members)
    pattern = f"{tmp_path}/x-{{000000..000001}}.tar"
    for source in (pattern, str(tmp_path)):
        data = open_dataset(source)
        assert np.array_equal(data.samples, drawn) and data.labels.tolist() == [1, 2, 1, 0, 2, 1]
        assert data.classes == (("ant", "bee", "cow") if kind == "words" else ("2", "7", "11"))
    assert short_name(pattern) == "x"


def test_a_pattern_is_made_absolute_and_every_file_of_it_must_be_there(tmp_path, monkeypatch):
    write_tar(tmp_path / "x-08.tar", {"a.png": png(pictures(1)[0])})
    monkeypatch.chdir(tmp_path)
    assert absolute("x-{08..08}.tar") == f"{tmp_path}/x-{{08..08}}.tar"
    assert len(open_dataset("x-{08..08}.tar")) == 1
    refused("x-{08..10}.tar", "no file", "x-09.tar")
    refused("x-{00..99999999999999999999999}.tar", "no file", "x-00.tar")
    refused("x-{9..2}.tar", "downwards")


def test_a_picture_without_a_label_among_others_is_named(tmp_path):
    drawn = [png(image) for image in pictures(3)]
    path = write_tar(
        tmp_path / "x.tar",
        {"0.png": drawn[0], "0.cls": b"4", "1.png": drawn[1], "2.png": drawn[2], "2.cls": b"5"},
    )
    data = open_dataset(str(path))
    assert len(data) == 2 and data.skipped == ("1.png: it has no label, and others have one",)


def test_the_files_called_test_in_a_folder_are_its_test_split(tmp_path):
    for name, count in (("train-0.tar", 3), ("train-1.tar", 1), ("test-0.tar", 2)):
        write_tar(tmp_path / name, {f"{k}.png": png(image) for k, image in enumerate(pictures(count))})
    assert len(open_dataset(str(tmp_path))) == 4 and len(open_dataset(str(tmp_path), split="test")) == 2


# Hostile tars -------------------------------------------------------------------------------------


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_links_and_devices_are_named_and_names_that_climb_are_only_labels(tmp_path):
    drawn = [png(image) for image in pictures(3)]
    path = write_tar(
        tmp_path / "climb.tar",
        {
            "../../evil/a.png": drawn[0],
            "/etc/b.png": drawn[1],
            "..\\..\\c\\d.png": drawn[2],
            "1": special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            "2": special("hard.png", tarfile.LNKTYPE, "../../evil/a.png"),
            "3": special("null", tarfile.CHRTYPE),
            "4": special("pipe.png", tarfile.FIFOTYPE),
        },
    )
    data = open_dataset(str(path))
    assert len(data) == 3 and data.classes == ("c", "etc", "evil") and data.skipped_count == 4
    assert [line.split(": ")[1] for line in data.skipped] == ["a link", "a link"] + 2 * ["no regular file"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", "climb.tar"]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def test_a_large_member_is_left_out_and_a_bomb_is_refused_without_memory(tmp_path, monkeypatch):
    good = png(pictures(1)[0])
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb", 1) as file:
        file.write(header("good.png", len(good)) + good + bytes(-len(good) % 512))
        file.write(header("bomb.png", 100 << 20))
        for _ in range(100):
            file.write(bytes(1 << 20))
        file.write(bytes(1024))
    tracemalloc.start()
    data = open_dataset(str(path))
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()
    assert len(data) == 1 and data.skipped[0].startswith("bomb.png: 104857600 bytes")
    monkeypatch.setattr("gan_ref.data.streams.UNPACKED", 50 << 20)
    (tmp_path / "copy.tgz").write_bytes(path.read_bytes())
    refused(tmp_path / "copy.tgz", "unpacks to more than")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extended_header_that_declares_gigabytes_is_not_read(tmp_path, kind):
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(header("a.png", 3 << 30, kind) + bytes(4096)))
    refused(path, "a readable .tar", "declares 3221225472 bytes")


def test_a_member_that_begins_before_its_end_ends(tmp_path):
    """With a negative size, tarfile reads the same header without end (CVE-2025-8194)."""
    block = bytearray(header("a.png", 0))
    block[124:136] = b"\xff" * 10 + b"\xfc\x00"  # −1024 as a base-256 number
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(1024))
    refused(tmp_path / "x.tar", "a readable .tar")


def test_a_damaged_archive_is_an_error_not_a_shorter_one(tmp_path):
    drawn = {f"{k}.png": png(image) for k, image in enumerate(pictures(4))}
    whole = write_tar(tmp_path / "x.tar", drawn).read_bytes()
    second = whole.index(b"1.png")
    for name, content in {
        "header.tar": whole[:second] + b"?" + whole[second + 1 :],
        "cut.tar": whole[: second + 600],
        "text.tar": b"not a tar",
        "empty.tar": b"",
        "cut.tgz": gzip.compress(whole)[:-500],
        "sum.tgz": gzip.compress(whole)[:-8] + bytes(8),
    }.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "not a readable .tar", "download it again")
    refused(write_tar(tmp_path / "texts.tar", {"a.txt": b"text", "__MACOSX/a.png": b""}), "no image")


# Parquet ------------------------------------------------------------------------------------------


def write_parquet(path: Path, columns: dict[str, list], names: list[str] | None = None, **options) -> Path:
    """As the hub writes a set of pictures: image {bytes, path}, and the names of the classes beside it."""
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    import pyarrow.parquet as pq

    features = {"image": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": names}}
    table = pa.table(columns)
    if names is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, **options)
    return path


def cells(drawn: list[np.ndarray]) -> list[dict]:
    return [{"bytes": png(image), "path": f"{k}.png"} for k, image in enumerate(drawn)]


def test_a_parquet_file_of_the_hub_is_read_with_its_classes(tmp_path):
    drawn = pictures(50)
    kinds = [k % 3 for k in range(50)]
    columns = {"label": [9] * 50, "image": cells(drawn), "kind": kinds}
    path = write_parquet(tmp_path / "x.parquet", columns, ["ant", "bee", "cow", "dog"], row_group_size=7)
    data = open_dataset(str(path))
    assert np.array_equal(data.samples, drawn) and data.flip
    assert data.classes == ("ant", "bee", "cow", "dog") and data.labels.tolist() == kinds
    assert open_dataset(str(path)).classes == data.classes


def test_a_folder_of_parquet_files_has_the_hub_s_splits(tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    drawn = pictures(6)
    for name, part in (("train-00000-of-00002", drawn[:2]), ("train-00001-of-00002", drawn[2:4]),
                       ("test-00000-of-00001", drawn[4:])):  # fmt: skip
        columns = {"image": cells(part), "label": list(range(len(part)))}
        write_parquet(tmp_path / "set" / "data" / f"{name}.parquet", columns)
    data, test = (open_dataset(str(tmp_path / "set"), split=split) for split in ("train", "test"))
    assert np.array_equal(data.samples, drawn[:4]) and np.array_equal(test.samples, drawn[4:])
    assert data.classes == ("0", "1") and data.labels.tolist() == [0, 1, 0, 1]


def test_bytes_alone_and_words_as_labels_are_read_too(tmp_path):
    drawn = pictures(3)
    columns = {"picture": [png(image) for image in drawn], "label": ["b", "a", "b"]}
    data = open_dataset(str(write_parquet(tmp_path / "x.parquet", columns)))
    assert np.array_equal(data.samples, drawn)
    assert data.classes == ("a", "b") and data.labels.tolist() == [1, 0, 1]


def test_rows_without_a_picture_or_a_class_are_named(tmp_path):
    image = cells(pictures(4))
    image[1] = {"bytes": None, "path": "gone.png"}
    image[2] = {"bytes": b"bad", "path": "../../x\n.png"}
    data = open_dataset(
        str(write_parquet(tmp_path / "x.parquet", {"image": image, "kind": [0, 1, 1, -1]}, ["a", "b"]))
    )
    assert len(data) == 1 and data.skipped_count == 3 and "\n" not in data.notice()
    assert data.skipped[0].startswith("x.parquet row 2 gone.png: ") and "no label" in data.skipped[2]


@pytest.mark.parametrize("content", [b"", b"text", b"PAR1" + bytes(50) + b"PAR1"])
def test_a_damaged_parquet_file_is_an_error(tmp_path, content):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    (tmp_path / "x.parquet").write_bytes(content)
    refused(tmp_path / "x.parquet", "not a parquet file of images")


def test_a_parquet_file_of_numbers_is_an_error(tmp_path):
    refused(write_parquet(tmp_path / "x.parquet", {"a": [1, 2], "b": ["x", "y"]}), "holds images", "a, b")


def test_metadata_that_lie_are_not_believed(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    import pyarrow.parquet as pq

    drawn = pictures(2)
    for held in (b"{", b"[1]", b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 5}}}}'):
        table = pa.table({"image": cells(drawn), "label": [3, 4]})
        pq.write_table(table.replace_schema_metadata({"huggingface": held}), tmp_path / "x.parquet")
        assert open_dataset(str(tmp_path / "x.parquet")).classes == ("3", "4")


def test_pictures_are_not_held_in_memory_all_at_once(tmp_path):
    """60 MB of pictures, in row groups of 10 MB."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    content = png(noise)
    columns = {"image": [{"bytes": content + bytes(k), "path": ""} for k in range(60)]}
    path = write_parquet(tmp_path / "x.parquet", columns, row_group_size=10, compression="none")
    del columns
    tracemalloc.start()
    assert len(open_dataset(str(path), 16)) == 60
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "x.parquet", "pip install 'gan-ref[parquet]'")


def test_archives_beside_parquet_files_are_refused_and_so_is_hdf5(tmp_path):
    write_tar(tmp_path / "x.tar", {"a.png": png(pictures(1)[0])})
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    refused(tmp_path, "both archives and parquet")
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(tmp_path / "x.h5", "HDF5 is not read", ".npy")
