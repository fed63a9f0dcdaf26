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
from torch import Tensor
from torchvision.models import DenseNet121_Weights, ResNet18_Weights, ResNet50_Weights, WeightsEnum

from model.bundle import Bundle, BundleError, load_bundle, read_weights
from model.labels import LABELS
from training.fitting.weights_file import InitError, read_weights_file
from training.networks.build import GREY_LEVELS, ChestNetwork, build_network
from training.networks.inputs import Levels
from training.recipe import Recipe

_TORCHVISION: dict[str, WeightsEnum] = {
    "densenet121": DenseNet121_Weights.IMAGENET1K_V1,
    "resnet18": ResNet18_Weights.IMAGENET1K_V1,
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
}
_RESNET_PARTS = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}


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
    with _existing(init_file, recipe.architecture).open("rb") as stream:
        return Origin(init_file.name, hashlib.file_digest(stream, "sha256").hexdigest())


def initial_network(
    recipe: Recipe,
    init_file: Path | None,
    prevalence: NDArray[np.float32],
    labels: tuple[str, ...] = LABELS,
    levels: Levels = GREY_LEVELS,
) -> ChestNetwork:
    """Return the network before the first step.

    Parameters
    ----------
    init_file
        Weights to start from: torchvision's (.pth or .safetensors), or a bundle's folder or .zip.
    prevalence
        float32 [K], 0..1: where the classifier starts, unless the recipe takes it from the weights.
    labels
        The K outputs.
    levels
        Mean and deviation of the training part, where the recipe normalises by them.

    Raises
    ------
    InitError
        The recipe wants ImageNet weights and neither ``--init FILE`` nor torchvision's own are there. Nothing ever
        falls back to random weights in silence.
    """
    torch.manual_seed(recipe.seed)
    network = build_network(recipe, labels, levels)
    with_head = recipe.init_head == "weights"
    if init_file is not None or recipe.init == "imagenet":
        weights = _from_file(init_file, recipe) if init_file is not None else _from_torchvision(recipe.architecture)
        _load(
            network, weights, f"{init_file or 'torchvision'}: not the weights of this {recipe.architecture}", with_head
        )
    elif with_head:
        raise InitError("the recipe takes its classifier from weights (init_head): give them with --init")
    if not with_head:
        with torch.no_grad():
            network.classifier.bias.copy_(torch.tensor(_first_biases(recipe, prevalence)))
    if recipe.network.freeze:
        network.features.requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def _first_biases(recipe: Recipe, prevalence: NDArray[np.float32]) -> list[float]:
    """Return the biases at which every output says its finding's prevalence."""
    shares: list[float] = np.clip(prevalence, 1e-4, 1 - 1e-4).tolist()
    return shares if recipe.network.output == "relu" else [math.log(p / (1 - p)) for p in shares]


def _bundle_at(path: Path) -> Bundle | None:
    if not path.is_dir() and path.suffix != ".zip":
        return None
    try:
        return load_bundle(path)
    except BundleError as error:
        raise InitError(f"--init {path}: {error}") from error


def require_init_file(path: Path, architecture: str) -> None:
    """Refuse weights to start from that are not there, before a picture is looked at.

    Raises
    ------
    InitError
    """
    if not path.is_dir():
        _existing(path, architecture)


def _existing(path: Path, architecture: str) -> Path:
    if not path.is_file():
        raise InitError(
            f"--init {path}: no such file. Give torchvision's {architecture} weights (.pth or .safetensors), the "
            "folder of a bundle, or --init random to train from scratch"
        )
    return path


def _from_file(path: Path, recipe: Recipe) -> dict[str, Tensor]:
    if (bundle := _bundle_at(path)) is not None:
        return {name: torch.from_numpy(values).float() for name, values in read_weights(bundle).items()}
    return read_weights_file(_existing(path, recipe.architecture))


def _from_torchvision(architecture: str) -> dict[str, Tensor]:
    if architecture not in _TORCHVISION:
        raise InitError(
            f"torchvision has no ImageNet weights of {architecture}; give a file with --init, or --init random to "
            "train from scratch"
        )
    try:
        return dict(_TORCHVISION[architecture].get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError) as error:
        raise InitError(
            f"ImageNet weights are not at hand: no --init FILE was given and torchvision's own could not be fetched "
            f"({error}). Give --init {architecture}.pth, or --init random to train from scratch"
        ) from error


def _load(network: ChestNetwork, weights: dict[str, Tensor], refusal: str, with_head: bool) -> None:
    """Copy everything, or everything but the head, whose findings may be others."""
    renamed = {_canonical(name): tensor for name, tensor in weights.items()}
    taken = {name: tensor for name, tensor in renamed.items() if with_head or not _of_head(name)}
    _sum_colours(network, taken)
    try:
        missing, unexpected = network.load_state_dict(taken, strict=False)
    except RuntimeError as error:  # torch's word for a tensor of another shape
        raise InitError(f"{refusal}: {str(error).splitlines()[-1].strip()}") from error
    wrong = [n for n in missing if (with_head or not _of_head(n)) and not n.endswith("num_batches_tracked")]
    wrong += list(unexpected)
    if wrong:
        raise InitError(f"{refusal}, e.g. {wrong[0]} ({len(wrong)} names differ)")


def _of_head(name: str) -> bool:
    return not name.startswith("features.")


def _sum_colours(network: ChestNetwork, weights: dict[str, Tensor]) -> None:
    """Fit a colour network's first convolution to one channel: its sum does what three equal channels did."""
    name, first = next((n, p) for n, p in network.named_parameters() if p.ndim == 4)
    if name in weights and first.shape[1] == 1 and weights[name].ndim == 4:
        weights[name] = weights[name].sum(1, keepdim=True)


def _canonical(name: str) -> str:
    """Return our name of a tensor: torchvision's ResNet has no ``features.``; ``norm.1`` was ``norm1``'s in 2017."""
    if name.split(".")[0] in _RESNET_PARTS:
        name = f"features.{name}"
    for kind in ("norm", "relu", "conv"):
        for number in ("1", "2"):
            name = name.replace(f".{kind}.{number}.", f".{kind}{number}.")
    return name
