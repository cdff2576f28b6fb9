"""gan_ref: how generative adversarial networks are made to train.

    from gan_ref import Config, RECIPES, train, load_generator, open_dataset
    from gan_ref import MinibatchDiscrimination, VirtualBatchNorm2d, set_reference

Each name is imported when it is first used, so ``import gan_ref`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOMES = {"load_generator": "checkpoint", "Config": "config", "open_dataset": "data", "UserError": "errors"}
_HOMES |= {"train": "loop", "RECIPES": "recipes", "choose_settings": "run"}
_HOMES |= dict.fromkeys(("MinibatchDiscrimination", "VirtualBatchNorm2d", "set_reference"), "layers")
if TYPE_CHECKING:
    from gan_ref.checkpoint import load_generator as load_generator
    from gan_ref.config import Config as Config
    from gan_ref.data import open_dataset as open_dataset
    from gan_ref.errors import UserError as UserError
    from gan_ref.layers import MinibatchDiscrimination as MinibatchDiscrimination
    from gan_ref.layers import VirtualBatchNorm2d as VirtualBatchNorm2d
    from gan_ref.layers import set_reference as set_reference
    from gan_ref.loop import train as train
    from gan_ref.recipes import RECIPES as RECIPES
    from gan_ref.run import choose_settings as choose_settings


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"gan_ref.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gan_ref' has no attribute {name!r}")
