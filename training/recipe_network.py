"""The ``[network]`` table of a recipe: what stands between the picture and the outputs beside the backbone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.recipe_tables import Table

Architecture = Literal["densenet121", "densenet-tiny", "resnet18", "resnet50", "mobilenet-v1", "cnn-1", "cnn-2"]
Normalisation = Literal["grey", "imagenet", "dataset", "samplewise"]


class Network(Table):
    """Input, head and what is held still. With the defaults a DenseNet-121 of fourteen findings can be served."""

    channels: Literal[1, 3] = 3
    """Channels of the first convolution; 3 = the grey picture three times."""
    normalisation: Normalisation = "grey"
    """``grey``: mean 0.449 and deviation 0.226 (ImageNet's, averaged over colours); ``imagenet``: ImageNet's of each
    colour; ``dataset``: measured on the training part; ``samplewise``: each picture's own."""
    pooling: Literal["mean", "max", "lse", "flatten"] = "mean"
    """Over the last feature map; ``lse`` is log-sum-exp (Wang 2017), between mean and max; ``flatten``: no pooling,
    every place has weights of its own, so that all stages must have one size."""
    lse_sharpness: float = Field(default=10.0, gt=0)
    """r of ``lse``: towards 0 it is the mean, above about 10 the maximum."""
    map_stride_px: Literal[8, 16, 32] = 32
    """Side of a feature-map cell in the input; below 32 the last blocks of resnet50 are dilated."""
    transition_channels: int = Field(default=0, ge=0)
    """Channels of a 1x1 convolution between backbone and pooling (Wang's transition layer); 0 = none."""
    hidden: tuple[int, ...] = ()
    """Widths of fully connected layers before the output, ReLU after each."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the values dropped before each fully connected layer."""
    output: Literal["sigmoid", "relu"] = "sigmoid"
    """``relu``: the last layer's positive part, cut at 1, is the probability itself (a mistake of S4 kept to be
    reproduced; it stops learning where it is below 0)."""
    metadata: tuple[Literal["age", "sex", "view"], ...] = ()
    """Facts joined to the pooled features: age / 100, 1 for male, 1 for AP; unknown = the middle. They invite
    shortcuts."""
    freeze: bool = False
    """Keep the backbone's weights and statistics as they were loaded; the head alone is trained."""

    @property
    def has_maps(self) -> bool:
        """Return whether a class activation map follows from the weights: pooled places and one linear layer."""
        return not self.hidden and self.pooling != "flatten"
