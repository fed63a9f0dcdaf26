"""Wang's protocol on maps and boxes whose overlaps are known by arithmetic."""

from __future__ import annotations

import numpy as np

from training.data.radiographs import Box
from training.evaluation.box_protocol import (
    IOBB_THRESHOLDS,
    IOU_THRESHOLDS,
    box_protocol,
    centre_map,
    perfect_map,
)
from training.evaluation.map_boxes import Rectangle, boxes_of, heat_field


def _hot_cells(*cells: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((len(cells), 7, 7))
    for row, (y, x) in enumerate(cells):
        maps[row, y, x] = 1
    return maps


def test_hits_and_false_positives_of_known_overlaps() -> None:
    """A hot middle cell gives boxes of 224 and of 88 px side around (512, 512) (see test_map_boxes).

    The first truth is the large box itself, moved by half its side: 224 * 112 px in common, IoU 1/3 and IoBB 1/2; the
    small box reaches 468 to 556, 44 of its 88 px inside: IoBB 1/2, IoU 44 * 88 / (224² + 88² - 44 * 88) = 0.072.
    The second truth lies far away: both boxes are false positives.
    """
    maps = _hot_cells((3, 3), (3, 3))
    boxes = ((Box("Mass", 512, 400, 224, 224),), (Box("Mass", 0, 0, 50, 50), Box("Nodule", 0, 0, 9, 9)))
    figures = box_protocol(maps, boxes, "Mass")
    assert figures is not None
    score = figures.model
    assert (score.cases, score.pictures) == (2, 2)
    assert score.iou_accuracy == tuple(0.5 if t < 1 / 3 else 0.0 for t in IOU_THRESHOLDS)
    assert score.iou_false_positives == tuple(1.5 if t < 1 / 3 else 2.0 for t in IOU_THRESHOLDS)
    assert score.iobb_accuracy == tuple(0.5 if t < 0.5 else 0.0 for t in IOBB_THRESHOLDS)
    assert score.iobb_false_positives == tuple(1.0 if t < 0.5 else 2.0 for t in IOBB_THRESHOLDS)
    assert score.centre_inside == 0.5  # the small box's centre is (512, 512), inside the first truth


def test_a_picture_with_two_boxes_of_a_finding_counts_both() -> None:
    boxes = ((Box("Mass", 400, 400, 224, 224), Box("Mass", 0, 0, 100, 100)),)
    figures = box_protocol(_hot_cells((3, 3)), boxes, "Mass")
    assert figures is not None
    assert (figures.model.cases, figures.model.pictures) == (2, 1)
    assert figures.model.iou_accuracy[-1] == 0.5
    assert figures.model.iobb_false_positives[0] == 0


def test_without_boxes_or_maps_there_are_no_figures() -> None:
    assert box_protocol(_hot_cells((3, 3)), ((Box("Nodule", 0, 0, 9, 9),),), "Mass") is None
    assert box_protocol(np.zeros((1, 0, 0)), ((Box("Mass", 0, 0, 9, 9),),), "Mass") is None


def test_a_perfect_map_holds_the_covered_share_of_each_cell() -> None:
    """Cells of a 4 x 4 map are 256 px wide: a box from 128 to 640 covers half a cell, a whole one and half a cell."""
    shares = perfect_map([Rectangle(128, 256, 512, 256)], (4, 4))
    assert shares.tolist() == [[0] * 4, [0.5, 1, 0.5, 0], [0] * 4, [0] * 4]


def test_the_centre_map_peaks_in_the_middle_and_is_the_same_all_round() -> None:
    flat = centre_map((7, 7))
    assert flat[3, 3] == flat.max() == 0.5
    assert np.allclose(flat, flat[::-1])
    assert np.allclose(flat, flat.T)
    assert flat[0, 0] == 0


def test_a_large_central_box_is_hit_by_the_centre_map_and_by_a_perfect_one_but_not_by_chance() -> None:
    boxes = tuple((Box("Cardiomegaly", 330, 330, 360, 360),) for _ in range(8))
    figures = box_protocol(_hot_cells(*[(0, 0)] * 8), boxes, "Cardiomegaly")
    assert figures is not None
    half = IOU_THRESHOLDS.index(0.5)
    assert figures.ceiling.iou_accuracy[half] == 1
    assert figures.centre.iou_accuracy[half] == 1
    assert figures.model.iou_accuracy == (0.0,) * 7
    assert figures.random.iou_accuracy[half] < 0.5
    assert figures.centre.centre_inside == 1


def test_nodules_are_out_of_reach_of_seven_cells_by_iou_but_not_of_twenty_eight() -> None:
    """A nodule of 70 px against cells of 146 px: training.md section 3."""
    boxes = [(Box("Nodule", 300 + 37 * k, 200 + 53 * k, 70, 70),) for k in range(10)]
    found = [box_protocol(np.zeros((10, side, side)), boxes, "Nodule") for side in (7, 28)]
    ceilings = [figures.ceiling.iou_accuracy[IOU_THRESHOLDS.index(0.5)] for figures in found if figures]
    assert ceilings[0] < 0.2
    assert ceilings[1] > 0.5


def test_a_box_of_the_perfect_map_of_whole_cells_is_that_of_the_truth() -> None:
    """Four whole cells of a 4 x 4 map, 256 to 768 px: above 180/255 lies all but the rim of the outer half cells."""
    boxes = boxes_of(heat_field(perfect_map([Rectangle(256, 256, 512, 512)], (4, 4))))
    assert len(boxes) == 2
    assert boxes[0].left_px < 256 < boxes[1].left_px
    assert boxes[0].centre == boxes[1].centre == (512, 512)
