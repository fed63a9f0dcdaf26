"""Pictures of cases: the radiograph with a finding's map, the box made of it and the radiologist's box. PNG bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle as Frame
from numpy.typing import NDArray

from model.cam import saliency
from training.data.radiographs import BOX_FRAME_PX, Box
from training.evaluation.map_boxes import Rectangle, heat_field, iou, peak_box
from training.reporting.plots import png

_COLUMNS = 4
_TRUTH, _OURS = "cyan", "lime"


@dataclass(frozen=True)
class Case:
    """One boxed finding of one picture."""

    label: str
    pixels: NDArray[np.uint8]
    """uint8 [S, S]."""
    class_map: NDArray[np.float32]
    """float32 [h, w]."""
    boxes: tuple[Box, ...]
    """The radiologists' boxes of the finding."""
    probability: float


def case_plot(cases: list[Case]) -> bytes:
    """Draw every case: map in colours, the radiologist's box cyan, the box around the map's peak green."""
    height = -(-len(cases) // _COLUMNS)
    figure = Figure(figsize=(3 * _COLUMNS, 3.25 * height), layout="constrained")
    for place, case in enumerate(cases):
        _draw(figure.add_subplot(height, _COLUMNS, place + 1), case)
    return png(figure)


def _draw(axis: Axes, case: Case) -> None:
    side = case.pixels.shape[-1]
    axis.imshow(case.pixels, cmap="gray", vmin=0, vmax=255)
    heat = saliency(case.class_map, (side, side))
    axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=heat * 0.6)
    truths = [Rectangle(box.x_px, box.y_px, box.width_px, box.height_px) for box in case.boxes]
    for truth in truths:
        axis.add_patch(_frame(truth, side, _TRUTH, "-"))
    ours = peak_box(heat_field(case.class_map))
    met = "no box"
    if ours is not None:
        axis.add_patch(_frame(ours, side, _OURS, "--"))
        met = f"IoU {max(iou(ours, truth) for truth in truths):.2f}"
    said = "" if np.isnan(case.probability) else f" p {case.probability:.2f},"
    axis.set_title(f"{case.label},{said} {met}", fontsize=8)
    axis.set_axis_off()


def _frame(box: Rectangle, side: int, colour: str, line: str) -> Frame:
    scale = side / BOX_FRAME_PX
    corner, width, height = (box.left_px * scale - 0.5, box.top_px * scale - 0.5), box.width_px, box.height_px
    return Frame(corner, width * scale, height * scale, fill=False, edgecolor=colour, linestyle=line, linewidth=1.5)
