"""The weights a run starts from."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import DenseNet121_Weights

from model.bundle import Bundle, BundleError, load_bundle, read_weights
from model.densenet import DenseNet121Cam
from training.recipe import Recipe


class InitError(Exception):
    """The weights to start from are not at hand; the message names every way on."""


@dataclass(frozen=True)
class Origin:
    """Where a run's first weights come from, as its fingerprint and its model card say it."""

    description: str
    """In words: random, ImageNet, or the bundle's or file's name."""
    sha256: str | None
    """Of the weights file; None for random weights and torchvision's own."""

    def __str__(self) -> str:
        return self.description + (f" (weights sha256 `{self.sha256}`)" if self.sha256 else "")


def origin_of(recipe: Recipe, init_file: Path | None) -> Origin:
    """Return where the weights come from.

    Raises
    ------
    InitError
        The file or bundle is not there or is damaged.
    """
    if init_file is None:
        return Origin("random weights" if recipe.init == "random" else "torchvision's ImageNet weights", None)
    if (bundle := _bundle_at(init_file)) is not None:
        return Origin(f"bundle {bundle.name} {bundle.version}", bundle.weights_sha256)
    with _existing(init_file).open("rb") as stream:
        return Origin(init_file.name, hashlib.file_digest(stream, "sha256").hexdigest())


def initial_network(recipe: Recipe, init_file: Path | None, prevalence: NDArray[np.float32]) -> DenseNet121Cam:
    """Return the network before the first step.

    Parameters
    ----------
    init_file
        Weights to start from: torchvision's (.pth or .safetensors), or a bundle's folder or .zip.
    prevalence
        float32 [14], 0..1: where the classifier starts, unless the recipe takes it from the weights.

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
        _load(network, weights, str(init_file or "torchvision"), with_head=recipe.init_head == "weights")
    elif recipe.init_head == "weights":
        raise InitError("the recipe takes its classifier from weights (init_head): give them with --init")
    if recipe.init_head == "prevalence":
        odds = [math.log(p / (1 - p)) for p in np.clip(prevalence, 1e-4, 1 - 1e-4).tolist()]
        with torch.no_grad():
            network.classifier.bias.copy_(torch.tensor(odds))
    return network.to(memory_format=torch.channels_last)


def _bundle_at(path: Path) -> Bundle | None:
    if not path.is_dir() and path.suffix != ".zip":
        return None
    try:
        return load_bundle(path)
    except BundleError as error:
        raise InitError(f"--init {path}: {error}") from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InitError(
            f"--init {path}: no such file. Give torchvision's densenet121 weights (.pth or .safetensors), the folder "
            "of a bundle, or --init random to train from scratch"
        )
    return path


def _from_file(path: Path) -> dict[str, Tensor]:
    if (bundle := _bundle_at(path)) is not None:
        return {name: torch.from_numpy(values).float() for name, values in read_weights(bundle).items()}
    if _existing(path).suffix == ".safetensors":
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


def _load(network: DenseNet121Cam, weights: dict[str, Tensor], source: str, *, with_head: bool) -> None:
    """Copy everything, or everything but the classifier, whose findings may be others."""
    taken = {_modern(name): tensor for name, tensor in weights.items() if with_head or not _of_head(name)}
    try:
        missing, unexpected = network.load_state_dict(taken, strict=False)
    except RuntimeError as error:  # torch's word for a tensor of another shape
        raise InitError(f"{source}: not the weights of this DenseNet: {str(error).splitlines()[-1].strip()}") from error
    wrong = [n for n in missing if (with_head or not _of_head(n)) and not n.endswith("num_batches_tracked")]
    wrong += list(unexpected)
    if wrong:
        raise InitError(f"{source}: not the weights of this DenseNet, e.g. {wrong[0]} ({len(wrong)} names differ)")


def _of_head(name: str) -> bool:
    return name.startswith("classifier.")


def _modern(name: str) -> str:
    """Return today's name of a tensor: ``denselayer1.norm.1.weight`` was ``denselayer1.norm1.weight``'s in 2017."""
    for kind in ("norm", "relu", "conv"):
        for number in ("1", "2"):
            name = name.replace(f".{kind}.{number}.", f".{kind}{number}.")
    return name
