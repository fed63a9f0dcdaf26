"""From the one normalised channel that every network is handed to the channels it was made for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD
from training.recipe_network import Normalisation

Levels = tuple[float, float]
"""Mean and deviation of grey levels in 0..1."""
_SMALLEST_DEVIATION = 1e-5  # of a picture of one grey level


class NetworkInput(nn.Module):
    """Re-normalise and repeat the channel.

    Pictures come as ``model.preprocess.normalise`` makes them, (level - 0.449) / 0.226, whatever the recipe, so that
    loading and augmentation know of one kind of input only.

    Parameters
    ----------
    channels
        Channels of the first convolution.
    kind
        The recipe's ``network.normalisation``.
    levels
        Mean and deviation of the training part, for ``dataset``.
    """

    _scale: Tensor
    _shift: Tensor

    def __init__(self, channels: int, kind: Normalisation, levels: Levels) -> None:
        super().__init__()
        self.channels, self.kind = channels, kind
        if kind == "imagenet" and channels == 3:
            mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        else:
            level, spread = levels if kind == "dataset" else (GREY_MEAN, GREY_STD)
            mean, deviation = torch.tensor([level]), torch.tensor([spread])
        mean, deviation = mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)
        self.register_buffer("_scale", GREY_STD / deviation, persistent=False)
        self.register_buffer("_shift", (GREY_MEAN - mean) / deviation, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, channels, S, S] of float32 [N, 1, S, S]."""
        if self.kind == "samplewise":
            mean, deviation = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
            return ((x - mean) / deviation.clamp(min=_SMALLEST_DEVIATION)).expand(-1, self.channels, -1, -1)
        x = x.expand(-1, self.channels, -1, -1)
        return x if self.kind == "grey" else x * self._scale + self._shift
