"""The network that a recipe describes, and the weights it may start from."""

from __future__ import annotations

from model.architecture import ARCHITECTURES, InputChannels
from model.densenet import DenseNet121Cam
from model.labels import LABELS
from training.networks.backbones import build_backbone
from training.networks.finding_network import FindingNetwork
from training.networks.inputs import Levels, NetworkInput
from training.recipe import Network, Recipe

ChestNetwork = DenseNet121Cam | FindingNetwork
"""What is trained: the network that is served, or one of the sources'."""
GREY_LEVELS: Levels = (0.0, 1.0)
"""Stands in where the recipe does not measure the training part."""


def build_network(recipe: Recipe, labels: tuple[str, ...] = LABELS, levels: Levels = GREY_LEVELS) -> ChestNetwork:
    """Return the network with random weights of torch's global generator.

    Parameters
    ----------
    labels
        The outputs, in order.
    levels
        Mean and deviation of the training part, for ``network.normalisation = "dataset"``.
    """
    if not reasons_not_to_serve(recipe, labels):
        return DenseNet121Cam(served_channels(recipe), recipe.architecture)
    choices = recipe.network
    backbone = build_backbone(recipe.architecture, choices.channels, choices.map_stride_px)
    picture_input = NetworkInput(choices.channels, choices.normalisation, levels)
    return FindingNetwork(choices, backbone, picture_input, len(labels), recipe.stages[-1].size_px)


def served_channels(recipe: Recipe) -> InputChannels:
    """Return how a bundle names the recipe's normalisation."""
    return "imagenet-rgb" if recipe.network.normalisation == "imagenet" else "grey"


def reasons_not_to_serve(recipe: Recipe, labels: tuple[str, ...]) -> list[str]:
    """Return why the network itself cannot stand in a bundle, in words; none = it can."""
    choices = recipe.network
    plain = Network(normalisation=choices.normalisation, freeze=choices.freeze)
    reasons = []
    if recipe.architecture not in ARCHITECTURES:
        reasons.append(f"the architecture is {recipe.architecture}, not densenet121")
    if labels != LABELS:
        reasons.append(f"the outputs are {len(labels)} classes, not the fourteen findings")
    if choices.normalisation not in {"grey", "imagenet"}:
        reasons.append(f"pictures are normalised by {choices.normalisation}")
    if choices != plain:
        others = [name for name in type(choices).model_fields if getattr(choices, name) != getattr(plain, name)]
        reasons.append(f"network.{others[0]} is not what the served network has")
    return reasons
