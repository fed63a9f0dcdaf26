"""The picture of one finding: the radiograph, the model's attention in colour, and a banner that says what it is.

Nothing covers the anatomy: banner and legend stand above and below the image. Nothing here names the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicom_io.codes import display_name
from dicom_io.reporting import DEMONSTRATION_NOTICE, NOT_FOR_DIAGNOSTIC_USE, Report, ReportedFinding

LONG_SIDE_PX = 1024
MINIMUM_LONG_SIDE_PX = 768
"""Smaller radiographs are enlarged to this, so that the text stays legible."""
MINIMUM_WIDTH_PX = 512
"""Narrower pictures get black bars at both sides, for the same reason."""
MAXIMUM_OPACITY = 0.5
CONTOUR_LEVEL = 0.5
"""Saliency at the drawn line, as a part of the maximum."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_LEGEND = "colour = model attention, not lesion extent"
_WHITE, _GREY, _AMBER = (255, 255, 255), (190, 190, 190), (255, 191, 64)


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
        model=f"{report.algorithm.name} {report.algorithm.version}, threshold {100 * finding.threshold:.0f} %",
        demonstration=report.demonstration,
    )


def draw_overlay(
    radiograph: NDArray[np.uint8], saliency: NDArray[np.float32], caption: Caption, long_side_px: int = LONG_SIDE_PX
) -> NDArray[np.uint8]:
    """Return the radiograph with its saliency in colour, between a banner and a legend.

    Parameters
    ----------
    radiograph
        uint8 [H, W], bones bright.
    saliency
        float32 [h, w] in 0..1, of the same field of view; any resolution, stretched bilinearly. Passing the model's
        own coarse map is the fastest.
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
    if radiograph.dtype != np.uint8 or radiograph.ndim != 2 or saliency.ndim != 2:
        given = f"{radiograph.dtype} {radiograph.shape} and {saliency.shape}"
        raise ValueError(f"draw_overlay needs uint8 [H, W] and a saliency [h, w], got {given}")
    type_px = max(15, long_side_px // 46)
    banner_px, legend_px = _banner_height_px(type_px, caption), 3 * type_px
    height, width = _fit(radiograph.shape[0], radiograph.shape[1], long_side_px, banner_px + legend_px)
    interpolation = cv2.INTER_AREA if height < radiograph.shape[0] else cv2.INTER_CUBIC
    base = np.asarray(cv2.resize(radiograph, (width, height), interpolation=interpolation), dtype=np.uint8)
    heat = _stretched(saliency, height, width)
    picture = _blend(base, heat)
    _draw_contour(picture, heat)
    canvas = np.zeros((banner_px + height + legend_px, max(width, MINIMUM_WIDTH_PX), 3), np.uint8)
    left = (canvas.shape[1] - width) // 2
    canvas[banner_px : banner_px + height, left : left + width] = picture
    return _write_texts(canvas, caption, type_px, legend_px)


def _stretched(saliency: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return the saliency at the size of the picture, within 0..1."""
    stretched = cv2.resize(saliency.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(stretched, 0, 1), dtype=np.float32)


def _fit(rows: int, columns: int, long_side_px: int, texts_px: int) -> tuple[int, int]:
    """Return the height and width the radiograph is drawn at, so that it fits beside the texts."""
    largest = min((long_side_px - texts_px) / rows, long_side_px / columns)
    wanted = max(1.0, MINIMUM_LONG_SIDE_PX / max(rows, columns))
    scale = min(largest, wanted)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _colours() -> NDArray[np.uint8]:
    """Return 256 RGB colours from violet to yellow: inferno without its black beginning, which would darken lungs."""
    ramp = np.linspace(70, 255, 256).round().astype(np.uint8)[np.newaxis]
    colours = cv2.cvtColor(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.asarray(colours[0], dtype=np.uint8)


_COLOURS = _colours()


def _blend(base: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the colours over the image; the opacity grows with the saliency, so that quiet regions stay as they are."""
    colours = _COLOURS[(255 * heat).astype(np.uint8)]
    grey = cv2.cvtColor(base, cv2.COLOR_GRAY2RGB)
    opacity = MAXIMUM_OPACITY * heat
    return np.asarray(cv2.blendLinear(colours, grey, opacity, 1 - opacity), dtype=np.uint8)


def _draw_contour(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> None:
    """Draw the line where the saliency falls to half its maximum: dark below light, seen on bone and on lung."""
    if not heat.any():
        return
    inside = (heat >= CONTOUR_LEVEL * heat.max()).astype(np.uint8)
    lines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, lines, -1, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.drawContours(picture, lines, -1, (255, 236, 150), 1, cv2.LINE_AA)


def _banner_height_px(type_px: int, caption: Caption) -> int:
    return round(type_px * (6.4 if caption.demonstration else 4.9))


def _write_texts(canvas: NDArray[np.uint8], caption: Caption, type_px: int, legend_px: int) -> NDArray[np.uint8]:
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    margin = type_px // 2
    room = width - 2 * margin
    lines = [
        (caption.headline, round(1.55 * type_px), _WHITE),
        (f"AI OVERLAY - {NOT_FOR_DIAGNOSTIC_USE}", type_px, _AMBER),
        *([(DEMONSTRATION_NOTICE, type_px, _AMBER)] if caption.demonstration else []),
        (caption.model, round(0.85 * type_px), _GREY),
    ]
    top = margin // 2
    for text, size_px, colour in lines:
        draw.text((margin, top), text, font=_font(draw, text, size_px, room), fill=colour)
        top += round(1.4 * size_px)
    _draw_legend(picture, draw, height - legend_px, type_px)
    return np.asarray(picture).copy()


def _draw_legend(picture: Image.Image, draw: ImageDraw.ImageDraw, top: int, type_px: int) -> None:
    """Draw the colour scale as it appears over mid-grey, with its ends named, and the warning below it."""
    margin, width = type_px // 2, picture.size[0]
    bar_width, bar_height = width // 3, round(0.7 * type_px)
    ramp = np.tile(np.linspace(0, 1, bar_width, dtype=np.float32), (bar_height, 1))
    bar = _blend(np.full(ramp.shape, 96, np.uint8), ramp)
    size_px = round(0.85 * type_px)
    font = _font(draw, "low", size_px, width)
    low_px = round(draw.textlength("low  ", font=font))
    row = top + margin
    draw.text((margin, row + bar_height // 2), "low", font=font, fill=_GREY, anchor="lm")
    picture.paste(Image.fromarray(bar), (margin + low_px, row))
    line = f"high     line: {100 * CONTOUR_LEVEL:.0f} % of maximum"
    draw.text((2 * margin + low_px + bar_width, row + bar_height // 2), line, font=font, fill=_GREY, anchor="lm")
    font = _font(draw, _LEGEND, size_px, width - 2 * margin)
    draw.text((margin, row + 2 * bar_height), _LEGEND, font=font, fill=_WHITE)


def _font(draw: ImageDraw.ImageDraw, text: str, size_px: int, room_px: int) -> _Font:
    """Return the largest font up to `size_px` in which `text` fits into `room_px`; never below 9 pixels."""
    while size_px > 9 and draw.textlength(text, font=_font_of_size(size_px)) > room_px:
        size_px -= 1
    return _font_of_size(size_px)


@lru_cache(maxsize=64)
def _font_of_size(size_px: int) -> _Font:
    """Return the font that comes with Pillow, so that a picture looks the same on every machine."""
    return ImageFont.load_default(size_px)
