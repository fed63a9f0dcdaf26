"""The weights a run starts from."""

from __future__ import annotations

import math
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import DenseNet121_Weights

from model.densenet import DenseNet121Cam
from training.recipe import Recipe


class InitError(Exception):
    """The weights to start from are not at hand; the message names every way on."""


def initial_network(recipe: Recipe, init_file: Path | None, prevalence: NDArray[np.float32]) -> DenseNet121Cam:
    """Return the network before the first step; the classifier starts at the findings' prevalence.

    Raises
    ------
    InitError
        The recipe wants ImageNet weights and neither ``--init FILE`` nor torchvision's own are there. Nothing ever
        falls back to random weights in silence.
    """
    torch.manual_seed(recipe.seed)
    network = DenseNet121Cam(architecture=recipe.architecture)
    if init_file is not None or recipe.init == "imagenet":
        weights = _from_file(init_file) if init_file is not None else _from_torchvision()
        _load_features(network, weights, str(init_file or "torchvision"))
    odds = [math.log(p / (1 - p)) for p in np.clip(prevalence, 1e-4, 1 - 1e-4).tolist()]
    with torch.no_grad():
        network.classifier.bias.copy_(torch.tensor(odds))
    return network.to(memory_format=torch.channels_last)


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise InitError(
            f"--init {path}: no such file. Give torchvision's densenet121 weights (.pth or .safetensors), "
            "or --init random to train from scratch"
        )
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def _from_torchvision() -> dict[str, Tensor]:
    try:
        return dict(DenseNet121_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError) as error:
        raise InitError(
            f"ImageNet weights are not at hand: no --init FILE was given and torchvision's own could not be fetched "
            f"({error}). Give --init densenet121.pth, or --init random to train from scratch"
        ) from error


def _load_features(network: DenseNet121Cam, weights: dict[str, Tensor], source: str) -> None:
    """Copy everything but the classifier, whose findings are ours."""
    renamed = {_modern(name): tensor for name, tensor in weights.items() if not name.startswith("classifier.")}
    missing, unexpected = network.load_state_dict(renamed, strict=False)
    wrong = [n for n in missing if not n.startswith("classifier.") and not n.endswith("num_batches_tracked")]
    wrong += list(unexpected)
    if wrong:
        raise InitError(f"{source}: not the weights of this DenseNet, e.g. {wrong[0]} ({len(wrong)} names differ)")


def _modern(name: str) -> str:
    """Return today's name of a tensor: ``denselayer1.norm.1.weight`` was ``denselayer1.norm1.weight``'s in 2017."""
    for kind in ("norm", "relu", "conv"):
        for number in ("1", "2"):
            name = name.replace(f".{kind}.{number}.", f".{kind}{number}.")
    return name
