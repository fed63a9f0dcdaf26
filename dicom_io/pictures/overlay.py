"""The picture of one finding: the radiograph, the model's attention in colour, and a banner that says what it is.

Nothing covers the anatomy: the colour keeps every grey apart from its neighbours, one thin line stands where the
attention falls to half, banner and legend stand above and below the image. Nothing here names the patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_io.pictures.attention import near_line, smooth, stretch
from dicom_io.pictures.banner import (
    CASING_RGB,
    LEGEND_TYPES,
    LINE_RGB,
    banner_height_px,
    banner_lines,
    draw_legend,
    write_banner,
)
from dicom_io.pictures.tint import tinted
from dicom_io.results.codes import display_name
from dicom_io.results.reporting import Report, ReportedFinding

LONG_SIDE_PX = 1024
MINIMUM_LONG_SIDE_PX = 768
"""Smaller radiographs are enlarged to this, so that the text stays legible."""
MINIMUM_WIDTH_PX = 512
"""Narrower pictures get black bars at both sides, for the same reason."""
TYPE_PART = 46
"""The longest side is this many times the size of the type."""

_LINE_PX, _CASING_PX, _CASING_OPACITY = 1.4, 4.0, 0.45
_NEARLY_THAT_SIZE = 1.25
"""Up to this many pixels for one, samples between two pixels leave nothing out; beyond it, areas are averaged."""


class Film:
    """A radiograph that several findings are drawn on: it is scaled once."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        """uint8 [H, W], bones bright."""
        self._scaled: NDArray[np.uint8] | None = None

    def scaled(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return it at that size, uint8 [height, width]; do not write to it."""
        if self._scaled is None or self._scaled.shape != (height, width):
            self._scaled = _scaled(self.pixels, height, width)
        return self._scaled


def _scaled(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the picture at that size; halved first as long as it can be, which OpenCV does thirty times as fast."""
    across, down = width / pixels.shape[1], height / pixels.shape[0]
    if max(across, down) > 1:
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    while max(across, down) <= 0.5:
        pixels, across, down = _halved(pixels), 2 * across, 2 * down
    interpolation = cv2.INTER_LINEAR if min(across, down) * _NEARLY_THAT_SIZE >= 1 else cv2.INTER_AREA
    # by the factors and not by the size: a border that was added must not move the picture
    scaled = cv2.resize(pixels, None, fx=across, fy=down, interpolation=interpolation)
    return np.asarray(scaled[:height, :width], np.uint8)


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of two by two pixels; the last row and column go on beyond the border where they are odd."""
    rows, columns = pixels.shape
    if rows % 2 or columns % 2:
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, rows % 2, 0, columns % 2, cv2.BORDER_REPLICATE), np.uint8)
    size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Caption:
    """What the picture says in words."""

    headline: str
    """Priority, finding and percent."""
    model: str
    """Name and version of the model, and its threshold."""
    demonstration: bool


def caption_of(report: Report, finding: ReportedFinding) -> Caption:
    """Return the caption of one finding of a report."""
    return Caption(
        headline=f"{report.priority}  {display_name(finding.label)} {finding.percent} %",
        model=f"{report.algorithm.name} {report.algorithm.version}, threshold {_percent(finding.threshold)} %",
        demonstration=report.demonstration,
    )


def _percent(threshold: float) -> str:
    """Return it as the worklist says it: one decimal below ten, where thresholds of rare findings lie."""
    return f"{100 * threshold:.{0 if threshold >= 0.0995 else 1}f}"


def draw_overlay(
    film: Film, saliency: NDArray[np.float32], caption: Caption, long_side_px: int = LONG_SIDE_PX
) -> NDArray[np.uint8]:
    """Return the radiograph with its saliency in colour, between a banner and a legend.

    Parameters
    ----------
    saliency
        float32 [h, w] in 0..1, of the film's field of view; any resolution.
    long_side_px
        Longest side of the returned picture, at least 512.

    Returns
    -------
    NDArray[np.uint8]
        RGB [h, w, 3]; the radiograph keeps its aspect.

    Raises
    ------
    ValueError
        The arrays are not two-dimensional or not of these types.
    """
    radiograph = film.pixels
    if radiograph.dtype != np.uint8 or radiograph.ndim != 2 or saliency.ndim != 2:
        given = f"{radiograph.dtype} {radiograph.shape} and {saliency.shape}"
        raise ValueError(f"draw_overlay needs uint8 [H, W] and a saliency [h, w], got {given}")
    type_px = type_size_px(long_side_px)
    lines = banner_lines(caption.headline, caption.model, type_px, demonstration=caption.demonstration)
    banner_px, legend_px = banner_height_px(lines, type_px), LEGEND_TYPES * type_px
    height, width = _fit(radiograph.shape[0], radiograph.shape[1], long_side_px, banner_px + legend_px)
    attention = smooth(saliency)
    canvas = np.zeros((banner_px + height + legend_px, max(width, MINIMUM_WIDTH_PX), 3), np.uint8)
    left = (canvas.shape[1] - width) // 2
    canvas[banner_px : banner_px + height, left : left + width] = coloured(film.scaled(height, width), attention)
    write_banner(canvas, lines, type_px)
    draw_legend(canvas, banner_px + height, type_px, seen=bool(attention.any()))
    return canvas


@dataclass(frozen=True)
class Box:
    """Where the radiograph stands in a picture of `draw_overlay`, in pixels from the top left."""

    top: int
    left: int
    height: int
    width: int


def radiograph_box(picture: tuple[int, int], radiograph: tuple[int, int]) -> Box | None:
    """Return where the radiograph [H, W] stands in a picture [h, w] of `draw_overlay`.

    None where the picture was laid out otherwise, or is so narrow that two places are possible.
    """
    type_px = type_size_px(LONG_SIDE_PX)
    legend_px, boxes = LEGEND_TYPES * type_px, []
    for demonstration in (False, True):
        banner_px = banner_height_px(banner_lines("", "", type_px, demonstration=demonstration), type_px)
        height, width = _fit(*radiograph, LONG_SIDE_PX, banner_px + legend_px)
        whole = max(width, MINIMUM_WIDTH_PX)
        if picture == (banner_px + height + legend_px, whole):
            boxes.append(Box(banner_px, (whole - width) // 2, height, width))
    return boxes[0] if len(boxes) == 1 else None


def type_size_px(long_side_px: int) -> int:
    """Return the size of the type on a picture with that longest side."""
    return max(15, long_side_px // TYPE_PART)


def coloured(grey: NDArray[np.uint8], attention: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a scaled radiograph [h, w] with the attention (from `smooth`) as colour and line, RGB [h, w, 3]."""
    stretched = stretch(attention, *grey.shape)
    picture = tinted(grey, stretched)
    near = near_line(stretched, _CASING_PX)
    flat = picture.reshape(-1, 3)
    colours = np.ascontiguousarray(flat[near.pixels].T)
    colours = _painted(colours, _CASING_OPACITY * near.coverage(_CASING_PX), CASING_RGB)
    flat[near.pixels] = _painted(colours, near.coverage(_LINE_PX), LINE_RGB).T
    return picture


def _painted(colours: NDArray[np.uint8], opacity: NDArray[np.float32], rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return colours [3, n] under another, of which as much is seen as the opacity of each, 0..1, says.

    One row per channel: for rows of three numbers, NumPy starts its loops anew with each pixel.
    """
    return np.rint(opacity * np.array(rgb, np.float32)[:, np.newaxis] + (1 - opacity) * colours).astype(np.uint8)


def _fit(rows: int, columns: int, long_side_px: int, texts_px: int) -> tuple[int, int]:
    """Return the height and width the radiograph is drawn at, so that it fits beside the texts."""
    largest = min((long_side_px - texts_px) / rows, long_side_px / columns)
    wanted = max(1.0, MINIMUM_LONG_SIDE_PX / max(rows, columns))
    scale = min(largest, wanted)
    return max(1, round(rows * scale)), max(1, round(columns * scale))
