"""The hostile campaigns: thousands of damaged inputs, each of which must be used or refused in one line.

    python tests/hostile/campaigns.py NAME FOLDER

plays one campaign, with a fixed seed, in this process, under limits of memory and time, and prints a line of
JSON: how many inputs were used and refused, and each failure. A failure is any exception that leaves a
command or a reader but UserError, a status but 0, 1, 2, 3 or 130, a refusal of more than one line, and an
input that takes over a minute. A crash ends the process, which its parent sees.
"""

import copy
import faulthandler
import gzip
import io
import json
import math
import os
import pickle
import random
import resource
import struct
import sys
import tarfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gan_ref import checkpoint, loop
from gan_ref.commands import compare, evaluate, explore, export, film, games, project, sample, train, walk
from gan_ref.config import TYPES, flag
from gan_ref.data import open_dataset
from gan_ref.errors import UserError
from gan_ref.explore import page
from gan_ref.run import Run
from gan_ref.techniques import KINDS, build, choices
from gan_ref.watch.progress import read_rows

MEMORY, SECONDS = 6 << 30, 60  # of a campaign, and for one input
TINY = "--image-size 16 --width 4 --latent-dim 4 --batch-size 4 --steps 2 --no-walk --device cpu".split()


class Campaign:
    """Its random numbers, its folder, and what became of its inputs."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder, self.rng = name, folder, random.Random(name)
        self.used = self.refused = 0
        self.failures: list[str] = []

    def read(self, what: object, reader: Callable[[], object]) -> None:
        """One input for a reader: a value, or a UserError of one line."""
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            reader()
            self.used += 1
        except UserError as error:
            self.refused += 1
            if "\n" in str(error):
                self.failures.append(f"{what}: two lines: {error}")
        except BaseException:
            self.failures.append(f"{what}: {traceback.format_exc()[-1500:]}")

    def call(self, main: Callable, argv: list[str]) -> None:
        """One input for a command: an end with a status of its own, and at most one line of complaint."""
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        encoding = self.rng.choice(["ascii", "latin-1", "cp1252", "utf-8"])
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in streams)
        try:
            status, trace = main(argv), ""
        except SystemExit as end:  # --help
            status, trace = end.code or 0, ""
        except BaseException:
            status, trace = -1, traceback.format_exc()[-1500:]
        finally:
            sys.stderr.flush()
            said = sys.stderr.buffer.getvalue().decode(errors="replace")
            sys.stdout, sys.stderr = streams
        if status == 0:
            self.used += 1
        else:
            self.refused += 1
        lines = said.count("\n")
        if status not in (0, 1, 2, 3, 130) or lines != (status in (2, 3)) or lines and said[:7] != "error: ":
            self.failures.append(f"{argv}: status {status}: {said[:500]} {trace}")

    def damage(self, content: bytes, reach: int | None = None) -> bytes:
        """A few bytes changed, cut out, doubled or cut off, among the first ``reach``."""
        damaged, rng = bytearray(content), self.rng
        end = min(len(damaged), reach or len(damaged))
        for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
            at = rng.randrange(end)
            kind = rng.random()
            if kind < 0.7:
                damaged[at : at + 1] = bytes([rng.choice([rng.randrange(256), 0, 255, 127, 128])])
            elif kind < 0.8:
                del damaged[at : at + rng.randrange(1, 9)]
            elif kind < 0.9:
                damaged[at:at] = damaged[at : at + rng.randrange(1, 40)]
            elif len(damaged) > 1:
                del damaged[rng.randrange(len(damaged) // 2, len(damaged)) :]
            end = max(1, min(end, len(damaged)))
            damaged = damaged or bytearray(1)
        return bytes(damaged)


def one_round(config, dataset, folder, state=None, init=None) -> None:
    """In place of loop.train: build, load, play a round if it is a small one, save."""
    run = Run(config, dataset)
    if state is not None:
        run.load_state_dict(state)
    elif init is not None:
        run.begin_from(init)
    if config.batch_size <= 64 and (config.image_size or 16) <= 32:
        loop.play_round(run)
        checkpoint.save(folder / "checkpoint.pt", run.state_dict())


def noise(size: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    noise().convert(mode).save(file, kind, **options)
    return file.getvalue()


# ---------------------------------------------------------------- images, archives and arrays


def images(it: Campaign) -> None:
    """1,800 damaged pictures of seven formats, in folders of a hundred."""
    kinds = [encoded("JPEG"), encoded("JPEG", progressive=True), encoded("PNG"), encoded("PNG", "P"),
             encoded("GIF", "P"), encoded("TIFF"), encoded("TIFF", compression="tiff_lzw"), encoded("BMP"),
             encoded("TIFF", compression="jpeg"), encoded("WEBP"), encoded("PPM"), encoded("PNG", "RGBA"),
             encoded("PNG", "1")]  # fmt: skip
    for group in range(18):
        folder = it.folder / f"images{group}"
        folder.mkdir()
        (folder / "good.png").write_bytes(encoded("PNG"))
        for k in range(100):
            content = it.damage(it.rng.choice(kinds), it.rng.choice([40, 400, None]))
            (folder / f"{k}.jpg").write_bytes(content)
        found = []
        it.read(folder, lambda: found.append(open_dataset(str(folder), 16, workers=1)))
        if found:
            it.used += len(found[0]) - 1
            it.refused += found[0].skipped_count


def archives(it: Campaign) -> None:
    def packed(method: int) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("a/x.png", "b/y.jpg"):
                archive.writestr(name, encoded("PNG" if "png" in name else "JPEG"))
        return file.getvalue()

    whole = [packed(zipfile.ZIP_STORED), packed(zipfile.ZIP_DEFLATED)]
    for k in range(300):
        path = it.folder / f"{k % 7}.zip"
        content = it.rng.choice(whole)
        tail = it.rng.random() < 0.5  # the directory is at the end
        path.write_bytes(it.damage(content[::-1], 250)[::-1] if tail else it.damage(content))
        it.read(f"zip {k}", lambda: open_dataset(str(path), 16, workers=1))
    hidden = packed(0).replace(b"a/x.png", b"\0/x.png")
    (it.folder / "nameless.zip").write_bytes(hidden)
    it.read("a member without a name", lambda: open_dataset(str(it.folder / "nameless.zip"), 16))


def streams(it: Campaign) -> None:
    """Tar archives in three dialects, compressed or not, and parquet files of the hub's layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole: list[tuple[str, bytes]] = []
    for dialect in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=dialect) as archive:
            for name in ("a/x.png", "b/" + "y" * 90 + ".jpg", "b/ü.png", "b/x.cls"):
                content = b"3" if name.endswith("cls") else encoded("PNG" if "png" in name else "JPEG")
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        whole += [(".tar", file.getvalue()), (".tgz", gzip.compress(file.getvalue()))]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    cells = [{"bytes": encoded("PNG"), "path": f"{k}.png"} for k in range(4)]
    table = pa.table({"image": cells, "label": [0, 1, 1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for codec in ("none", "snappy", "zstd", "gzip"):
        file = io.BytesIO()
        pq.write_table(table, file, compression=codec, row_group_size=2)
        whole += [(".parquet", file.getvalue())] * 2
    for k in range(1200):
        ending, content = it.rng.choice(whole)
        tail = ending == ".parquet" and it.rng.random() < 0.6  # the directory is at the end
        damaged = it.damage(content[::-1], 1200)[::-1] if tail else it.damage(content)
        path = it.folder / f"{k % 7}{ending}"
        path.write_bytes(damaged)
        it.read(f"{ending} {k}", lambda: open_dataset(str(path), 16, workers=1))


def array_files() -> list[tuple[str, bytes]]:
    """The ends of names, and good files."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    files: list[tuple[str, bytes]] = []
    for save in (np.save, np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, pixels) if save is np.save else save(file, images=pixels, labels=np.arange(3))
        files.append((".npy" if save is np.save else ".npz", file.getvalue()))
    return files


def arrays(it: Campaign) -> None:
    files = array_files()
    for k in range(600):
        suffix, content = it.rng.choice(files)
        path = it.folder / f"{k % 7}{suffix}"
        path.write_bytes(it.damage(content, it.rng.choice([128, None])))
        it.read(f"{suffix} {k}", lambda: open_dataset(str(path), 16, workers=1))


def published_files() -> list[tuple[str, bytes]]:
    """MNIST's, CIFAR-10's and SVHN's own files: names and good contents."""
    sys.path.append(str(Path(__file__).parents[1]))
    from mat_files import mat_file

    digits = struct.pack(">4I", 0x803, 3, 8, 8) + bytes(192)
    batch = {b"labels": [1, 2, 3], b"data": np.zeros((3, 3072), np.uint8), b"filenames": [b"a", b"b", b"c"]}
    files = [("train-images-idx3-ubyte", digits), ("train-images-idx3-ubyte.gz", gzip.compress(digits)),
             ("data_batch_1.bin", bytes(3073 * 2))]  # fmt: skip
    files += [("data_batch_1", pickle.dumps(batch, protocol)) for protocol in range(6)]
    numbers = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[10], [1]], np.uint8)}
    return files + [("train_32x32.mat", mat_file(numbers, packed)) for packed in (True, False)]


def published(it: Campaign) -> None:
    files = published_files()
    for k in range(600):
        name, content = it.rng.choice(files)
        folder = it.folder / f"set{k}"
        folder.mkdir()
        (folder / name).write_bytes(it.damage(content, it.rng.choice([20, 300, None])))
        it.read(f"{name} {k}", lambda: open_dataset(str(folder), 16, workers=1))


# ---------------------------------------------------------------- text


def lines(it: Campaign) -> None:
    """Techniques as a config or a checkpoint names them, and metrics.jsonl."""
    values = ["1", "-1", "0", "1e999", "-1e999", "10**9", "'a'", "None", "True", "[1]",
              "{1: 2}", "1j", "0.5", "''", "1e999-1e999", "__import__('os')", "f()", "x",
              "(" * 500, "0x7" + "f" * 400, "1_0", "9" * 5000]  # fmt: skip
    known = [(kind, name) for kind in KINDS for name in choices(kind)]
    words = "weight high low change margin rounds steps d_steps g_steps sigma real_label g_label spread flip"
    words = [*words.split(), "limit", "a", "b", "c"]
    for _ in range(700):
        kind, name = it.rng.choice(known)
        given = ", ".join(
            f"{it.rng.choice(words)}={it.rng.choice(values)}" for _ in range(it.rng.randint(0, 2))
        )
        line = f"{name}({given})"
        if it.rng.random() < 0.6:
            line = it.damage(line.encode()).decode("utf-8", "surrogateescape")
        it.read(f"{kind} {line!r:.100}", lambda: build(it.rng.choice([kind, kind, *KINDS]), line))
    row = b'{"step": 5, "d_loss": 0.25, "g_loss": NaN, "images_per_second": 12.5}\n'
    odd = [b"[" * 5000 + b"\n", b'{"step": 1e999}\n', b'{"step": "5"}\n', b'{"step": null}\n',
           b"\xff\xfe\n", b"\0\n", b'{"step": ' + b"9" * 5000 + b"}\n",
           b'{"step": ' + b"9" * 400 + b"}\n", b'{"step": 3, "a": -' + b"9" * 400 + b"}\n",
           b'{"step": 3, "a": {}}\n', b"\n", b'{"step": true}\n', b"{}\n"]  # fmt: skip
    path = it.folder / "metrics.jsonl"
    for _ in range(400):
        bad = it.rng.choice(odd) if it.rng.random() < 0.3 else it.damage(row)
        path.write_bytes(row * it.rng.randint(0, 2) + bad + row * it.rng.randint(0, 1))

        def resume() -> None:
            rows = read_rows(path, 10)
            assert (
                rows == [json.loads(line) for line in path.read_bytes().splitlines()]
                or "NaN" in str(rows)
                or rows
            )
            assert all(type(row["step"]) is int and row["step"] <= 10 for row in rows)

        it.read(f"metrics {bad!r:.80}", resume)


def flags(it: Campaign) -> None:
    """Any value for any flag of train; and walk, sample, evaluate and compare."""
    loop.train = one_round
    data = it.folder / "pictures"
    data.mkdir()
    for k in range(8):
        noise().save(data / f"{k}.png")
    numbers = ["-1", "0", "1", "2", "3", "7", "16", "48", "512", "1000000000", "1" + "0" * 30,
               "x", "", " ", "1e3", "nan", "inf", "-inf", "1e308", "1e-320", "0.5", "0x10", "½",
               "٣", "1_0", "-0", "9" * 400, "9" * 5000]  # fmt: skip
    texts = ["", " ", "x", "\x1b[31m", "a\nb", "\udcff\udcfe", "ü☃", "n" * 300, "/", "..",
             "~nobody/x", "%s{}", "-", "--", "R1", "R1(weight=10)", "R1(weight=nan)", "Hinge",
             "Hinge()", "Fixed(d_steps=2)", "none", "cpu", "batch", "ring8", "grid25", "faces",
             "/dev/null", "/proc/self/mem", "Unrolled(steps=1000000)", "Fixed(d_steps=999999)"]  # fmt: skip
    for k in range(800):
        out = it.folder / f"run{k}"
        argv = ["--data", it.rng.choice([str(data), str(data), "ring8"]), *TINY, "--out", str(out)]
        if "ring8" in argv:
            del argv[argv.index("--image-size") : argv.index("--image-size") + 2]
        for _ in range(it.rng.choice([1, 1, 2, 3])):
            name = it.rng.choice(sorted(TYPES))
            kind = TYPES[name]
            if kind is bool:
                argv.append(it.rng.choice([flag(name), "--no-" + flag(name)[2:]]))
                continue
            choose = it.rng.choice([numbers, texts]) if kind is str else numbers
            choose = it.rng.choice([choose, choose, choose, texts])
            allowed = list(train.Config.__dataclass_fields__[name].metadata["choices"])
            argv += [flag(name), it.rng.choice(allowed if allowed and it.rng.random() < 0.6 else choose)]
        argv += it.rng.choice(
            [[], [], [], ["--out", it.rng.choice(texts)], ["--resume", it.rng.choice(texts)]]
        )
        os.chdir(it.folder)
        it.call(train.main, argv)
    run = trained(it)
    values = [*numbers, *texts, "2x2", "0x0", "1x9999", "1,2", "cpu", "circle", "dimension", "slerp"]
    others = {
        walk.main: "--path --frames --fps --grid --keyframes --seed --dimension --scale --out".split(),
        sample.main: "--out --each --count --seed --columns --scale --device".split(),
        evaluate.main: "--data --samples --out --seed --device".split(),
        compare.main: "--recipes --seeds --jobs".split(),
    }
    starts = {
        walk.main: [str(run), "--frames", "2", "--out", str(it.folder / "w.gif")],
        sample.main: [str(run), "--count", "4", "--out", str(it.folder / "s.png")],
        evaluate.main: [str(run), "--samples", "x"],  # so that the rest is read and nothing measured
        compare.main: ["--out", str(it.folder / "c"), "--no-such-flag"],
    }
    costly = {"1000000000", "1e308", "512", "48"}  # such a walk would be right and long
    for _ in range(400):
        main = it.rng.choice([walk.main, walk.main, sample.main, sample.main, evaluate.main, compare.main])
        argv = list(starts[main])
        for _ in range(it.rng.choice([1, 1, 2])):
            argv += [it.rng.choice(others[main]), it.rng.choice([v for v in values if v not in costly])]
        it.call(main, argv)


def drawing(it: Campaign) -> None:
    """Damaged and contradicting files of z, pictures, pages and weights, for the commands that draw."""
    runs = [trained(it), trained(it, "--conditional")]
    loop.train = one_round
    good = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    file = io.BytesIO()
    np.save(file, good)
    odd = [good[:, :3], good[0], good[None], good[:0], good.astype(np.float64), good.astype(complex),
           good.astype(int), good.astype("U8"), good * math.nan, good * math.inf, good * 1e38,
           np.zeros((3, 4), [("a", "f4")]), np.array([good, None], object),
           np.zeros((100_000, 4), bool)]  # fmt: skip
    z, picture, out = it.folder / "z.npy", it.folder / "picture.png", it.folder / "out"
    values = ["0", "1", "2", "-1", "0,1", "1,0,2,9999999", "a", "b", "a,b", "each", "c", "", "nan", "x",
              "\x1b[31m", "9" * 400, "1" + "0" * 30, ",", "0.5", "1x2"]  # fmt: skip
    known: dict[Callable, tuple[list[str], list[str]]] = {  # what each is begun with, and its other flags
        walk.main: (["--frames", "2", "--out", f"{out}.gif"],
                    "--z --z --through --between --classes --direction --dimension --psi --hold --ease "
                    "--path --span --keyframes --grid --captions --frames-dir --factors --no-loop".split()),
        sample.main: (["--out", f"{out}.png"], "--save-z --only --class --count --each --numbers".split()),
        project.main: ([str(picture), "--steps", "2", "--out", f"{out}.npy"],
                       "--class --starts --steps --scale".split()),
        film.main: (["--out", f"{out}.gif"], "--frames --fps --scale".split()),
        export.main: (["--out", f"{out}.pt"], ["--class", "--out"]),
        train.main: ([*TINY, "--init"], "--augment --pack --conditional --width --latent --data".split()),
    }  # fmt: skip
    alone = {"--captions", "--factors", "--no-loop", "--numbers"}
    files = {"--z": [str(z)], "--between": [f"{picture},{picture}", f"{picture},{z}"], "--save-z": [str(z)],
             "--frames-dir": [str(out)], "--each": [str(out)],
             "--out": [f"{out}.onnx", f"{out}.npy", str(out)],
             "--augment": ["DiffAugment", "AdaptiveAugment", "DiffAugment(policy='x')", "Hinge"],
             "--data": [str(it.folder / "data"), "ring8", str(z)]}  # fmt: skip
    os.chdir(it.folder)
    for k in range(1000):
        if it.rng.random() < 0.5:
            np.save(z, it.rng.choice(odd))
        else:
            z.write_bytes(it.damage(file.getvalue(), it.rng.choice([128, None])))
        content = encoded(it.rng.choice(["PNG", "JPEG", "GIF"]))
        picture.write_bytes(it.damage(content) if it.rng.random() < 0.7 else content)
        run = it.rng.choice(runs)
        page = it.rng.choice(sorted((run / "samples").iterdir()))
        page.write_bytes(it.damage(page.read_bytes()))
        main = it.rng.choice(list(known))
        begun, flags = known[main]
        argv = [*begun, str(run)] if main is train.main else [str(run), *begun]
        if main is train.main:
            argv += ["--data", str(it.folder / "data"), "--out", str(it.folder / f"new{k}")]
        for name in it.rng.choices(flags, k=it.rng.choice([0, 1, 1, 2])):
            choose = files.get(name, values) if it.rng.random() < 0.8 else values
            argv += [name] if name in alone else [name, it.rng.choice(choose)]
            if name == "--span":
                argv.append(it.rng.choice(values))
        it.call(main, argv)


def html_pages(it: Campaign) -> None:
    """explore, of damaged moments of runs in the plane, and its flags; and the flags of games."""
    images, plane = trained(it, "--conditional"), it.folder / "plane"
    small = "--width 4 --latent-dim 2 --batch-size 4 --steps 2 --no-walk --device cpu".split()
    assert train.main(["--data", "ring8", *small, "--out", str(plane)]) == 0
    moments = sorted((plane / "moments").iterdir())
    whole = [path.read_bytes() for path in moments]
    arrays = dict(np.load(moments[0]))
    page.to_onnx = lambda _: b""  # what follows the reading, seconds a page
    texts = [
        "",
        "0",
        "1",
        "-1",
        "a",
        "b",
        "c",
        "a,b",
        "\x1b[31m",
        "9" * 400,
        "nan",
        str(it.folder),
        "/dev/null",
    ]
    numbers = ["0", "1", "2", "-1", "nan", "1e999", "1e-7", "0.5", "x", "", "1" + "0" * 30, str(2**63)]
    os.chdir(it.folder)
    for k in range(400):
        for path, content in zip(moments, whole):
            path.write_bytes(it.damage(content) if it.rng.random() < 0.1 else content)
        if it.rng.random() < 0.3:
            kind = it.rng.choice(list(arrays))
            other = it.rng.choice([arrays[kind][:1], arrays[kind].astype("f4") * math.nan, np.array(None)])
            np.savez(moments[0], **arrays | {kind: other})
        if it.rng.random() < 0.1:
            it.rng.choice(moments).unlink()
        runs = it.rng.choice(
            [[plane], [plane], [images], [plane] * 5, [plane, images], ["demo"], [moments[0]]]
        )
        argv = [*map(str, runs), "--out", it.rng.choice([f"page{k}.html", f"page{k}.html", *texts])]
        for name in it.rng.choices(["--class", "--offline", "--no-such-flag"], k=it.rng.choice([0, 0, 1])):
            argv += [name, it.rng.choice(texts)]
        it.call(explore.main, argv)
        if k % 8 == 0:
            argv = ["--out", it.rng.choice([f"games{k}", *texts[:6]]), "--steps", "1"]
            it.call(games.main, [*argv, it.rng.choice(["--lr", "--seed", "--steps"]), it.rng.choice(numbers)])


# ---------------------------------------------------------------- checkpoints


def trained(it: Campaign, *more: str) -> Path:
    """The folder of a small finished run on two classes, named after ``more``, settings beside TINY's."""
    data = it.folder / "data"
    for k in range(8):
        (data / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        noise().save(data / "ab"[k % 2] / f"{k}.png")
    out = it.folder / "-".join(["trained", *(flag[2:] for flag in more)])
    argv = ["--data", str(data), *TINY, "--norm", "batch", *more, "--out", str(out)]
    assert train.main(argv) == 0, argv
    return out


def take(it: Campaign, path: Path) -> None:
    """Hand a checkpoint to a command that goes on from it, begins with its weights, or draws."""
    new = ["--data", str(it.folder / "data"), *TINY, "--out", str(it.folder / f"new{it.used + it.refused}")]
    main, argv = it.rng.choice([
        (train.main, ["--resume", str(path), "--steps", "9"]),
        (train.main, ["--resume", str(path), "--steps", "9"]),
        (train.main, [*new, "--init", str(path)]),
        (sample.main, [str(path), "--count", "1", "--out", str(it.folder / "s.png")]),
    ])  # fmt: skip
    it.call(main, argv)


def checkpoint_bytes(it: Campaign) -> None:
    loop.train = one_round
    whole = (trained(it) / "checkpoint.pt").read_bytes()
    path = it.folder / "damaged" / "checkpoint.pt"
    path.parent.mkdir()
    for _ in range(1000):
        reach = it.rng.choice([64, 8000, None])  # the pickle comes first, the directory last
        turned = it.rng.random() < 0.3
        path.write_bytes(it.damage(whole[::-1], 3000)[::-1] if turned else it.damage(whole, reach))
        take(it, path)


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every tensor, number and text, and of what holds them."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [leaf for key, part in items for leaf in leaves(part, (*path, key))]
    return [path, *below] if path else below


def checkpoint_fields(it: Campaign) -> None:
    loop.train = one_round
    whole = torch.load(trained(it) / "checkpoint.pt", weights_only=True)
    path = it.folder / "damaged" / "checkpoint.pt"
    path.parent.mkdir()
    deep: list = []
    for _ in range(200):
        deep = [deep]
    everywhere = leaves(whole)
    for k in range(1000):
        state, place = copy.deepcopy(whole), it.rng.choice(everywhere)
        if k == 0:  # a fused step once read past the end of such moments, and the process crashed
            for player in ("g_optimizer", "d_optimizer"):
                for memory in state[player]["state"].values():
                    memory["exp_avg"] = torch.zeros(3)
        else:
            holder = state
            for key in place[:-1]:
                holder = holder[key]
            old = holder[place[-1]]
            values = [None, "text", "\x1b[31m\udcff", -1, -5, 0, 2, 10**30, 1e308, math.nan,
                      math.inf, True, [], {}, deep, torch.zeros(3), torch.zeros(3, 1, 1),
                      torch.zeros(0), torch.tensor(math.nan), b"bytes", [3, 1, 1], {"a": 1},
                      (1, 2), torch.zeros(2, 2, dtype=torch.int8)]  # fmt: skip
            if isinstance(old, torch.Tensor):
                values += [old.flatten()[:1], old.double(), old.flatten(),
                           old * math.nan if old.dtype.is_floating_point else old + 1,
                           old.to(torch.complex64), old.to_sparse(),
                           torch.empty_like(old, device="meta"), old.expand(2, *old.shape),
                           torch.full_like(old, 2)]  # fmt: skip
            if it.rng.random() < 0.1:
                del holder[place[-1]]
            else:
                holder[place[-1]] = it.rng.choice(values)
        try:
            torch.save(state, path)
        except Exception:  # torch cannot save such a thing, so nobody can send it
            continue
        take(it, path)


# ---------------------------------------------------------------- a full disk


def quota(it: Campaign) -> None:
    """Files may not grow beyond a few bytes or kilobytes, as on a disk that is full."""
    run = trained(it)
    data = it.folder / "more"
    data.mkdir()
    for k in range(30):
        noise(200).save(data / f"{k}.png")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for k in range(100):
        size = it.rng.choice([0, 100, 1000, it.rng.randrange(10_000), it.rng.randrange(300_000)])
        out = str(it.folder / f"quota{k}")
        side = it.rng.choice(["16", "32"])
        main, argv = it.rng.choice([
            (train.main, ["--data", "ring8", "--steps", "3", "--width", "8", "--no-walk", "--out", out]),
            (train.main, ["--data", str(data), *TINY, "--image-size", side, "--out", out]),
            (walk.main, [str(run), "--frames", "12", "--out", out + ".gif"]),
            (sample.main, [str(run), "--count", "16", "--each", out]),
        ])  # fmt: skip
        os.environ["GAN_REF_CACHE"] = str(it.folder / f"cache{k}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            it.call(main, argv)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        left = [str(path) for path in it.folder.rglob("*.part*")]
        if left:
            it.failures.append(f"{argv}: left {left}")


CAMPAIGNS = {f.__name__: f for f in (flags, drawing, html_pages, images, archives, streams, arrays, published,
                                     lines, checkpoint_bytes, checkpoint_fields, quota)}  # fmt: skip


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    faulthandler.enable()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    folder.mkdir(parents=True)
    os.environ["GAN_REF_CACHE"] = str(folder / "cache")
    it = Campaign(name, folder)
    CAMPAIGNS[name](it)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"used": it.used, "refused": it.refused, "failures": it.failures}))


if __name__ == "__main__":
    main()
