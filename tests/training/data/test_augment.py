from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.preprocess import normalise
from training.data.augment import BoxBatch, box_shares, jitter, normalised, random_matrices, source_size_px, warp
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


EVERYTHING = STRONG.model_copy(
    update={"shear_degrees": 15.0, "vertical_flip_probability": 0.5, "crop_smallest_area": 0.5}
)


@pytest.mark.parametrize("choices", [STRONG, EVERYTHING], ids=["plain", "with shear and crop"])
@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow_the_picture_through_every_geometric_change(seed: int, choices: Augmentation) -> None:
    """A bright rectangle and its box go through the same matrix: light and covered cells must agree."""
    pictures = torch.zeros((1, 224, 224), dtype=torch.uint8)
    pictures[0, 64:144, 40:96] = 255
    edges = torch.tensor([[40, 64, 96, 144]]) * 2 / 224 - 1
    boxes = BoxBatch(torch.tensor([0]), torch.tensor([4]), edges)
    matrices = random_matrices(1, choices, _generator(seed))
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


CROPS = Augmentation(crop_smallest_area=0.3, crop_largest_aspect=1.5)


def test_random_crops_stay_inside_the_picture_and_keep_the_area_and_aspect_asked_for() -> None:
    matrices = random_matrices(4000, CROPS, _generator())
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    edges = torch.stack([matrices[:, 0, 2] - width, matrices[:, 0, 2] + width], 1)
    assert float(edges.abs().max()) <= 1 + 1e-6
    area = width * height
    assert 0.3 - 1e-6 <= float(area.min()) < 0.31
    assert 0.99 < float(area.max()) <= 1
    whole = (width < 1) & (height < 1)  # a window cut to the picture has another aspect
    assert float((width / height)[whole].max()) <= 1.5 + 1e-5
    assert abs(float(area.mean()) - 0.65) < 0.02  # uniform from 0.3 to 1, less what is cut


def test_a_crop_shows_its_window_enlarged_with_the_detail_of_the_original() -> None:
    """Stripes of one pixel at 224 px vanish at 112 px; a crop of a quarter must still show them."""
    pictures = torch.zeros((1, 224, 224), dtype=torch.uint8)
    pictures[:, :, ::2] = 255
    quarter = torch.tensor([[[0.5, 0, 0], [0, 0.5, 0]]])
    sharp = warp(pictures, quarter, 112, source_size_px(112, Augmentation(crop_smallest_area=0.25)))
    assert torch.allclose(sharp[0, 0], pictures[0, 56:168, 56:168] / 255, atol=1e-3)
    assert float(warp(pictures, quarter, 112).std()) < 0.1
    assert source_size_px(224, Augmentation()) == 224


def test_shear_slants_upright_lines_only_and_an_upside_down_flip_turns_rows() -> None:
    matrices = random_matrices(500, Augmentation(shear_degrees=20), _generator())
    assert torch.equal(matrices[:, 1], torch.tensor([0.0, 1, 0]).expand(500, 3))
    assert math.isclose(float(matrices[:, 0, 1].abs().max()), math.tan(math.radians(20)), rel_tol=0.02)
    pictures = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
    turned = random_matrices(1, Augmentation(vertical_flip_probability=1), _generator())
    assert torch.allclose(warp(pictures, turned, 8)[0, 0] * 255, pictures[0].flip(0).float(), atol=1e-3)


def test_recipes_without_the_new_changes_keep_their_random_numbers() -> None:
    generator = _generator()
    random_matrices(3, STRONG, generator)
    own = _generator()
    torch.rand((3, 5), generator=own)
    assert torch.equal(torch.rand(4, generator=generator), torch.rand(4, generator=own))


def test_a_crop_is_cut_from_the_picture_as_it_was_changed_before() -> None:
    """The same random windows of a picture and of its mirror image lie mirrored in the original."""
    plain, mirrored = (
        random_matrices(50, CROPS.model_copy(update={"flip_probability": share}), _generator()) for share in (0.0, 1.0)
    )
    assert torch.allclose(mirrored, plain * torch.tensor([[-1.0, 1, -1], [1, 1, 1]]))
    assert float(plain[:, :, 2].abs().max()) > 0.1
