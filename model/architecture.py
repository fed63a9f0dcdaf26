"""Shapes of the networks a bundle may name, computed without torch so that a bundle can be checked before it is loaded.

Key names and layer sizes are torchvision's ``DenseNet`` (Huang et al., CVPR 2017): ``features.*`` and ``classifier.*``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from model.labels import LABELS

InputChannels = Literal["grey", "imagenet-rgb", "published"]
"""How the picture's one channel becomes the network's: ``grey``: normalised, then repeated three times;
``imagenet-rgb``: re-normalised to ImageNet's colours; ``published``: as the bundle's ``preparation`` says."""

_BOTTLENECK = 4  # torchvision's bn_size: the 1x1 convolution makes 4 * growth_rate channels


@dataclass(frozen=True)
class Architecture:
    """Sizes of one DenseNet."""

    growth_rate: int
    """Channels that each dense layer adds."""
    block_config: tuple[int, int, int, int]
    """Dense layers in each of the four blocks."""
    initial_features: int
    """Channels after the first convolution."""

    @property
    def final_features(self) -> int:
        """Channels of the last feature map, the width of the classifier's rows."""
        channels = self.initial_features
        for index, layers in enumerate(self.block_config):
            channels += layers * self.growth_rate
            if index < len(self.block_config) - 1:
                channels //= 2
        return channels

    def weight_shapes(self, channels: int = 3, outputs: int = len(LABELS)) -> dict[str, tuple[int, ...]]:
        """Return every tensor name a bundle of this architecture holds, with its shape.

        ``num_batches_tracked`` counters are left out: inference does not use them and 2017 checkpoints lack them.

        Parameters
        ----------
        channels
            Of the first convolution, 1 or 3.
        outputs
            Of the classifier; a bundle always has 14.
        """
        return dict(self._shapes(channels, outputs))

    def _shapes(self, channels: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "features.conv0.weight", (self.initial_features, channels, 7, 7)
        yield from _norm("features.norm0", self.initial_features)
        width = self.initial_features
        for block, layers in enumerate(self.block_config, start=1):
            for layer in range(1, layers + 1):
                yield from self._dense_layer(f"features.denseblock{block}.denselayer{layer}", width)
                width += self.growth_rate
            if block < len(self.block_config):
                yield from _norm(f"features.transition{block}.norm", width)
                yield f"features.transition{block}.conv.weight", (width // 2, width, 1, 1)
                width //= 2
        yield from _norm("features.norm5", width)
        yield "classifier.weight", (outputs, width)
        yield "classifier.bias", (outputs,)

    def _dense_layer(self, prefix: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        inner = _BOTTLENECK * self.growth_rate
        yield from _norm(f"{prefix}.norm1", channels)
        yield f"{prefix}.conv1.weight", (inner, channels, 1, 1)
        yield from _norm(f"{prefix}.norm2", inner)
        yield f"{prefix}.conv2.weight", (self.growth_rate, inner, 3, 3)


def _norm(prefix: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"{prefix}.{name}", (channels,)


ARCHITECTURES: dict[str, Architecture] = {
    "densenet121": Architecture(growth_rate=32, block_config=(6, 12, 24, 16), initial_features=64),
    # For trials that must take seconds on one core; never the network of a released bundle.
    "densenet-tiny": Architecture(growth_rate=8, block_config=(2, 2, 2, 2), initial_features=16),
}
