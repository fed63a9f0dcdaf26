"""What every picture of ours says in words, above and below the radiograph and never on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_io.pictures.attention import CONTOUR_LEVEL
from dicom_io.pictures.lettering import AMBER, GREY, WHITE, fitting_font, fitting_text
from dicom_io.pictures.tint import tinted
from dicom_io.results.reporting import DEMONSTRATION_NOTICE, OVERLAY_NOTICE

ATTENTION_NOT_EXTENT = "colour = model attention, not lesion extent"
LEGEND_TYPES = 3
"""Height of the legend in sizes of its type."""
LINE_RGB, CASING_RGB = (255, 222, 173), (0, 0, 0)
"""The line around the attention: pale with a dark casing, so that it is seen on bone and on lung."""

_NOWHERE = "no colour: the model points at no region"
_MID_GREY = 110
_LEADING = 1.4

Line = tuple[str, int, tuple[int, int, int]]
"""Text, size in pixels, RGB colour."""


def banner_lines(headline: str, model: str, type_px: int, *, demonstration: bool) -> list[Line]:
    """Return the lines of a banner: the headline, what the picture must not be used for, the model."""
    return [
        (headline, round(1.55 * type_px), WHITE),
        (OVERLAY_NOTICE, type_px, AMBER),
        *([(DEMONSTRATION_NOTICE, type_px, AMBER)] if demonstration else []),
        (model, round(0.85 * type_px), GREY),
    ]


def banner_height_px(lines: Sequence[Line], type_px: int) -> int:
    """Return the height the lines take with a margin around them."""
    return sum(round(_LEADING * size_px) for _text, size_px, _colour in lines) + type_px // 4


def write_banner(picture: NDArray[np.uint8], lines: Sequence[Line], type_px: int) -> None:
    """Write the lines at the black top of the picture, RGB [h, w, 3]; a line too wide is set smaller, then cut."""
    top = type_px // 2 // 2
    for text, size_px, colour in lines:
        written = _written(text, size_px, colour, picture.shape[1], type_px)
        picture[top : top + len(written)] = written
        top += len(written)


@lru_cache(maxsize=64)
def _written(text: str, size_px: int, colour: tuple[int, int, int], width: int, type_px: int) -> NDArray[np.uint8]:
    """Return one line on black, not to be drawn on: most of them are the same in picture after picture."""
    line, margin = Image.new("RGB", (width, round(_LEADING * size_px))), type_px // 2
    draw, room = ImageDraw.Draw(line), width - 2 * margin
    font = fitting_font(draw, text, size_px, room)
    draw.text((margin, 0), fitting_text(draw, text, font, room), font=font, fill=colour)
    return np.asarray(line)


def draw_legend(picture: NDArray[np.uint8], top: int, type_px: int, *, seen: bool = True) -> None:
    """Draw the colour scale as it appears over mid-grey, the line where it stands on it, and the warning below.

    Without anything seen there is no scale, and the words say that the model points nowhere.

    Parameters
    ----------
    picture
        uint8 [H, W, 3], drawn on in place, from row `top` on.
    type_px
        Height of the type in px.
    """
    picture[top : top + LEGEND_TYPES * type_px] = _legend(picture.shape[1], type_px, seen)


@lru_cache(maxsize=16)
def _legend(width: int, type_px: int, seen: bool) -> NDArray[np.uint8]:
    """Return the legend on black, not to be drawn on."""
    legend, margin = Image.new("RGB", (width, LEGEND_TYPES * type_px)), type_px // 2
    draw, size_px = ImageDraw.Draw(legend), round(0.85 * type_px)
    if seen:
        font = fitting_font(draw, "low", size_px, width)
        bar_width, bar_height = width // 3, round(0.7 * type_px)
        left, middle = margin + round(draw.textlength("low  ", font=font)), margin + bar_height // 2
        draw.text((margin, middle), "low", font=font, fill=GREY, anchor="lm")
        legend.paste(Image.fromarray(_scale(bar_width, bar_height)), (left, margin))
        line = f"high     line: {100 * CONTOUR_LEVEL:.0f} % of maximum"
        draw.text((left + bar_width + margin, middle), line, font=font, fill=GREY, anchor="lm")
    warning = ATTENTION_NOT_EXTENT if seen else _NOWHERE
    font = fitting_font(draw, warning, size_px, width - 2 * margin)
    draw.text((margin, margin + round(_LEADING * type_px)), warning, font=font, fill=WHITE)
    return np.asarray(legend)


def _scale(width: int, height: int) -> NDArray[np.uint8]:
    """Return the colours from no attention to the highest, with the line's mark, RGB [height, width, 3]."""
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    scale = tinted(np.full(ramp.shape, _MID_GREY, np.uint8), ramp)
    mark = round(CONTOUR_LEVEL * (width - 1))
    scale[:, mark - 1 : mark + 2] = CASING_RGB
    scale[:, mark] = LINE_RGB
    return scale
