"""The pointing game: does the strongest cell of a class map lie in the finding's box?

One case is one picture and finding with boxes; a hit in any of its boxes counts. Since the pick is a cell's centre, a
box that holds no centre cannot be hit: the ceiling is what a perfect pick among the centres reaches. Two baselines need
no network: a random point of the picture, and its centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.radiographs import BOX_FRAME_PX, Box


@dataclass(frozen=True)
class PointingScore:
    """Counts over the cases of one finding."""

    cases: int
    hits: int
    ceiling_hits: int
    """Hits of a perfect pick among the cell centres."""
    centre_hits: int
    """Hits of the picture's centre."""
    random_rate: float
    """Expected hit rate of a uniformly random point, 0..1."""

    @property
    def of_ceiling(self) -> float:
        """Return hits as a share of the ceiling; NaN where the ceiling is 0."""
        return self.hits / self.ceiling_hits if self.ceiling_hits else float("nan")

    def as_dict(self) -> dict[str, int | float | None]:
        """Return plain values, shares to four decimals."""
        return {
            "cases": self.cases,
            "hit_rate": round(self.hits / self.cases, 4),
            "ceiling": round(self.ceiling_hits / self.cases, 4),
            "share_of_ceiling": round(self.of_ceiling, 4) if self.ceiling_hits else None,
            "random_point": round(self.random_rate, 4),
            "picture_centre": round(self.centre_hits / self.cases, 4),
        }


def share_of_ceiling(scores: Mapping[str, PointingScore]) -> float:
    """Return all hits as a share of all that a perfect pick among the cell centres reaches; NaN where that is none."""
    ceiling = sum(score.ceiling_hits for score in scores.values())
    return sum(score.hits for score in scores.values()) / ceiling if ceiling else float("nan")


def pointing_game(
    maps: NDArray[np.float32],
    boxes: tuple[tuple[Box, ...], ...],
    trained: tuple[bool, ...],
    labels: tuple[str, ...] = LABELS,
) -> dict[str, PointingScore]:
    """Return the score of every trained finding that has boxes.

    Parameters
    ----------
    maps
        float32 [N, K, h, w] class maps; h = w = 0 where the network has none, and then there are no scores.
    boxes
        Boxes of each of the N pictures.
    labels
        What each of the K maps belongs to.
    """
    cells = maps.shape[-1]
    scores: dict[str, PointingScore] = {}
    for index, label in enumerate(labels if cells else ()):
        cases = [(row, [b for b in found if b.label == label]) for row, found in enumerate(boxes) if trained[index]]
        cases = [(row, found) for row, found in cases if found]
        if cases:
            scores[label] = _score(maps[:, index], cases, cells)
    return scores


def _score(maps: NDArray[np.float32], cases: list[tuple[int, list[Box]]], cells: int) -> PointingScore:
    cell_px = BOX_FRAME_PX / cells
    centres = [((i % cells + 0.5) * cell_px, (i // cells + 0.5) * cell_px) for i in range(cells * cells)]
    hits = ceiling = central = 0
    area = 0.0
    for row, found in cases:
        hits += _inside_any(found, *centres[int(maps[row].argmax())])
        ceiling += any(_inside_any(found, *centre) for centre in centres)
        central += _inside_any(found, BOX_FRAME_PX / 2, BOX_FRAME_PX / 2)
        area += _covered_share(found)
    return PointingScore(len(cases), hits, ceiling, central, area / len(cases))


def _inside_any(boxes: list[Box], x_px: float, y_px: float) -> bool:
    return any(0 <= x_px - b.x_px < b.width_px and 0 <= y_px - b.y_px < b.height_px for b in boxes)


def _covered_share(boxes: list[Box]) -> float:
    """Return the share of the picture inside any of the boxes, on a 256 x 256 grid."""
    places = (np.arange(256) + 0.5) * BOX_FRAME_PX / 256
    covered = np.zeros((256, 256), bool)
    for b in boxes:
        columns = (places >= b.x_px) & (places < b.x_px + b.width_px)
        rows = (places >= b.y_px) & (places < b.y_px + b.height_px)
        covered |= rows[:, None] & columns
    return float(covered.mean())
