"""How well boxes from class maps meet the radiologists' boxes: Wang's IoU and IoBB protocol with its false positives.

For each of the radiologists' boxes: a hit where any box of the map has an IoU (or an IoBB) above T with it.
``accuracy`` is the share of their boxes that are hit; ``false_positives`` the mean number of map boxes on each picture
that reach T with none of them. Only pictures with a box of the finding count.

Next to the model's maps stand three that need no model, put through the same steps:
``ceiling``: what a map of the same cells gives that knows the truth (each cell holds the share that the box covers);
``random``: cells of uniform noise, the mean of several draws;
``centre``: one fixed map that peaks in the middle of the picture and falls off to its edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import BOX_FRAME_PX, Box
from training.evaluation.localise import PointingScore, share_of_ceiling
from training.evaluation.map_boxes import Rectangle, boxes_of, heat_field, iobb, iou, peak_box

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""T(IoU) of Wang et al., table 6 of the supplement."""
IOBB_THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""T(IoBB) of the same."""
_RANDOM_DRAWS = 5
_EDGE = 1e-9  # an overlap that equals T but for rounding is not above it


@dataclass(frozen=True)
class BoxScore:
    """How one kind of map does on one finding."""

    cases: int
    """Boxes of the radiologists."""
    pictures: int
    iou_accuracy: tuple[float, ...]
    """Share of boxes hit at each of ``IOU_THRESHOLDS``."""
    iou_false_positives: tuple[float, ...]
    """Map boxes on each picture that reach none, at the same thresholds."""
    iobb_accuracy: tuple[float, ...]
    """At each of ``IOBB_THRESHOLDS``."""
    iobb_false_positives: tuple[float, ...]
    centre_inside: float
    """Share of boxes that hold the centre of the map's box around its peak."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by threshold."""
        columns = {
            "iou_accuracy": (IOU_THRESHOLDS, self.iou_accuracy),
            "iou_false_positives": (IOU_THRESHOLDS, self.iou_false_positives),
            "iobb_accuracy": (IOBB_THRESHOLDS, self.iobb_accuracy),
            "iobb_false_positives": (IOBB_THRESHOLDS, self.iobb_false_positives),
        }
        by_threshold = {
            name: {str(t): round(value, 4) for t, value in zip(thresholds, values, strict=True)}
            for name, (thresholds, values) in columns.items()
        }
        return (
            {"cases": self.cases, "pictures": self.pictures}
            | by_threshold
            | {"centre_inside": round(self.centre_inside, 4)}
        )


@dataclass(frozen=True)
class BoxFigures:
    """One finding: the model's maps beside those that need no model."""

    model: BoxScore
    ceiling: BoxScore
    random: BoxScore
    centre: BoxScore

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: getattr(self, name).as_dict() for name in ("model", "ceiling", "random", "centre")}


def box_protocol(
    maps: NDArray[np.floating], boxes: Sequence[Sequence[Box]], label: str, seed: int = 0
) -> BoxFigures | None:
    """Return the scores of one finding; None without boxes of it or without maps.

    Parameters
    ----------
    maps
        float [N, h, w], the finding's class maps.
    boxes
        Boxes of each of the N pictures, of any finding.
    """
    cases = [(row, [_rectangle(box) for box in found if box.label == label]) for row, found in enumerate(boxes)]
    cases = [(row, found) for row, found in cases if found]
    if not cases or not maps.shape[-1]:
        return None
    truths, shape = [found for _, found in cases], maps.shape[1:]
    draws = np.random.default_rng([seed, 11]).random((_RANDOM_DRAWS, len(cases), *shape))
    return BoxFigures(
        _score(truths, [maps[row] for row, _ in cases]),
        _score(truths, [perfect_map(found, shape) for found in truths]),
        _mean([_score(truths, list(draw)) for draw in draws]),
        _score(truths, [centre_map(shape)] * len(truths)),
    )


def localisation_values(pointing: Mapping[str, PointingScore], boxes: Mapping[str, BoxFigures]) -> dict[str, Any]:
    """Return plain values of pointing game and box protocol for a bundle or a script; empty without boxes."""
    if not pointing:
        return {}
    values = {
        "protocol": "pointing game: centre of the strongest cell of the class map inside a box of the finding",
        "share_of_ceiling": None if np.isnan(reached := share_of_ceiling(pointing)) else round(reached, 4),
        "findings": {label: score.as_dict() for label, score in pointing.items()},
    }
    return (
        values | {"box_protocol": {label: figures.as_dict() for label, figures in boxes.items()}} if boxes else values
    )


def perfect_map(boxes: Sequence[Rectangle], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return [h, w]: the share of each cell that the boxes cover, the larger one where two do."""
    shares = np.zeros(shape)
    for box in boxes:
        rows = _covered(box.top_px, box.height_px, shape[0])
        columns = _covered(box.left_px, box.width_px, shape[1])
        shares = np.maximum(shares, np.outer(rows, columns))
    return shares


def centre_map(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return [h, w] that falls off linearly from the picture's centre to its nearest edge, 0 beyond."""
    rows, columns = (((np.arange(side) + 0.5) / side - 0.5) for side in shape)
    return np.maximum(0, 0.5 - np.hypot(rows[:, None], columns[None, :]))


def _covered(start_px: float, length_px: float, cells: int) -> NDArray[np.float64]:
    """Return [cells]: the share of each cell that an interval covers."""
    edges = np.arange(cells + 1) * BOX_FRAME_PX / cells
    common = np.minimum(edges[1:], start_px + length_px) - np.maximum(edges[:-1], start_px)
    shares: NDArray[np.float64] = np.maximum(common, 0) * cells / BOX_FRAME_PX
    return shares


def _score(truths: list[list[Rectangle]], maps: list[NDArray[np.floating]]) -> BoxScore:
    hits = {iou: np.zeros(len(IOU_THRESHOLDS)), iobb: np.zeros(len(IOBB_THRESHOLDS))}
    alarms = {iou: np.zeros(len(IOU_THRESHOLDS)), iobb: np.zeros(len(IOBB_THRESHOLDS))}
    central = 0
    for found, class_map in zip(truths, maps, strict=True):
        field = heat_field(class_map)
        detected = boxes_of(field)
        for measure, thresholds in ((iou, IOU_THRESHOLDS), (iobb, IOBB_THRESHOLDS)):
            table = np.array([[measure(box, truth) for truth in found] for box in detected]).reshape(-1, len(found))
            best_by_truth, best_by_box = table.max(0, initial=0), table.max(1, initial=0)
            hits[measure] += [(best_by_truth > t + _EDGE).sum() for t in thresholds]
            alarms[measure] += [(best_by_box <= t + _EDGE).sum() for t in thresholds]
        peak = peak_box(field)
        central += 0 if peak is None else sum(truth.holds(*peak.centre) for truth in found)
    count = sum(map(len, truths))
    return BoxScore(
        count,
        len(truths),
        _shares(hits[iou], count),
        _shares(alarms[iou], len(truths)),
        _shares(hits[iobb], count),
        _shares(alarms[iobb], len(truths)),
        central / count,
    )


def _mean(scores: list[BoxScore]) -> BoxScore:
    def mean(values: list[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(np.mean(values, axis=0).tolist())

    return BoxScore(
        scores[0].cases,
        scores[0].pictures,
        mean([score.iou_accuracy for score in scores]),
        mean([score.iou_false_positives for score in scores]),
        mean([score.iobb_accuracy for score in scores]),
        mean([score.iobb_false_positives for score in scores]),
        float(np.mean([score.centre_inside for score in scores])),
    )


def _shares(counts: NDArray[np.float64], whole: int) -> tuple[float, ...]:
    return tuple((counts / whole).tolist())


def _rectangle(box: Box) -> Rectangle:
    return Rectangle(box.x_px, box.y_px, box.width_px, box.height_px)
