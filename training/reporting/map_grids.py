"""Tables of where a network's maps point: pointing game, and Wang's boxes beside what needs no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from training.evaluation.box_protocol import IOBB_THRESHOLDS, IOU_THRESHOLDS, BoxFigures, BoxScore
from training.evaluation.localise import PointingScore, share_of_ceiling
from training.reporting.grid import Grid, share

_KINDS = {"this model": "model", "perfect map": "ceiling", "random map": "random", "central map": "centre"}


def pointing_grid(scores: Mapping[str, PointingScore]) -> Grid | None:
    """Return the pointing game; None without boxes."""
    if not scores:
        return None
    rows = tuple(
        (
            label,
            f"{s.cases:,}",
            share(s.hits / s.cases),
            share(s.ceiling_hits / s.cases),
            share(s.of_ceiling),
            share(s.random_rate),
            share(s.centre_hits / s.cases),
        )
        for label, s in scores.items()
    )
    total = sum(s.cases for s in scores.values())
    hits = sum(s.hits for s in scores.values()) / total
    ceiling = sum(s.ceiling_hits for s in scores.values()) / total
    random = sum(s.random_rate * s.cases for s in scores.values()) / total
    centre = sum(s.centre_hits for s in scores.values()) / total
    return Grid(
        "Pointing game",
        ("finding", "pictures", "hit rate", "ceiling", "share of ceiling", "random point", "picture centre"),
        rows,
        "A hit: the centre of the map's strongest cell lies in a box that a radiologist drew. The ceiling is what a "
        "perfect pick among the cell centres reaches; a random point and the picture's centre need no network.",
        ("all", f"{total:,}", *map(share, (hits, ceiling, share_of_ceiling(scores), random, centre))),
    )


def box_grids(boxes: Mapping[str, BoxFigures]) -> list[Grid]:
    """Return accuracy and false positives at the published thresholds, by IoU and by IoBB; none without boxes."""
    if not boxes:
        return []
    return [
        _grid("IoU", IOU_THRESHOLDS, boxes, lambda s: (s.iou_accuracy, s.iou_false_positives)),
        _grid("IoBB", IOBB_THRESHOLDS, boxes, lambda s: (s.iobb_accuracy, s.iobb_false_positives)),
        _centre_grid(boxes),
    ]


def _grid(
    name: str,
    thresholds: tuple[float, ...],
    boxes: Mapping[str, BoxFigures],
    values: Callable[[BoxScore], tuple[tuple[float, ...], tuple[float, ...]]],
) -> Grid:
    rows = [
        (f"{label} ({figures.model.cases:,})", kind, *_cells(*values(getattr(figures, field))))
        for label, figures in boxes.items()
        for kind, field in _KINDS.items()
    ]
    means = np.mean([values(figures.model)[0] for figures in boxes.values()], axis=0)
    return Grid(
        f"Boxes from the maps, by {name}",
        ("finding (boxes)", "map", *(f"T = {t:g}" for t in thresholds)),
        tuple(rows),
        f"Share of the radiologists' boxes that a box of the map meets with {name} above T, and after the stroke the "
        "mean number of the map's boxes on a picture that meet none (Wang et al., CVPR 2017: map to 0..255, a box "
        "around every isolated region above 60 and above 180). A perfect map has the network's cells and knows the "
        "truth: about what this resolution allows. Several boxes a picture hit by chance too, as the random map shows.",
        ("mean of findings", "this model", *(share(float(mean)) for mean in means)),
    )


def _cells(accuracy: tuple[float, ...], alarms: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(f"{hit:.3f} / {false:.2f}" for hit, false in zip(accuracy, alarms, strict=True))


def _centre_grid(boxes: Mapping[str, BoxFigures]) -> Grid:
    rows = tuple(
        (label, f"{f.model.cases:,}", *(share(getattr(f, field).centre_inside) for field in _KINDS.values()))
        for label, f in boxes.items()
    )
    return Grid(
        "Centre of the map's box in the radiologist's box",
        ("finding", "boxes", *_KINDS),
        rows,
        "The box around the map's peak (above 180). Small findings cannot be met by IoU with cells this large; their "
        "place can.",
    )
