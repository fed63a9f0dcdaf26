"""One picture for a whole study: a small panel per flagged finding, the most urgent first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_io.pictures.attention import smooth
from dicom_io.pictures.banner import LEGEND_TYPES, banner_height_px, banner_lines, draw_legend, write_banner
from dicom_io.pictures.lettering import GREY, WHITE, fitting_font, fitting_text, font_of_size
from dicom_io.pictures.overlay import LONG_SIDE_PX, MINIMUM_WIDTH_PX, Film, coloured, type_size_px
from dicom_io.results.codes import display_name
from dicom_io.results.reporting import Report, ReportedFinding

MAXIMUM_PANELS = 9
"""More flagged findings than this are named in words: smaller panels would show nothing."""
_GAP_PX = 6


@dataclass(frozen=True)
class Panel:
    """One finding on the image where it scored highest."""

    finding: ReportedFinding
    radiograph: NDArray[np.uint8]
    """uint8 [H, W], bones bright."""
    saliency: NDArray[np.float32]
    """float32 [h, w] in 0..1, of the same field of view."""


def draw_summary(report: Report, panels: Sequence[Panel], long_side_px: int = LONG_SIDE_PX) -> NDArray[np.uint8]:
    """Return the flagged findings of a report side by side, between a banner and a legend.

    Parameters
    ----------
    panels
        The report's flagged findings in its order, at least one.
    long_side_px
        Longest side of the returned picture, at least 512.

    Returns
    -------
    NDArray[np.uint8]
        RGB [h, w, 3]; every radiograph keeps its aspect.

    Raises
    ------
    ValueError
        There is no panel.
    """
    if not panels:
        raise ValueError("draw_summary needs at least one flagged finding")
    type_px = type_size_px(long_side_px)
    drawn, others = panels[:MAXIMUM_PANELS], panels[MAXIMUM_PANELS:]
    lines = banner_lines(_headline(report), _model(report), type_px, demonstration=report.demonstration)
    banner_px, others_px = banner_height_px(lines, type_px), round(1.6 * type_px) if others else 0
    below_px = others_px + LEGEND_TYPES * type_px
    grid = _grid(report, drawn, _Layout.largest(drawn, type_px, long_side_px, long_side_px - banner_px - below_px))
    canvas = np.zeros((banner_px + grid.shape[0] + below_px, max(grid.shape[1], MINIMUM_WIDTH_PX), 3), np.uint8)
    left = (canvas.shape[1] - grid.shape[1]) // 2
    canvas[banner_px : banner_px + grid.shape[0], left : left + grid.shape[1]] = grid
    if others:
        canvas = _naming(others, canvas, banner_px + grid.shape[0], type_px)
    write_banner(canvas, lines, type_px)
    draw_legend(canvas, canvas.shape[0] - LEGEND_TYPES * type_px, type_px)
    return canvas


def _headline(report: Report) -> str:
    count = len(report.flagged)
    return f"{report.priority}  {count} finding{'s' if count != 1 else ''} flagged"


def _model(report: Report) -> str:
    return f"{report.algorithm.name} {report.algorithm.version}"


@dataclass(frozen=True)
class _Layout:
    """How the panels stand: ``columns`` side by side, each image in a cell of this size under its caption."""

    columns: int
    height_px: int
    width_px: int
    caption_px: int

    @classmethod
    def largest(cls, panels: Sequence[Panel], type_px: int, width_px: int, height_px: int) -> _Layout:
        """Return the arrangement that shows the panels largest within the given room."""
        caption_px = round(1.5 * type_px)
        aspect = max(panel.radiograph.shape[1] / panel.radiograph.shape[0] for panel in panels)

        def height_in(columns: int) -> float:
            rows = -(-len(panels) // columns)
            across = (width_px - (columns - 1) * _GAP_PX) / columns
            down = (height_px - (rows - 1) * _GAP_PX) / rows - caption_px
            return float(min(down, across / aspect))

        columns = max(range(1, len(panels) + 1), key=height_in)
        height = max(1, int(height_in(columns)))
        return cls(columns, height, max(1, int(height * aspect)), caption_px)


def _grid(report: Report, panels: Sequence[Panel], layout: _Layout) -> NDArray[np.uint8]:
    """Return the panels with their captions above, RGB."""
    down, across = layout.height_px + layout.caption_px + _GAP_PX, layout.width_px + _GAP_PX
    rows = -(-len(panels) // layout.columns)
    grid = np.zeros((rows * down - _GAP_PX, layout.columns * across - _GAP_PX, 3), np.uint8)
    corners = [(number // layout.columns * down, number % layout.columns * across) for number in range(len(panels))]
    for panel, (top, left) in zip(panels, corners, strict=True):
        image = _fitted(panel, layout)
        indent = left + (layout.width_px - image.shape[1]) // 2
        grid[top + layout.caption_px :, indent:][: image.shape[0], : image.shape[1]] = image
    picture = Image.fromarray(grid)
    draw = ImageDraw.Draw(picture)
    texts = [_caption(report, panel.finding) for panel in panels]
    longest = max(texts, key=lambda text: draw.textlength(text, font=font_of_size(layout.caption_px)))
    font = fitting_font(draw, longest, round(0.68 * layout.caption_px), layout.width_px - 2 * _GAP_PX)
    for text, (top, left) in zip(texts, corners, strict=True):
        place, room = (left + _GAP_PX, top + layout.caption_px // 2), layout.width_px - 2 * _GAP_PX
        draw.text(place, fitting_text(draw, text, font, room), font=font, fill=WHITE, anchor="lm")
    return np.asarray(picture)


def _fitted(panel: Panel, layout: _Layout) -> NDArray[np.uint8]:
    """Return the panel's radiograph in colour as large as a cell holds it, RGB."""
    rows, columns = panel.radiograph.shape
    scale = min(layout.height_px / rows, layout.width_px / columns)
    grey = Film(panel.radiograph).scaled(max(1, int(rows * scale)), max(1, int(columns * scale)))
    return coloured(grey, smooth(panel.saliency))


def _caption(report: Report, finding: ReportedFinding) -> str:
    text = f"{display_name(finding.label)} {finding.percent} %"
    if len(report.images) > 1:
        text += f"  (image {finding.source_index + 1}/{len(report.images)})"
    return text


def _naming(others: Sequence[Panel], canvas: NDArray[np.uint8], top: int, type_px: int) -> NDArray[np.uint8]:
    """Return the canvas with the findings named that have no panel of their own."""
    picture = Image.fromarray(canvas)
    draw, margin = ImageDraw.Draw(picture), type_px // 2
    named = ", ".join(f"{display_name(panel.finding.label)} {panel.finding.percent} %" for panel in others)
    text, room = f"also flagged: {named}", picture.size[0] - 2 * margin
    font = fitting_font(draw, text, round(0.85 * type_px), room)
    draw.text((margin, top + margin), fitting_text(draw, text, font, room), font=font, fill=GREY)
    return np.array(picture)
