"""Coverage-guided inputs for the files, lines and checkpoints that gan_ref reads (pip install atheris):

    python tests/hostile/fuzz.py CORPUS_FOLDER -max_total_time=2100 -max_len=300 -len_control=0

Whatever is neither used nor refused in one line is printed, each kind once, and the search goes on.
"""

import copy
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["gan_ref"]):
    from campaigns import array_files, published_files

    from gan_ref import checkpoint
    from gan_ref.config import Config
    from gan_ref.data import open_dataset
    from gan_ref.errors import UserError
    from gan_ref.recipes import settings
    from gan_ref.run import Run, choose_settings
    from gan_ref.techniques import KINDS, build, choices
    from gan_ref.watch.progress import parse_row

import torch

FOUND: set = set()
STARTS = ("", "1e999", "-1", "0x10", "R1(weight=", "Fixed(d_steps=", "Unrolled(steps=1)", "ring8", "\x1b[31m")


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [leaf for key, part in items for leaf in leaves(part, (*path, key))]
    return [path, *below] if path else below


def value(data: atheris.FuzzedDataProvider, old: Any, depth: int = 0) -> Any:
    """Something that a file could hold in the place of ``old``."""
    kind = data.ConsumeIntInRange(0, 11)
    if kind == 0:
        return data.ConsumeInt(8)
    if kind == 1:
        return data.ConsumeFloat()
    if kind == 2:
        return data.PickValueInList(list(STARTS)) + data.ConsumeUnicode(20)
    if kind == 3:
        return data.PickValueInList([None, True, False, [], {}, b"", 10**30, -(10**30)])
    if kind == 4 and depth < 3:
        return [value(data, old, depth + 1) for _ in range(data.ConsumeIntInRange(0, 3))]
    if kind == 5 and depth < 3:
        return {value(data, "", 9): value(data, old, depth + 1)}
    if kind == 6 and isinstance(old, (int, float)):
        return old + data.ConsumeIntInRange(-3, 3)
    if kind == 7 and isinstance(old, str):
        at = data.ConsumeIntInRange(0, len(old))
        return old[:at] + data.ConsumeUnicode(4) + old[at + data.ConsumeIntInRange(0, 2) :]
    if isinstance(old, torch.Tensor):
        changes = [
            old.flatten(),
            old[..., :0],
            old * 0,
            old.double(),
            old.int(),
            old.unsqueeze(0),
            old.bool(),
        ]
        return data.PickValueInList([*changes, old.to(torch.float16), old * 10**6, old.to("meta")])
    return old


def read_data(data: atheris.FuzzedDataProvider) -> None:
    """An array, or a file of MNIST, CIFAR-10 or SVHN, of which up to four places are something else."""
    name, good = data.PickValueInList(FILES)
    content = bytearray(good)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        at = data.ConsumeIntInRange(0, data.PickValueInList([16, 150, len(content)]))
        content[at : at + data.ConsumeIntInRange(0, 8)] = data.ConsumeBytes(data.ConsumeIntInRange(0, 8))
    folder = Path(tempfile.mkdtemp(dir=os.environ["GAN_REF_CACHE"]))
    path = folder / (f"x{name}" if name.startswith(".") else name)
    try:
        path.write_bytes(content)
        open_dataset(str(path if name.startswith(".") else folder), 16, workers=1)
    finally:
        shutil.rmtree(folder)


def whole() -> dict[str, Any]:
    """The checkpoint of a small run in the plane, with a penalty and a balance that have a state."""
    torch.set_num_threads(1)
    more = {"balance": "Margin(margin=0.3)", "penalties": ("AdaptiveL2(change=1e-5, high=1.3, low=0.9)",)}
    small: dict[str, Any] = {"width": 4, "batch_size": 4, "steps": 9, "device": "cpu"}
    config = Config(data="ring8", recipe="dcgan", **{**settings("dcgan"), **more, **small})
    from gan_ref.loop import play_round

    run = Run(*choose_settings(config))
    play_round(run)
    return run.state_dict()


def read_checkpoint(data: atheris.FuzzedDataProvider) -> None:
    """As --resume does, with up to three fields replaced or removed."""
    state = copy.deepcopy(WHOLE)
    for _ in range(data.ConsumeIntInRange(1, 3)):
        *place, last = data.PickValueInList(LEAVES)
        holder: Any = state
        try:
            for key in place:
                holder = holder[key]
            if data.ConsumeProbability() < 0.1:
                del holder[last]
            else:
                holder[last] = value(data, holder[last])
        except (KeyError, IndexError, TypeError):
            continue
    checkpoint.read_tensors = lambda *_: state
    read = checkpoint.load(__file__)
    config = read["config"]
    if (
        config.data != "ring8"
        or config.width > 64
        or max(config.layers, config.d_layers or 0) > 4
        or config.batch_size > 1024
    ):
        return  # such a run is right, and slow to build
    Run(*choose_settings(config)).load_state_dict(read)


def test_one(content: bytes) -> None:
    data = atheris.FuzzedDataProvider(content)
    target = data.ConsumeIntInRange(0, 19)
    try:
        if target >= 10:
            read_data(data)
        elif target == 0:
            parse_row(data.ConsumeBytes(200))
        elif target <= 4:
            kind = data.PickValueInList(list(KINDS))
            name = data.PickValueInList([*choices(kind), ""])
            build(kind, name + data.ConsumeUnicode(60))
        else:
            read_checkpoint(data)
    except UserError as error:
        if "\n" in str(error):
            print("two lines:", error, content, flush=True)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        if (kind := (type(error), where.filename, where.lineno)) not in FOUND:
            FOUND.add(kind)
            print(traceback.format_exc(), content, flush=True)


if __name__ == "__main__":
    os.environ["GAN_REF_CACHE"] = tempfile.mkdtemp()
    FILES = array_files() + published_files()
    WHOLE = whole()
    LEAVES = leaves(WHOLE)
    for folder in sys.argv[1:]:
        if not folder.startswith("-"):
            Path(folder).mkdir(parents=True, exist_ok=True)
    atheris.Setup(sys.argv, test_one)
    atheris.Fuzz()
