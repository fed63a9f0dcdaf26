"""DenseNet-121 whose forward pass also returns the exact class activation map of every finding.

Notation: N images, S input side in px, h = w = S / 32 side of the last feature map (7 at 224 px, 3 at 112 px).

DenseNet ends in global average pooling and one linear layer, so ``logit = mean(map) + bias`` holds exactly when the map
is the classifier's row times the last feature map (Zhou et al., CVPR 2016): no hook and no backward pass is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet

from model.architecture import ARCHITECTURES, InputChannels
from model.labels import LABELS
from model.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD


class DenseNet121Cam(nn.Module):
    """torchvision's DenseNet-121 with 14 outputs and the class activation map of each.

    Parameters
    ----------
    input_channels
        ``grey``: the one normalised channel is repeated three times. ``imagenet-rgb``: it is re-normalised to
        ImageNet's mean and deviation of each colour, which published checkpoints were trained with. Folding that
        into the first convolution instead would be wrong at the padded border.
    architecture
        Key of ``model.architecture.ARCHITECTURES``; anything but ``densenet121`` is for trials only.
    """

    _scale: Tensor
    _shift: Tensor

    def __init__(self, input_channels: InputChannels = "grey", architecture: str = "densenet121") -> None:
        super().__init__()
        sizes = ARCHITECTURES[architecture]
        network = DenseNet(sizes.growth_rate, sizes.block_config, sizes.initial_features, num_classes=len(LABELS))
        self.features = network.features
        self.classifier = network.classifier
        self.input_channels = input_channels
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("_scale", (GREY_STD / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", ((GREY_MEAN - mean) / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(logits [N, 14], maps [N, 14, h, w])`` of float32 [N, 1, S, S] made by ``preprocess.normalise``."""
        x = x.expand(-1, 3, -1, -1)
        if self.input_channels == "imagenet-rgb":
            x = x * self._scale + self._shift
        features = functional.relu(self.features(x))  # [N, C, h, w]
        maps = functional.conv2d(features, self.classifier.weight[:, :, None, None])  # [N, 14, h, w]
        return maps.mean((2, 3)) + self.classifier.bias, maps


def weights_of(network: DenseNet121Cam) -> dict[str, NDArray[np.float16]]:
    """Return the network's tensors as a bundle stores them: float16, torchvision's names, no step counters."""
    return {
        name: tensor.detach().cpu().to(torch.float16).numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def network_with(
    weights: Mapping[str, NDArray[np.floating]],
    input_channels: InputChannels = "grey",
    architecture: str = "densenet121",
) -> DenseNet121Cam:
    """Return a float32 network in evaluation mode that holds exactly these tensors.

    Raises
    ------
    ValueError
        A tensor is missing, left over or of another shape; all are named. Nothing is ever left at random values.
    """
    network = DenseNet121Cam(input_channels, architecture)
    tensors = {name: torch.from_numpy(np.array(values, dtype=np.float32)) for name, values in weights.items()}
    state = network.state_dict()
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    wrong = sorted((set(state) - counters) ^ set(tensors))
    wrong += [name for name in tensors if name in state and tensors[name].shape != state[name].shape]
    if wrong:
        raise ValueError(f"weights do not fit {architecture}: {', '.join(wrong[:5])} ({len(wrong)} in all)")
    network.load_state_dict(tensors | {name: state[name] for name in counters})
    return network.eval()
