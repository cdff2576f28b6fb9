"""What a hub of models wants of a finished generator: weights as safetensors, settings, and a model card."""

import json
from pathlib import Path

from gan_ref.checkpoint import load_generator
from gan_ref.commands import sample
from gan_ref.config import Config
from gan_ref.data import short_name
from gan_ref.errors import UserError
from gan_ref.files import write_atomically
from gan_ref.watch.progress import whole_rows

CARD = """---
library_name: gan_ref
pipeline_tag: unconditional-image-generation
tags: [gan]
license: # fill in: of these weights, which the licence of the data may bound
---

# {name}

![samples](samples.png)

The generator of a GAN, trained by gan_ref {version} on {data} with the recipe `{recipe}`, {step:,} steps of
{batch} samples. z {z} → x {x} in [−1, 1]. The weights are the average over the training.
The picture shows z number 0 to 63 of seed {seed}.

```python
import json
import torch
from safetensors.torch import load_file
from gan_ref.config import Config
from gan_ref.networks import build_generator

held = json.load(open("config.json"))
generator = build_generator(Config.from_dict(held["settings"]), tuple(held["shape"]), len(held["classes"]))
generator.load_state_dict(load_file("model.safetensors"))
generator.eval()
with torch.no_grad():
    x = generator({example})
```

## Training data

{data}. Fill in: where it is from, its licence, whom and what it shows.

## Settings

| setting | value |
|---|---|
{settings}

## Metrics

The last that were logged; `gan-ref evaluate` measures more.

| metric | value |
|---|---|
{metrics}

## Limits

Samples may resemble the training data, and have its biases.
"""


def write_folder(run: str, folder: Path) -> str:
    """model.safetensors, config.json, samples.png and README.md, the card, in ``folder``. Returns a line."""
    try:
        from safetensors.torch import save_file
    except ImportError:
        raise UserError("--safetensors needs a package: pip install 'gan-ref[safetensors]'") from None
    from gan_ref import __version__

    generator = load_generator(run)
    data = short_name(generator.config.data)  # without folders of this machine
    settings = generator.config.to_dict() | {"data": data}
    with write_atomically(folder / "model.safetensors") as part:
        weights = {name: value.contiguous() for name, value in generator.module.state_dict().items()}
        save_file(weights, part, metadata={"format": "pt"})
    shape, classes = list(generator.shape), list(generator.classes)
    held = {"settings": settings, "shape": shape, "classes": classes, "step": generator.step}
    sample.write(generator, folder / "samples.png")
    latent, count = generator.config.latent_dim, len(classes)
    z, example = f"(N, {latent}) from N(0, I)", f"torch.randn(4, {latent})"
    if classes:
        z += f", and after it {count} numbers, one-hot: the class"
        example = f"torch.cat([{example}, torch.eye({count})[:1].expand(4, -1)], dim=1)"
    logged = whole_rows(generator.path.parent / "metrics.jsonl")
    card = CARD.format(
        name=f"{settings['recipe'] or 'a GAN'} on {data}", version=__version__, data=data,
        recipe=settings["recipe"], step=generator.step, batch=settings["batch_size"],
        seed=settings["seed"], z=z, example=example,
        x=f"(N, {', '.join(map(str, shape))})",
        settings=rows({k: v for k, v in settings.items() if v != Config.__dataclass_fields__[k].default}),
        metrics=rows(logged[-1] if logged else {"none": "were logged beside this checkpoint"}),
    )  # fmt: skip
    for name, text in (("config.json", json.dumps(held, indent=1) + "\n"), ("README.md", card)):
        with write_atomically(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    card = "README.md, a card with places to fill in"
    return f"{folder}: model.safetensors, config.json, samples.png and {card}"


def rows(values: dict) -> str:
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v).replace("|", "\\|") for k, v in values.items()}
    return "\n".join(f"| {name} | {value} |" for name, value in shown.items())
