"""The suitability check's small network, computed by numpy alone: some million multiplications, no runtime to choose.

Notation: C channels, S side in px. Four convolutions of 3 x 3, each followed by ReLU and a 2 x 2 maximum, then two
linear layers. The outputs of the first linear layer, after ReLU, are the picture's features.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.preprocess import resize_uint8

SIZE_PX = 64
"""Side of the check's input."""
CHANNELS = (1, 16, 32, 64, 64)
"""Channels of the input and after each convolution."""
FEATURES = 64
CONTRAST_FLOOR = 16.0
"""Grey levels added (in squares) to the deviation that contrast is divided by, so that a nearly blank picture stays
nearly blank instead of being blown up to noise."""

Tensors = Mapping[str, NDArray[np.floating]]


def check_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the check's input: uint8 [H, W], bones bright, any size -> float32 [SIZE_PX, SIZE_PX], mean 0.

    Raises
    ------
    ValueError
        The array is not uint8 [H, W] with pixels in it.
    """
    return standardised(resize_uint8(pixels, SIZE_PX))


def standardised(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return uint8 [..., S, S] less its mean, divided by its deviation (see ``CONTRAST_FLOOR``)."""
    levels = small.astype(np.float32)
    levels -= levels.mean((-2, -1), keepdims=True)
    deviation = np.sqrt((levels**2).mean((-2, -1), keepdims=True) + np.float32(CONTRAST_FLOOR**2))
    return np.asarray(levels / deviation, np.float32)


def shapes(outputs: int) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of the network; ``outputs`` is the number of verdicts."""
    found: dict[str, tuple[int, ...]] = {}
    for number, (before, after) in enumerate(pairwise(CHANNELS), start=1):
        found |= {f"conv{number}.weight": (after, before, 3, 3), f"conv{number}.bias": (after,)}
    side = SIZE_PX >> (len(CHANNELS) - 1)
    found |= {"features.weight": (FEATURES, CHANNELS[-1] * side**2), "features.bias": (FEATURES,)}
    return found | {"verdict.weight": (outputs, FEATURES), "verdict.bias": (outputs,)}


def forward(tensors: Tensors, picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features [FEATURES] and logits [outputs], float32, of one ``check_input``."""
    node = picture[None]  # [C, S, S]
    for number in range(1, len(CHANNELS)):
        node = _halved(_convolved(node, tensors[f"conv{number}.weight"], tensors[f"conv{number}.bias"]))
    flat = node.reshape(-1)
    features = np.maximum(tensors["features.weight"] @ flat + tensors["features.bias"], 0)
    logits = tensors["verdict.weight"] @ features + tensors["verdict.bias"]
    return features.astype(np.float32), logits.astype(np.float32)


def _convolved(
    node: NDArray[np.float32], weight: NDArray[np.floating], bias: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the 3 x 3 convolution with zeros around, then ReLU: [C, S, S] -> [C', S, S]."""
    channels, side, _ = node.shape
    padded = np.pad(node, ((0, 0), (1, 1), (1, 1)))
    patches = np.stack([padded[:, y : y + side, x : x + side] for y in range(3) for x in range(3)], axis=1)
    rows = weight.reshape(len(weight), -1) @ patches.reshape(channels * 9, side * side)
    return np.asarray(np.maximum(rows + bias[:, None], 0).reshape(-1, side, side), np.float32)


def _halved(node: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maximum of each 2 x 2 cells: [C, S, S] -> [C, S / 2, S / 2]."""
    rows = np.maximum(node[:, ::2], node[:, 1::2])  # two steps: numpy takes ten times as long over both axes at once
    return np.asarray(np.maximum(rows[..., ::2], rows[..., 1::2]))
