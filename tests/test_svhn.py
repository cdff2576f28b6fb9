"""SVHN's cropped digits, from MATLAB files of version 5."""

import struct
import zlib

import numpy as np
import pytest
from mat_files import HEADER, element, mat_file, matrix

from gan_ref.data import open_dataset, svhn
from gan_ref.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 12), np.uint8)  # (height, width, channel, digit)
Y = np.array([10, *range(1, 10), 10, 3], np.uint8)[:, None]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_its_digits_and_labels_come_as_they_are(tmp_path, packed, kind):
    (tmp_path / "train_32x32.mat").write_bytes(mat_file({"X": X, "y": Y.astype(kind)}, packed))
    (tmp_path / "test_32x32.mat").write_bytes(mat_file({"y": Y[:1], "X": X[..., :1]}, packed))
    opened = open_dataset(str(tmp_path))
    assert np.array_equal(opened.samples, X.transpose(3, 0, 1, 2))
    assert opened.labels.tolist() == [0, *range(1, 10), 0, 3], "10 stands for 0"
    assert opened.classes == tuple("0123456789") and not opened.flip
    test = open_dataset(str(tmp_path), split="test")
    assert np.array_equal(test.samples[0], X[..., 0]) and test.labels.tolist() == [0]
    assert open_dataset(str(tmp_path), 16, 1).samples.shape == (12, 16, 16, 1)


def test_the_files_of_this_test_are_as_matlab_writes_them():
    """A 1×1 double: a name of one letter lies in its tag."""
    assert matrix("y", np.array([[7.0]])) == bytes.fromhex(
        "0e000000 38000000 06000000 08000000 06000000 00000000 05000000 08000000 01000000 01000000"
        "01000100 79000000 09000000 08000000 0000000000001c40"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "header"),
        (b"MATLAB 7.3".ljust(124) + b"\x00\x02IM", "header"),
        (mat_file({"X": X}), "lacks X"),
        (mat_file({"X": X[..., 0], "y": Y}), "lacks X"),
        (mat_file({"X": X, "y": Y[:3]}), "not a digit for each of 12"),
        (mat_file({"X": X, "y": Y + 1}), "not a digit"),
        (mat_file({"X": X, "y": np.full((12, 1), np.nan)}), "not a digit"),
        (mat_file({"X": X.astype(np.float64), "y": Y}), "not uint8"),
        (mat_file({"X": X, "y": Y})[:-9], "cut off"),
        (mat_file({"X": X, "y": Y}, packed=False)[:-9], "cut off"),
        (HEADER + matrix("X", X, flags=8), "real numbers"),
        (HEADER + element(14, element(6, struct.pack("<II", 1, 0)) * 4), "real numbers"),  # cells
        (HEADER + element(9, bytes(8)), "other than variables"),
        (HEADER + element(14, element(6, bytes(8))), "MATLAB 5"),
        (HEADER + struct.pack("<II", 14, 1 << 31) + bytes(8), "cut off"),
        (HEADER + matrix("X", X).replace(struct.pack("<4i", *X.shape), struct.pack("<4i", 32, 32, 3, 99)),
         "declares 32×32×3×99"),
        (HEADER + struct.pack("<II", 15, 30) + zlib.compress(bytes(64)).ljust(30), "variables"),
    ],
    ids=range(17),
)  # fmt: skip
def test_what_is_no_such_file_is_told_in_a_line(tmp_path, content, why):
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(UserError, match=why) as refused:
        open_dataset(str(tmp_path))
    assert "\n" not in str(refused.value) and "train_32x32.mat" in str(refused.value)


def test_variables_that_unpack_without_end_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(svhn, "MAX_BYTES", 50_000)
    content = mat_file({"a": np.zeros((30_000, 1), np.uint8), "b": np.zeros((30_000, 1), np.uint8)})
    assert len(content) < 1000
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(UserError, match="more than 1 GiB"):
        svhn.read_svhn(tmp_path / "train_32x32.mat")


def test_files_for_testing_alone_are_told(tmp_path):
    (tmp_path / "test_32x32.mat").write_bytes(mat_file({"X": X, "y": Y}))
    with pytest.raises(UserError, match="only test files"):
        open_dataset(str(tmp_path))
