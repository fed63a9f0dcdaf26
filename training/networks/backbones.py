"""Backbones by the recipe's ``architecture``: from input channels to the last feature map."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn
from torchvision import models
from torchvision.models.densenet import DenseNet

from model.architecture import ARCHITECTURES
from training.networks.mobilenet import FEATURES, mobilenet_v1_features
from training.recipe_network import Architecture

_RESNET_LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_CNN_FEATURES = (32, 64)
"""Filters of the two convolutions of S4's small networks; the source does not give them."""


@dataclass(frozen=True)
class Backbone:
    """Layers and what comes out of them."""

    layers: nn.Module
    features: int
    """Channels of the last feature map."""
    needs_relu: bool = False
    """The layers end before their last ReLU (DenseNet's norm5)."""


def build_backbone(architecture: Architecture, channels: int, map_stride_px: int = 32) -> Backbone:
    """Return a backbone with random weights.

    Parameters
    ----------
    channels
        Input channels.
    map_stride_px
        Side of a cell of the last feature map in the input: 32; for resnet50 also 16 or 8.
    """
    if architecture in ARCHITECTURES:
        return _densenet(architecture, channels)
    if architecture in {"resnet18", "resnet50"}:
        return _resnet(architecture, channels, map_stride_px)
    if architecture == "mobilenet-v1":
        return Backbone(mobilenet_v1_features(channels), FEATURES)
    return Backbone(_cnn_1(channels) if architecture == "cnn-1" else _cnn_2(channels), _CNN_FEATURES[1])


def _densenet(architecture: str, channels: int) -> Backbone:
    sizes = ARCHITECTURES[architecture]
    network = DenseNet(sizes.growth_rate, sizes.block_config, sizes.initial_features)
    if channels != 3:
        network.features.conv0 = nn.Conv2d(channels, sizes.initial_features, 7, 2, padding=3, bias=False)
    return Backbone(network.features, sizes.final_features, needs_relu=True)


def _resnet(architecture: str, channels: int, map_stride_px: int) -> Backbone:
    if architecture == "resnet18":
        network = models.resnet18(weights=None)
    else:
        dilated = [False, map_stride_px <= 8, map_stride_px <= 16]
        network = models.resnet50(weights=None, replace_stride_with_dilation=dilated)
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
    layers = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in _RESNET_LAYERS))
    return Backbone(layers, network.fc.in_features)


def _cnn_1(channels: int) -> nn.Sequential:
    """Convolution 6x6, pool 2, convolution 2x2, pool 2 (S4's first network)."""
    first, second = _CNN_FEATURES
    return nn.Sequential(
        nn.Conv2d(channels, first, 6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


def _cnn_2(channels: int) -> nn.Sequential:
    """Two convolutions 2x2 with LeakyReLU, pool 2 after each (S4's second network)."""
    first, second = _CNN_FEATURES
    return nn.Sequential(
        nn.Conv2d(channels, first, 2),
        nn.LeakyReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 2),
        nn.LeakyReLU(inplace=True),
        nn.MaxPool2d(2),
    )
