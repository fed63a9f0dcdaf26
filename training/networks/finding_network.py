"""A network for any choice of a recipe's ``[network]`` table: input, backbone, pooling, head.

Notation: N pictures, S side in px, C channels and h = w cells of the last feature map, K outputs, M facts.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.networks.backbones import Backbone
from training.networks.inputs import NetworkInput
from training.recipe_network import Network

_SURE = 1e-6
"""How close to 0 and 1 the probability of a ``relu`` output is let, so that its logit is finite."""


class FindingNetwork(nn.Module):
    """Logits and, where they follow from the weights, class activation maps of K findings.

    Parameters
    ----------
    choices
        The recipe's ``[network]`` table.
    backbone, picture_input
        Made for the same number of channels.
    outputs
        K.
    size_px
        S; only ``flatten`` depends on it.
    """

    def __init__(
        self, choices: Network, backbone: Backbone, picture_input: NetworkInput, outputs: int, size_px: int
    ) -> None:
        super().__init__()
        self.choices, self.needs_relu = choices, backbone.needs_relu
        self.picture_input, self.features = picture_input, backbone.layers
        width = backbone.features
        self.transition = None
        if choices.transition_channels:
            self.transition = _transition(width, choices.transition_channels)
            width = choices.transition_channels
        if choices.pooling == "flatten":
            width *= _places(backbone.layers, picture_input.channels, size_px)
        widths = [width + len(choices.metadata), *choices.hidden]
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(choices.dropout)
        self.classifier = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``(logits [N, K], maps [N, K, h, w])``; maps are [N, K, 0, 0] where there are none.

        Parameters
        ----------
        x
            float32 [N, 1, S, S] made by ``model.preprocess.normalise``.
        metadata
            float32 [N, M]; needed where the recipe names facts.
        """
        features = self.feature_map(x)
        return self.logits_of(features, metadata), self._maps(features)

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the last feature map, [N, C, h, w]."""
        features: Tensor = self.features(self.picture_input(x))
        if self.needs_relu:
            features = functional.relu(features)
        if self.transition is not None:
            features = self.transition(features)
        return features

    def logits_of(self, features: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Return [N, K] of a feature map."""
        values = _pooled(features, self.choices)
        if self.choices.metadata:
            if metadata is None:
                raise ValueError(f"this network needs {', '.join(self.choices.metadata)} beside the picture")
            values = torch.cat([values, metadata.to(values.dtype)], dim=1)
        for layer in self.hidden:
            values = functional.relu(layer(self.dropout(values)))
        logits: Tensor = self.classifier(self.dropout(values))
        if self.choices.output == "relu":
            return torch.logit(functional.relu(logits.float()), eps=_SURE)
        return logits

    def _maps(self, features: Tensor) -> Tensor:
        if not self.choices.has_maps:
            return features.new_zeros((len(features), self.classifier.out_features, 0, 0))
        weights = self.classifier.weight[:, : features.shape[1], None, None]  # the facts' columns come after
        return functional.conv2d(features, weights)


def _transition(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def _places(layers: nn.Module, channels: int, size_px: int) -> int:
    """Return the cells of the last feature map."""
    with torch.no_grad():
        return math.prod(layers(torch.zeros(2, channels, size_px, size_px)).shape[2:])


def _pooled(features: Tensor, choices: Network) -> Tensor:
    """Return [N, C], or [N, C * h * w] for ``flatten``."""
    if choices.pooling == "flatten":
        return features.flatten(1)
    if choices.pooling == "max":
        return features.amax((2, 3))
    if choices.pooling == "lse":  # log of the mean of exp(r x), over r (Wang et al. 2017, eq. 2)
        cells = features.shape[2] * features.shape[3]
        summed = torch.logsumexp(choices.lse_sharpness * features.float(), (2, 3))
        return (summed - math.log(cells)) / choices.lse_sharpness
    return features.mean((2, 3))
