"""``python -m gan_ref.ops``: which implementation of the two operators runs here, and why."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

import gan_ref
from gan_ref.errors import Parser, UserError, command
from gan_ref.ops import build, extension


@command
def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="python -m gan_ref.ops", description=__doc__)
    parser.add_argument(
        "--build",
        action="store_true",
        help="build the kernels now, for the GPUs present (or every architecture where there is none)",
    )
    arguments = parser.parse_args(argv)
    if arguments.build:
        try:
            print(f"built           {extension.build_for_this_machine()}")
        except build.CannotBuild as error:
            raise UserError(f"the kernels cannot be built: {error}") from None
    choice = extension.choose(may_build=False)
    devices = [
        f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}"
        for gpu in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    print(f"implementation  {choice.implementation}: {choice.reason}")
    print(f"binary          {choice.binary or 'none'}")
    print(f"gan_ref         {gan_ref.__version__}, kernel sources {build.digest()} in {build.sources()}")
    print(f"torch           {torch.__version__}")
    print(f"CUDA            {torch.version.cuda or 'none'} in torch, toolkit {build.cuda_home() or 'none'}")
    print(f"GPU             {'; '.join(devices) or 'none'}")
    print(f"cache           {extension.cache_folder()}")


if __name__ == "__main__":
    sys.exit(main())
