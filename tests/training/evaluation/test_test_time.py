from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_runs import tiny_run

from training.data.augment import warp
from training.evaluation.inference import outputs_of
from training.evaluation.views import joined_logits, view_matrices


class Corner(nn.Module):
    """Say how bright the picture's left upper quarter is, so that the view can be told from the output."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = x.shape[-1] // 2
        logits = x[:, :, :half, :half].mean((2, 3))
        return logits, x[:, :, ::half, ::half]


def test_ten_crops_are_four_corners_and_the_centre_and_their_mirror_images() -> None:
    """Against slices of the array: crops of 56 px of a picture of 64 px, as 224 of 256."""
    picture = torch.arange(64 * 64).reshape(1, 64, 64).remainder(256).to(torch.uint8)
    slices = [(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]
    expected = [picture[0, top : top + 56, left : left + 56] / 255 for top, left in slices]
    expected += [view.flip(1) for view in expected]
    matrices = view_matrices("ten-crop")
    assert len(matrices) == 10
    for matrix, view in zip(matrices, expected, strict=True):
        assert torch.allclose(warp(picture, matrix[None], 56, 64)[0, 0], view, atol=2e-3)


def test_views_join_by_their_mean_probability() -> None:
    logits = torch.tensor([[[0.0]], [[2.0]]])
    mean = (0.5 + 1 / (1 + np.exp(-2.0))) / 2
    assert float(joined_logits(logits)) == pytest.approx(np.log(mean / (1 - mean)), rel=1e-6)
    assert bool(torch.isfinite(joined_logits(torch.tensor([[[500.0]], [[500.0]]]))).all())


def test_the_mirror_image_is_averaged_in_and_the_maps_stay_those_of_the_whole_picture(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    names, network = prepared.parts.test, Corner()
    plain = outputs_of(network, prepared.cache, names, 64)
    flipped = outputs_of(network, prepared.cache, names, 64, test_time="flip")
    crops = outputs_of(network, prepared.cache, names, 64, test_time="ten-crop")
    assert not np.allclose(plain.logits, flipped.logits)
    assert not np.allclose(flipped.logits, crops.logits)
    for other in (flipped, crops):
        assert np.array_equal(plain.maps, other.maps)
