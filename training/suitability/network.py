"""The check's network while it learns; ``model.suitability_network`` computes the same from the exported tensors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.suitability_network import CHANNELS, FEATURES, SIZE_PX


class CheckNetwork(nn.Module):
    """Four convolutions with batch normalisation, then two linear layers.

    Parameters
    ----------
    outputs
        Number of verdicts.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(CHANNELS):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.trunk = nn.Sequential(*layers)
        side = SIZE_PX >> (len(CHANNELS) - 1)
        self.dropout = nn.Dropout(0.2)
        self.features = nn.Linear(CHANNELS[-1] * side**2, FEATURES)
        self.verdict = nn.Linear(FEATURES, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [N, FEATURES] and logits [N, outputs] of float32 [N, SIZE_PX, SIZE_PX]."""
        flat = self.trunk(x[:, None]).flatten(1)
        features = torch.relu(self.features(self.dropout(flat)))
        return features, self.verdict(features)


def tensors_of(network: CheckNetwork) -> dict[str, NDArray[np.float32]]:
    """Return the tensors by ``model.suitability_network``'s names, float32, batch normalisation folded in."""
    tensors: dict[str, NDArray[np.float32]] = {}
    norms = [layer for layer in network.trunk if isinstance(layer, nn.BatchNorm2d)]
    convolutions = [layer for layer in network.trunk if isinstance(layer, nn.Conv2d)]
    for number, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True), start=1):
        if norm.running_var is None or norm.running_mean is None:
            raise TypeError("batch normalisation without statistics")
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        tensors[f"conv{number}.weight"] = _values(convolution.weight * scale[:, None, None, None])
        tensors[f"conv{number}.bias"] = _values(norm.bias - norm.running_mean * scale)
    for name in ("features", "verdict"):
        layer = getattr(network, name)
        tensors |= {f"{name}.weight": _values(layer.weight), f"{name}.bias": _values(layer.bias)}
    return tensors


def _values(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().numpy().copy()
