"""Every drawn finding is a local, visible sign, and its box holds it."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from training.phantoms.anatomy import Chest, draw_chest
from training.phantoms.folder import PhantomDatasetError
from training.phantoms.layers import Thickness, draw_anatomy
from training.phantoms.lesions import Lesion, draw_lesions
from training.phantoms.picture import draw_phantom
from training.phantoms.statistics import BOX_SUMMARIES, DRAWN_FINDINGS

LOCAL_FINDINGS = [label for label in DRAWN_FINDINGS if label != "Cardiomegaly"]


@pytest.fixture(scope="module")
def normal() -> tuple[Chest, Thickness]:
    rng = np.random.default_rng(4)
    chest = draw_chest(rng, cardiomegaly=False, anteroposterior=False)
    return chest, draw_anatomy(chest, rng)


def drawn(normal: tuple[Chest, Thickness], label: str, seed: int) -> tuple[list[Lesion], NDArray[np.float32]]:
    """Return the lesions and the change of thickness they made, float32 [H, W]."""
    chest, before = normal
    after = copy.deepcopy(before)
    lesions = draw_lesions((label,), chest, after, np.random.default_rng(seed))
    return lesions, (after.body + after.texture) - (before.body + before.texture)


def inside(lesions: list[Lesion], shape: tuple[int, ...], margin_px: float) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for lesion in lesions:
        left, top = np.floor(np.maximum(lesion.outline.min(0) - margin_px, 0)).astype(int)
        right, low = np.ceil(lesion.outline.max(0) + margin_px).astype(int)
        mask[top : low + 1, left : right + 1] = True
    return mask


@pytest.mark.parametrize("label", LOCAL_FINDINGS)
@pytest.mark.parametrize("seed", range(4))
def test_a_finding_changes_the_picture_in_its_boxes_and_hardly_elsewhere(
    normal: tuple[Chest, Thickness], label: str, seed: int
) -> None:
    lesions, change = drawn(normal, label, seed)
    assert {lesion.label for lesion in lesions} == {label}
    boxes = inside(lesions, change.shape, 8)
    assert np.abs(change[boxes]).sum() > 0.93 * np.abs(change).sum()
    assert np.abs(change).max() > 0.2


@pytest.mark.parametrize("label", ["Nodule", "Mass"])
def test_round_lesions_stand_out_from_their_surroundings_at_112_px(normal: tuple[Chest, Thickness], label: str) -> None:
    chest, before = normal
    for seed in range(6):
        lesions, change = drawn(normal, label, seed)
        small = cv2.resize(change, (70, 70), interpolation=cv2.INTER_AREA)  # 640 canvas px = 1280 picture px
        ribs = before.bones[before.open_lung > 0.5]
        assert small.max() > 2 * ribs.std()
        assert all(np.ptp(lesion.outline[:, 0]) < chest.half_width[0] for lesion in lesions)


def test_no_vessel_is_left_beyond_the_pleural_line(normal: tuple[Chest, Thickness]) -> None:
    chest, before = normal
    after = copy.deepcopy(before)
    lesion = draw_lesions(("Pneumothorax",), chest, after, np.random.default_rng(2))[0]
    columns, rows = lesion.outline.astype(int).T
    assert np.abs(before.texture[rows, columns]).max() > 0.05
    assert np.abs(after.texture[rows, columns]).mean() < 0.2 * np.abs(before.texture[rows, columns]).mean()


@pytest.mark.parametrize("label", ["Nodule", "Mass"])
def test_sizes_follow_the_median_of_the_box_list(normal: tuple[Chest, Thickness], label: str) -> None:
    sides = [
        np.ptp(lesion.outline, axis=0) * 2  # picture px per canvas px
        for seed in range(30)
        for lesion in drawn(normal, label, seed)[0]
    ]
    width, height = np.median(sides, axis=0)
    assert width == pytest.approx(BOX_SUMMARIES[label].width_px[3], rel=0.15)
    assert height == pytest.approx(BOX_SUMMARIES[label].height_px[3], rel=0.15)


@pytest.mark.parametrize("large", [False, True])
def test_the_heart_is_wider_than_55_percent_of_the_chest_only_in_cardiomegaly(large: bool) -> None:
    for seed in range(40):
        chest = draw_chest(np.random.default_rng(seed), cardiomegaly=large, anteroposterior=bool(seed % 2))
        ratio = np.ptp(chest.heart()[:, 0]) / sum(chest.half_width)
        assert (ratio > 0.55) if large else (ratio < 0.50)


def test_a_picture_with_every_finding_has_a_box_for_each() -> None:
    phantom = draw_phantom(DRAWN_FINDINGS, True, np.random.default_rng(8))
    assert {box.label for box in phantom.boxes} == set(DRAWN_FINDINGS)
    assert phantom.pixels.shape == (1024, 1024)
    assert phantom.pixels.dtype == np.uint8


@pytest.mark.parametrize("label", ["Hernia", "mass", "No Finding"])
def test_what_cannot_be_drawn_is_refused_and_labels_no_picture(label: str) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(PhantomDatasetError, match=f"{label}: cannot be drawn; choose from Cardiomegaly, Effusion"):
        draw_phantom(("Mass", label), False, rng)
