"""MobileNet v1 (Howard et al. 2017, table 1), of depthwise separable convolutions; torchvision has v2 and v3 only."""

from __future__ import annotations

from torch import nn

_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Channels and stride of each separable block."""
FEATURES = 1024
"""Channels of the last feature map."""


def mobilenet_v1_features(channels: int) -> nn.Sequential:
    """Return the layers up to the last feature map: [N, channels, S, S] -> [N, 1024, S / 32, S / 32]."""
    layers = [_convolution(channels, 32, stride=2)]
    width = 32
    for out, stride in _BLOCKS:
        layers.append(nn.Sequential(_depthwise(width, stride), _convolution(width, out, kernel=1)))
        width = out
    return nn.Sequential(*layers)


def _convolution(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def _depthwise(channels: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
