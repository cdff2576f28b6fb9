"""The command ``export RUN --out g.onnx``: a finished generator as one file, or a folder for a hub."""

from collections.abc import Sequence
from pathlib import Path

from gan_ref import checkpoint
from gan_ref.commands.command_line import Parser, command, output_file, require_names
from gan_ref.errors import UserError
from gan_ref.files import write_atomically
from gan_ref.latents.classes import of_class


@command
def main(argv: Sequence[str] | None = None) -> None:
    description = "Write a finished generator as one file: .onnx for any program, .pt for every command here."
    description += " Or with --safetensors as a folder for a hub of models."
    parser = Parser(prog="gan-ref export", description=description)
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="a run folder, a checkpoint or demo")
    add("--out", metavar="FILE", help="g.onnx, or g.pt, which is a checkpoint that only draws")
    folder = "write a folder, --out or NAME-model: weights, settings, samples and a model card"
    add("--safetensors", action="store_true", help=folder)
    asked = "the class that a conditional G draws in an .onnx [its input says it]"
    add("--class", dest="label", metavar="NAME", help=asked)
    given = parser.parse_args(argv)
    if given.safetensors:
        from gan_ref.commands.hub import write_folder

        out = given.out or Path(given.checkpoint).resolve().stem + "-model"
        return print(write_folder(given.checkpoint, require_names(out)))
    if given.out is None:
        raise UserError("nothing to write: give --out g.onnx, --out g.pt, or --safetensors")
    out = output_file(given.out, (".onnx", ".pt"))

    if out.suffix.lower() == ".pt":
        checkpoint.save(out, checkpoint.finished(given.checkpoint))
        what = "RUN for every command that draws"
    else:
        from gan_ref.explore.onnx_model import to_onnx

        generator = checkpoint.load_generator(given.checkpoint)
        if given.label is not None:
            generator = of_class(generator, given.label)
        model = to_onnx(generator)
        with write_atomically(out) as part:
            part.write_bytes(model)
        sample = "×".join(map(str, generator.shape))
        latent_dim, classes = generator.config.latent_dim, len(generator.classes)
        told = f"z and a class (N, {latent_dim} + {classes})" if classes else f"z (N, {latent_dim})"
        what = f"{told} to x (N, {sample}), float32"
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {what}")
