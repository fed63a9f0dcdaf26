"""DenseNet-121 whose forward pass also returns the exact class activation map of every finding.

Notation: N images, S input side in px, h = w = S / 32 side of the last feature map (7 at 224 px, 3 at 112 px).

DenseNet ends in global average pooling and one linear layer, so ``logit = mean(map) + bias`` holds, but for rounding,
when the map is the classifier's row times the last feature map (Zhou et al., CVPR 2016): no hook and no backward pass
is needed. The logits themselves are computed in torchvision's order, so that they equal its network's bit by bit.
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
from model.preparation import Preparation
from model.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD


class DenseNet121Cam(nn.Module):
    """torchvision's DenseNet-121 with 14 outputs and the class activation map of each.

    Parameters
    ----------
    input_channels
        ``grey``: the one normalised channel is repeated three times. ``imagenet-rgb``: it is re-normalised to
        ImageNet's mean and deviation of each colour, which published checkpoints were trained with. Folding that
        into the first convolution instead would be wrong at the padded border. ``published``: grey levels in 0..1
        are normalised as ``preparation`` says.
    architecture
        Key of ``model.architecture.ARCHITECTURES``; anything but ``densenet121`` is for trials only.
    preparation
        How the authors of published weights prepared pictures; needed by ``published``, by nothing else.
    """

    _scale: Tensor
    _shift: Tensor
    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        input_channels: InputChannels = "grey",
        architecture: str = "densenet121",
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__()
        if (input_channels == "published") != (preparation is not None):
            raise ValueError("a network with published weights needs their preparation, and no other network has one")
        sizes = ARCHITECTURES[architecture]
        network = DenseNet(sizes.growth_rate, sizes.block_config, sizes.initial_features, num_classes=len(LABELS))
        self.features = network.features
        self.classifier = network.classifier
        self.input_channels = input_channels
        self.channels = 3 if preparation is None else preparation.channels
        if self.channels == 1:
            self.features.conv0 = nn.Conv2d(1, sizes.initial_features, kernel_size=7, stride=2, padding=3, bias=False)
        if preparation is not None:
            for name, values in (("_mean", preparation.mean), ("_std", preparation.std)):
                self.register_buffer(name, torch.tensor(values).view(1, self.channels, 1, 1), persistent=False)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("_scale", (GREY_STD / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_shift", ((GREY_MEAN - mean) / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(logits [N, 14], maps [N, 14, h, w])`` of float32 [N, 1, S, S].

        The input is made by ``preprocess.normalise``, or by ``preprocess.levels`` for ``published``.
        """
        x = x.expand(-1, self.channels, -1, -1)
        if self.input_channels == "imagenet-rgb":
            x = x * self._scale + self._shift
        elif self.input_channels == "published":
            x = (x - self._mean) / self._std  # in torchvision's order, to the last bit
        features = functional.relu(self.features(x))  # [N, C, h, w]
        maps = functional.conv2d(features, self.classifier.weight[:, :, None, None])  # [N, 14, h, w]
        return self.classifier(features.mean((2, 3))), maps


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
    preparation: Preparation | None = None,
) -> DenseNet121Cam:
    """Return a float32 network in evaluation mode that holds exactly these tensors (see ``DenseNet121Cam``).

    Raises
    ------
    ValueError
        A tensor is missing, left over or of another shape; all are named. Nothing is ever left at random values.
    """
    network = DenseNet121Cam(input_channels, architecture, preparation)
    tensors = {name: torch.from_numpy(np.array(values, dtype=np.float32)) for name, values in weights.items()}
    state = network.state_dict()
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    wrong = sorted((set(state) - counters) ^ set(tensors))
    wrong += [name for name in tensors if name in state and tensors[name].shape != state[name].shape]
    if wrong:
        raise ValueError(f"weights do not fit {architecture}: {', '.join(wrong[:5])} ({len(wrong)} in all)")
    network.load_state_dict(tensors | {name: state[name] for name in counters})
    return network.eval()
