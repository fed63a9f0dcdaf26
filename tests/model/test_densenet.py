from __future__ import annotations

import numpy as np
import pytest
import torch
from model_factories import network
from torchvision.models import densenet121

from model.architecture import ARCHITECTURES
from model.densenet import DenseNet121Cam, network_with, weights_of
from model.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalise


def noise(size_px: int) -> torch.Tensor:
    return torch.randn(2, 1, size_px, size_px, generator=torch.Generator().manual_seed(5))


def test_logits_equal_torchvisions_own_densenet121_with_the_same_weights() -> None:
    ours = network("densenet121")
    theirs = densenet121(weights=None, num_classes=14).eval()
    theirs.load_state_dict(ours.state_dict())
    x = noise(224)
    with torch.inference_mode():
        logits, maps = ours(x)
        expected = theirs(x.expand(-1, 3, -1, -1))
    assert maps.shape == (2, 14, 7, 7)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(maps.mean((2, 3)) + ours.classifier.bias, expected, atol=1e-4, rtol=1e-5)


def test_half_the_side_gives_maps_of_three_by_three() -> None:
    with torch.inference_mode():
        logits, maps = network()(noise(112))
    assert (tuple(logits.shape), tuple(maps.shape)) == ((2, 14), (2, 14, 3, 3))


def test_imagenet_rgb_equals_normalising_each_colour_before_the_network() -> None:
    colour, grey = network(input_channels="imagenet-rgb"), network()
    pixels = np.random.default_rng(1).integers(0, 256, (1, 224, 224), dtype=np.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    rgb = (torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1) / 255 - mean) / std
    with torch.inference_mode():
        logits, _ = colour(torch.from_numpy(normalise(pixels)))
        features = torch.relu(grey.features(rgb)).mean((2, 3))
        torch.testing.assert_close(logits, grey.classifier(features), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_the_shapes_computed_without_torch_are_the_networks_own(architecture: str) -> None:
    found = {name: tensor.shape for name, tensor in weights_of(DenseNet121Cam(architecture=architecture)).items()}
    assert found == ARCHITECTURES[architecture].weight_shapes()


def test_weights_come_back_as_they_were_stored() -> None:
    weights = weights_of(network())
    again = weights_of(network_with(weights, architecture="densenet-tiny"))
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_a_missing_or_misshapen_tensor_is_named_and_never_left_random() -> None:
    weights = weights_of(network())
    missing = {name: tensor for name, tensor in weights.items() if name != "classifier.bias"}
    with pytest.raises(ValueError, match=r"classifier\.bias"):
        network_with(missing, architecture="densenet-tiny")
    with pytest.raises(ValueError, match=r"features\.norm0\.bias"):
        network_with(weights | {"features.norm0.bias": np.zeros(3, np.float16)}, architecture="densenet-tiny")
