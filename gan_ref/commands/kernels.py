"""Say which implementation of the two operators runs on this machine's GPUs, and why."""

from collections.abc import Sequence

import torch

import gan_ref
from gan_ref.commands.command_line import Parser, command
from gan_ref.errors import UserError
from gan_ref.files import cache_folder
from gan_ref.ops import build, extension


@command
def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="gan-ref kernels", description=__doc__)
    parser.add_argument(
        "--build",
        action="store_true",
        help="build the kernels now, for the GPUs present, or for every architecture if there is none",
    )
    if parser.parse_args(argv).build:
        try:
            built = extension.build_in_cache(extension.gpu_capabilities() or list(build.ARCHITECTURES))
        except build.CannotBuild as error:
            raise UserError(f"the kernels cannot be built: {error}") from None
        print(f"built           {built}")
    choice = extension.choose(may_build=False)
    gpus = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    names = [f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}" for gpu in gpus]
    print(f"implementation  {choice.implementation}: {choice.reason}")
    print(f"binary          {choice.binary or 'none'}")
    print(f"gan_ref         {gan_ref.__version__}, kernel sources {build.digest()} in {build.sources()}")
    print(f"torch           {torch.__version__}, built for CUDA {torch.version.cuda or 'none'}")
    print(f"nvcc            {build.find_nvcc() or 'none'}")
    print(f"GPU             {'; '.join(names) or 'none'}")
    print(f"cache           {cache_folder()}")
