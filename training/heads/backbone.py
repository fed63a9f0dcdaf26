"""Frozen networks that turn pictures into features: any classification network of torchvision, or a bundle's DenseNet.

A feature is what the network's last linear layer would read. Notation: N pictures, S input side in px, F features.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as functional
import torchvision.models
from numpy.typing import NDArray
from torch import Tensor, nn

from model.bundle import BundleError, load_bundle, read_weights
from model.checkpoint import canonical_name
from model.densenet import network_with
from model.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise
from training.fitting.weights_file import InitError, read_weights_file
from training.heads.errors import HeadError


@dataclass(frozen=True)
class BackboneChoice:
    """Which network, and where its weights come from; plain values, so that a worker process can be handed one."""

    name: str
    """torchvision's name, or the folder of a bundle."""
    init: str
    """``imagenet`` or ``random``; not used by a bundle."""
    init_file: Path | None
    """Weights of torchvision's network; wins over ``init``."""
    size_px: int
    seed: int
    """Of random weights."""


class Backbone(Protocol):
    """A frozen network."""

    name: str
    """torchvision's name, or the bundle's with its version."""
    source: str
    """Where the weights come from, in words."""

    def features_of(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 [N, F] of uint8 [N, S, S], bones bright."""


def load_backbone(choice: BackboneChoice, device: torch.device) -> tuple[Backbone, str]:
    """Return the network, and the sha256 of its weights.

    Raises
    ------
    InitError
        ImageNet weights are wanted and not at hand, or a file does not hold this network's.
    HeadError
        There is no such network, or it cannot be used at this size.
    """
    if Path(choice.name).is_dir():
        return _bundled(Path(choice.name), choice.size_px, device)
    known = torchvision.models.list_models(module=torchvision.models)
    if choice.name not in known:
        nearest = difflib.get_close_matches(choice.name, known, n=1, cutoff=0.0)[0]
        raise HeadError(
            f"no backbone {choice.name!r}: neither a bundle's folder nor a network of torchvision; "
            f"did you mean {nearest!r}?"
        )
    torch.manual_seed(choice.seed)
    network = torchvision.models.get_model(choice.name, weights=None)
    classifier = _cut_classifier(network, choice.name)
    source = "random weights"
    if choice.init_file is not None or choice.init == "imagenet":
        source = str(choice.init_file.name) if choice.init_file else "ImageNet weights of torchvision"
        weights = read_weights_file(choice.init_file) if choice.init_file else _from_torchvision(choice.name)
        _load(network, classifier, weights, choice)
    weights_sha256 = _sha256(network)
    return TorchvisionBackbone(network, choice.name, source, device), weights_sha256


class TorchvisionBackbone:
    """A network of torchvision without its last layer; grey is given to it as red, green and blue alike."""

    def __init__(self, network: nn.Module, name: str, source: str, device: torch.device) -> None:
        self.network, self.name, self.source, self.device = network.eval().to(device), name, source, device
        self.mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)

    def features_of(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 [N, F] of uint8 [N, S, S], bones bright."""
        with torch.inference_mode():
            levels = torch.from_numpy(pictures).to(self.device)[:, None].float() / 255
            features: Tensor = self.network((levels - self.mean) / self.std)
            return np.asarray(features.flatten(1).float().cpu().numpy())


class BundleBackbone:
    """A bundle's DenseNet up to its global average pooling."""

    def __init__(self, folder: Path, size_px: int, device: torch.device) -> None:
        bundle = load_bundle(folder)
        if size_px != bundle.input_size_px:
            raise HeadError(f"{folder} reads pictures of {bundle.input_size_px} px; set features.size_px to that")
        self.network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture).to(device)
        self.device, self.source = device, "the bundle's own weights"
        self.name = f"bundle {bundle.name} {bundle.model_version}"
        self.weights_sha256 = bundle.weights_sha256
        self._maps: list[Tensor] = []
        self.network.features.register_forward_hook(lambda module, args, output: self._maps.append(output))

    def features_of(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 [N, F] of uint8 [N, S, S], bones bright: the means of the last feature maps after ReLU."""
        with torch.inference_mode():
            self.network(torch.from_numpy(normalise(pictures)).to(self.device))
            return np.asarray(functional.relu(self._maps.pop()).mean((2, 3)).float().cpu().numpy())


def _bundled(folder: Path, size_px: int, device: torch.device) -> tuple[Backbone, str]:
    try:
        backbone = BundleBackbone(folder, size_px, device)
    except BundleError as error:
        raise HeadError(str(error)) from error
    return backbone, backbone.weights_sha256


def _cut_classifier(network: nn.Module, name: str) -> str:
    """Put nothing in the place of the last linear layer; return its name."""
    linear: list[str] = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise HeadError(f"{name} does not end in a linear layer, so it has no features to hand on; try resnet50")
    parent, _, child = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return linear[-1]


def _from_torchvision(name: str) -> dict[str, Tensor]:
    known = next(iter(torchvision.models.get_model_weights(name)))
    try:
        return dict(known.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError) as error:
        raise InitError(
            f"ImageNet weights of {name} are not at hand: no --init FILE was given and torchvision's own could not be "
            f"fetched ({error}). Give --init {Path(known.url).name}, or a bundle's folder as --backbone, "
            "or --init random for a trial with untrained weights"
        ) from error


def _load(network: nn.Module, classifier: str, weights: dict[str, Tensor], choice: BackboneChoice) -> None:
    if choice.name.startswith("densenet"):
        weights = {canonical_name(name): tensor for name, tensor in weights.items()}  # torchvision's file is of 2017
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{classifier}.")}
    source = choice.init_file or "torchvision"
    try:
        missing, unexpected = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise InitError(f"{source}: tensors of another shape than {choice.name}'s") from error
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + list(unexpected)
    if wrong:
        raise InitError(f"{source}: not the weights of {choice.name}, e.g. {wrong[0]} ({len(wrong)} names differ)")


def _sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
