"""One HTML file that runs a generator of images in its reader's browser. The page itself is page.html."""

import base64
import gzip
import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gan_ref.errors import UserError
from gan_ref.explore.onnx_model import to_onnx
from gan_ref.latents.classes import find_class, of_class
from gan_ref.latents.directions import layer_directions, strongest_dimensions
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import FinishedGenerator

NUMBERS = 256  # z that the page knows by number
DIRECTIONS = 8  # of G's first layer, that have a slider: those of walk --path direction
CDN = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
# The runtime: a script and what it runs, each held against its hash before it is used.
RUNTIME = {
    "cpu": (
        ("ort.wasm.bundle.min.mjs", "PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG"),
        ("ort-wasm-simd-threaded.wasm", "vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM"),
    ),
    "gpu": (
        ("ort.webgpu.bundle.min.mjs", "1ntMeyj+z5diX6vBR5h+zlJBPc4iNvhCxE6nlammh8daBYcLBZkzrwDkuJjhwI+f"),
        (
            "ort-wasm-simd-threaded.asyncify.wasm",
            "EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
        ),
    ),
}


def make_page(
    generator: FinishedGenerator,
    run: str,
    offline: str | Path | None = None,
    cdn: str = CDN,
    label: str | None = None,
) -> str:
    """The page of a generator of images; ``run`` is what its commands call it.

    That of a conditional one has a menu of its classes, unless it is the page of the class ``label`` alone.

    Its runtime is fetched from ``cdn``, or embedded from a folder ``offline`` that holds a copy, so that the
    page needs no network. Raises UserError if a file of the copy is missing or another version, or
    if there is no such class.
    """
    config, names = generator.config, generator.classes
    one = of_class(generator, label)
    words = [class_word(k, names) for k in range(len(names))]
    said = "" if label is None else f" --classes {words[find_class(label, names)]}"
    generator = generator if label is None else one
    z = numbered_z(config.seed, range(NUMBERS), config.latent_dim)
    directions = layer_directions(one)[:DIRECTIONS]
    kinds = ["cpu"] if offline else list(RUNTIME)
    data = {
        "name": Path(run).name or run,
        "run": shlex.quote(run) + said,
        "about": about(config, generator.shape),
        "shape": generator.shape,
        "latent": config.latent_dim,
        "seed": config.seed,
        "numbers": NUMBERS,
        "classes": generator.classes,
        "words": words,
        "dimension": strongest_dimensions(one, 1, config.seed, (-3, 3))[0],
        "z": pack(z.numpy().tobytes()),
        "directions": pack(directions.contiguous().numpy().tobytes()),
        "model": pack(to_onnx(generator)),
        "runtime": {kind: runtime_files(kind, offline, cdn) for kind in kinds},
    }
    return fill("page.html", data, connect="'none'" if offline else cdn)


def class_word(k: int, names: Sequence[str]) -> str:
    """What ``walk --classes`` calls class k: its name, quoted for a shell, or where that is no single word of
    the flag, its number.

    >>> [class_word(k, ["a face", "smile, round"]) for k in (0, 1)]
    ["'a face'", '1']
    """
    return str(k) if "," in names[k] or names[k].startswith("-") else shlex.quote(names[k])


def about(config: Any, shape: tuple[int, ...]) -> str:
    """'faces, 32×32, recipe baseline'."""
    size = "×".join(map(str, shape[1:]))
    return ", ".join(filter(None, [Path(config.data).name, size, f"recipe {config.recipe or 'none'}"]))


def runtime_files(kind: str, offline: str | Path | None, cdn: str) -> list[dict[str, str]]:
    files = []
    for name, sha384 in RUNTIME[kind]:
        entry = {"url": cdn + name, "integrity": f"sha384-{sha384}"}
        if offline:
            content = find_file(Path(offline), name).read_bytes()
            if base64.b64encode(hashlib.sha384(content).digest()).decode() != sha384:
                raise UserError(f"{name} in {offline} is not that of onnxruntime-web 1.30.0")
            entry["packed"] = pack(content)
        files.append(entry)
    return files


def find_file(folder: Path, name: str) -> Path:
    for place in (folder, folder / "dist", folder / "node_modules" / "onnxruntime-web" / "dist"):
        if (place / name).is_file():
            return place / name
    raise UserError(f"{folder} holds no {name}: npm install onnxruntime-web@1.30.0 brings it, in dist/")


def pack(content: bytes) -> str:
    """Base64 of gzip, which browsers undo by themselves."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def fill(template: str, data: Any, connect: str = "'none'") -> str:
    """A template of this folder with ``data`` in it, and a policy that lets nothing else run.

    The data is JSON in an element that is not executed, with < as \\u003c: no text of it can end the element.
    The page puts it into texts and never into markup. Its policy allows the one script of the template, what
    that script makes itself, and no address but ``connect``.
    """
    page = (Path(__file__).parent / template).read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval' blob:; "
        f"style-src 'unsafe-inline'; connect-src {connect}"
    )
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    empty = '<script id="data" type="application/json">{}</script>'
    assert page.count(empty) == 1 and page.count('content="POLICY"') == 1
    return page.replace('content="POLICY"', f'content="{policy}"').replace(empty, empty.replace("{}", text))
