"""The published Inception network, through torch-fidelity: ``pip install '.[inception]'``.

Its metrics stand beside the literature's, on photographs. Nothing is downloaded here: the weights are a file
that is given, or that torch-fidelity has put in torch's cache before.
"""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from gan_ref.errors import UserError
from gan_ref.files import read_tensors, read_untrusted

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"

Features = Callable[[np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


def load_inception(weights: str | Path | None = None, device: str | torch.device = "cpu") -> Features:
    """A function: images uint8 (N, H, W, C) → features (N, 2048), {"imagenet": probabilities (N, 1008)}.

    Raises UserError, which says how to get them, without torch-fidelity or its weights.
    """
    path = Path(weights).expanduser() if weights else Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not path.is_file():
        raise UserError(f"no Inception weights at {path}: download {URL} and give it as --inception FILE")
    try:
        fidelity = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError:
        raise UserError("the Inception network comes with an extra: pip install '.[inception]'") from None
    kind, advice = "a file of the Inception weights", f"they are at {URL}"
    read_tensors(path, kind, advice)  # torch-fidelity would run code in the file: one that has any stops here
    layers = ["2048", "logits_unbiased"]
    build = partial(fidelity.FeatureExtractorInceptionV3, "inception", layers)
    network = read_untrusted(path, lambda p: build(str(p)), kind, advice).eval().to(device)

    @torch.inference_mode()
    def inception(images: np.ndarray, batch_size: int = 50) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        features, probabilities = [], []
        for start in range(0, len(images), batch_size):
            x = torch.from_numpy(np.array(images[start : start + batch_size])).permute(0, 3, 1, 2)
            feature, logits = network(x.expand(-1, 3, -1, -1).to(device))  # gray becomes colour
            features.append(feature.cpu().numpy())
            probabilities.append(logits.cpu().double().softmax(1).numpy())
        return np.concatenate(features), {"imagenet": np.concatenate(probabilities)}

    return inception
