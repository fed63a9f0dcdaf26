from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.preprocess import normalise
from training.data.augment import BoxBatch, box_shares, jitter, normalised, random_matrices, warp
from training.recipe import Augmentation

STRONG = Augmentation(
    flip_probability=0.5, rotation_degrees=20, translate_share=0.1, scale_share=0.2, brightness=0.1, contrast=0.2
)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_changes_the_network_sees_exactly_what_serving_shows_it() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (3, 224, 224), dtype=np.uint8)
    matrices = random_matrices(3, Augmentation(), _generator())
    levels = jitter(warp(torch.from_numpy(pictures), matrices, 224), Augmentation(), _generator())
    assert np.abs(normalised(levels).numpy() - normalise(pictures)).max() < 2e-4


def test_the_same_generator_gives_the_same_pictures() -> None:
    pictures = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (4, 64, 64), dtype=np.uint8))
    first, second = (warp(pictures, random_matrices(4, STRONG, _generator(s)), 64) for s in (1, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, warp(pictures, random_matrices(4, STRONG, _generator(2)), 64))


@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow_the_picture_through_flip_rotation_scale_and_shift(seed: int) -> None:
    """A bright rectangle and its box go through the same matrix: light and covered cells must agree."""
    pictures = torch.zeros((1, 224, 224), dtype=torch.uint8)
    pictures[0, 64:144, 40:96] = 255
    edges = torch.tensor([[40, 64, 96, 144]]) * 2 / 224 - 1
    boxes = BoxBatch(torch.tensor([0]), torch.tensor([4]), edges)
    matrices = random_matrices(1, STRONG, _generator(seed))
    shares = box_shares(boxes, matrices, 7)[0]
    light = torch.nn.functional.avg_pool2d(warp(pictures, matrices, 224), 32)[0, 0]
    assert float((shares - light).abs().max()) < 0.1  # the edges are sampled at 8 points a cell
    assert float(shares.sum()) > 1


def test_a_flip_mirrors_left_and_right_only() -> None:
    pictures = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
    matrices = random_matrices(1, Augmentation(flip_probability=1), _generator())
    assert torch.allclose(warp(pictures, matrices, 8)[0, 0] * 255, pictures[0].flip(1).float(), atol=1e-3)


def test_no_box_gives_no_shares() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    shares = box_shares(BoxBatch(empty, empty, torch.zeros(0, 4)), random_matrices(2, STRONG, _generator()), 7)
    assert shares.shape == (0, 7, 7)


def test_brightness_and_contrast_keep_levels_in_range() -> None:
    levels = torch.rand((16, 1, 8, 8), generator=_generator())
    changed = jitter(levels, Augmentation(brightness=0.5, contrast=0.5), _generator(3))
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert not torch.equal(levels, changed)
    assert math.isclose(float(jitter(levels, Augmentation(), _generator(3)).mean()), float(levels.mean()), abs_tol=1e-6)
