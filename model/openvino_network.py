"""DenseNet with class activation maps as OpenVINO graphs, built straight from a bundle's tensors.

In float32 it is one graph. For bfloat16 what comes before the first block is a graph of its own, because that is always
computed in float32. It is a thirtieth of the work, but its convolution sees the grey levels themselves: where it is
rounded to bfloat16 as well, probabilities move four times as far as where all the rest is.
It is ``model.densenet.DenseNet121Cam`` operation by operation (a test holds both to the same probabilities), but for
two rearrangements that compute the same with an eighth less arithmetic: a grey picture is not shown three times to the
first convolution, and transitions pool before they convolve.
Building them here instead of converting a torch network keeps torch out of the serving process: it starts in a second,
in a third of the memory, and there is no converted copy on disk that could differ from the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.architecture import ARCHITECTURES
from model.bundle_file import BundleFacts
from model.channel_blocks import with_channels_in_blocks
from model.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD
from model.quiet_openvino import op, openvino

Weights = Mapping[str, NDArray[np.floating]]

GRAPH_VERSION = 5
"""Change it whenever another graph is made of the same bundle, so that no compiled network of old is used."""

_BATCH_NORM_EPSILON = 1e-5  # torch.nn.BatchNorm2d's default, which torchvision's DenseNet keeps


def build_network(weights: Weights, facts: BundleFacts) -> Any:
    """Return all of it, an ``openvino.Model``: float32 [1, 1, S, S] -> logits [1, 14], maps [1, 14, S / 32, S / 32]."""
    pixels = _pixels(facts)
    return with_channels_in_blocks(
        openvino.Model(_from_features(_to_features(pixels, weights, facts), weights, facts), [pixels], "densenet-cam")
    )


def build_stem(weights: Weights, facts: BundleFacts) -> Any:
    """Return what comes before the first block: float32 [1, 1, S, S] -> [1, F, S / 4, S / 4]."""
    pixels = _pixels(facts)
    return openvino.Model([_to_features(pixels, weights, facts)], [pixels], "densenet-stem")


def build_blocks(weights: Weights, facts: BundleFacts) -> Any:
    """Return the rest: float32 [1, F, S / 4, S / 4] -> logits [1, 14] and maps [1, 14, S / 32, S / 32]."""
    features_before, side = ARCHITECTURES[facts.architecture].initial_features, facts.input_size_px // 4
    features = op.parameter([1, features_before, side, side], np.float32, name="features")
    return openvino.Model(_from_features(features, weights, facts), [features], "densenet-blocks-cam")


def chained_requests(*networks: Any) -> tuple[Any, ...]:
    """Return an infer request of each compiled graph; what one leaves is what the next takes, not a copy."""
    requests = tuple(network.create_infer_request() for network in networks)
    for one, following in pairwise(requests):
        following.set_input_tensor(one.get_output_tensor(0))
    return requests


def _pixels(facts: BundleFacts) -> Any:
    return op.parameter([1, 1, facts.input_size_px, facts.input_size_px], np.float32, name="pixels")


def _to_features(pixels: Any, weights: Weights, facts: BundleFacts) -> Any:
    node = _in_channels(pixels, facts)
    node = _first_convolution(node, weights, facts)
    node = _norm_relu(node, weights, "features.norm0")
    return op.max_pool(node, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)


def _from_features(features: Any, weights: Weights, facts: BundleFacts) -> list[Any]:
    architecture, node = ARCHITECTURES[facts.architecture], features
    for block, layers in enumerate(architecture.block_config, start=1):
        for layer in range(1, layers + 1):
            added = _dense_layer(node, weights, f"features.denseblock{block}.denselayer{layer}")
            node = op.concat([node, added], axis=1)
        if block < len(architecture.block_config):
            node = _transition(node, weights, f"features.transition{block}")
    node = _norm_relu(node, weights, "features.norm5")
    rows = np.asarray(weights["classifier.weight"], np.float32)[:, :, None, None]
    maps = op.convolution(node, op.constant(rows), [1, 1], [0, 0], [0, 0], [1, 1])
    mean = op.reduce_mean(maps, op.constant(np.array([2, 3], np.int64)), keep_dims=False)
    logits = op.add(mean, op.constant(np.asarray(weights["classifier.bias"], np.float32)[None]))
    return [logits, maps]


def _in_channels(pixels: Any, facts: BundleFacts) -> Any:
    """Return the picture's one channel as the first convolution takes it, normalised as the bundle says."""
    if facts.channels == 1 or facts.input_channels == "grey":
        node = pixels  # three equal channels are one, see `_first_convolution`
    else:
        node = op.concat([pixels, pixels, pixels], axis=1)
    if facts.input_channels == "imagenet-rgb":
        node = op.multiply(node, _per_channel(GREY_STD / np.array(IMAGENET_STD)))
        node = op.add(node, _per_channel((GREY_MEAN - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)))
    if facts.preparation is not None:
        node = op.subtract(node, _per_channel(np.array(facts.preparation.mean)))
        node = op.divide(node, _per_channel(np.array(facts.preparation.std)))
    return node


def _per_channel(values: NDArray[np.floating]) -> Any:
    return op.constant(values.astype(np.float32).reshape(1, -1, 1, 1))


def _first_convolution(node: Any, weights: Weights, facts: BundleFacts) -> Any:
    """Return the first convolution; over equal channels its filters can be added up beforehand."""
    filters = np.asarray(weights["features.conv0.weight"], np.float64)
    if facts.input_channels == "grey":
        filters = filters.sum(axis=1, keepdims=True)
    return op.convolution(node, op.constant(filters.astype(np.float32)), [2, 2], [3, 3], [3, 3], [1, 1])


def _convolution(node: Any, weights: Weights, name: str, padding: int = 0) -> Any:
    filters = op.constant(np.asarray(weights[f"{name}.weight"], np.float32))
    return op.convolution(node, filters, [1, 1], [padding] * 2, [padding] * 2, [1, 1])


def _norm_relu(node: Any, weights: Weights, name: str) -> Any:
    """Batch normalisation with stored statistics, as one scale and one shift per channel, then ReLU."""
    weight, bias, mean, variance = (
        np.asarray(weights[f"{name}.{part}"], np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + _BATCH_NORM_EPSILON)
    shape = (1, -1, 1, 1)
    node = op.multiply(node, op.constant(scale.astype(np.float32).reshape(shape)))
    node = op.add(node, op.constant((bias - mean * scale).astype(np.float32).reshape(shape)))
    return op.relu(node)


def _dense_layer(node: Any, weights: Weights, name: str) -> Any:
    node = _convolution(_norm_relu(node, weights, f"{name}.norm1"), weights, f"{name}.conv1")
    return _convolution(_norm_relu(node, weights, f"{name}.norm2"), weights, f"{name}.conv2", padding=1)


def _transition(node: Any, weights: Weights, name: str) -> Any:
    """Norm, pool and convolve: the mean of four results of a 1 x 1 convolution is the result of their mean."""
    node = _norm_relu(node, weights, f"{name}.norm")
    node = op.avg_pool(node, [2, 2], [0, 0], [0, 0], [2, 2], exclude_pad=False).output(0)
    return _convolution(node, weights, f"{name}.conv")
