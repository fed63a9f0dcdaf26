"""Colour laid over a radiograph without hiding it: every grey keeps its place among the greys, only its hue changes.

Worked out in OKLab (Ottosson 2020, "A perceptual color space for image processing"), where equal steps look equal: the
chroma grows in proportion to the model's attention, so the scale is even to the eye and has one hue, which readers with
any kind of colour vision tell from grey. Lightness is drawn a little towards the middle, because neither black lung nor
white diaphragm has room for colour; at most a quarter of the contrast is lost there, and nothing brightens the room.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

HUE_DEGREES = 62.0
"""Orange: bodies on film have no such colour, and the usual kinds of colour blindness still see it as warm on grey."""
CHROMA = 0.1
"""OKLab chroma at full attention; pure sRGB orange has about 0.19."""
FLOOR = 0.2
"""Attention below this leaves the grey as it is; above it the colour grows in proportion."""
MIDDLE_LIGHTNESS = 0.68
PULL = 0.18
"""Part of the way to `MIDDLE_LIGHTNESS` that a grey goes at full attention."""

_LAB_TO_CONES = np.array(
    [(1, 0.3963377774, 0.2158037573), (1, -0.1055613458, -0.0638541728), (1, -0.0894841775, -1.2914855480)]
)
_CONES_TO_RGB = np.array(
    [
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    ]
)
_GAMUT_STEPS = 12


def tinted(grey: NDArray[np.uint8], attention: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the picture in colour.

    Parameters
    ----------
    grey
        uint8 [h, w], bones bright.
    attention
        float32 [h, w] in 0..1; up to `FLOOR` the grey stays as it is.

    Returns
    -------
    NDArray[np.uint8]
        RGB [h, w, 3].
    """
    steps = cv2.convertScaleAbs(attention, alpha=255)  # rounded to uint8
    codes = cv2.merge((grey, steps)).view("<u2")  # [h, w, 1]: attention and grey as the place of their colour
    colours = cv2.LUT(codes, _packed_table()).view(np.uint8).reshape(*grey.shape, 4)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGBA2RGB))


@lru_cache(maxsize=1)
def _packed_table() -> NDArray[np.int32]:
    """Return `tint_table` with each colour in one word, int32 [65536]: far faster to look up than three bytes."""
    table = np.zeros((256, 256, 4), np.uint8)
    table[..., :3] = tint_table()
    return table.view(np.int32).ravel()


@lru_cache(maxsize=1)
def tint_table() -> NDArray[np.uint8]:
    """Return the colours of every attention (255 = 1.0) on every grey, uint8 [256, 256, 3] in sRGB; do not write to it.

    A grey is lightness alone, so the whole picture needs these 65,536 colours and no arithmetic per pixel.
    """
    steps = np.arange(256) / 255.0
    attention = np.clip((steps - FLOOR) / (1 - FLOOR), 0, 1)[:, np.newaxis]
    lightness = np.cbrt(_linear(steps))[np.newaxis, :]  # OKLab: for greys, L is the cube root of linear light
    lightness = lightness + PULL * attention * (MIDDLE_LIGHTNESS - lightness)
    chroma = _within_gamut(lightness, np.broadcast_to(CHROMA * attention, lightness.shape))
    table: NDArray[np.uint8] = np.rint(255 * _encoded(_rgb(lightness, chroma))).astype(np.uint8)
    table[attention[:, 0] == 0] = np.arange(256, dtype=np.uint8)[:, np.newaxis]  # untouched to the last bit
    table.flags.writeable = False
    return table


def _within_gamut(lightness: NDArray[np.float64], chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the wanted chroma where a screen has it, else the most it has at that lightness."""
    beyond = ~_shown(lightness, chroma)
    lightness, highest = lightness[beyond], chroma[beyond]
    lowest = np.zeros_like(highest)
    for _ in range(_GAMUT_STEPS):
        middle = (lowest + highest) / 2
        shown = _shown(lightness, middle)
        lowest, highest = np.where(shown, middle, lowest), np.where(shown, highest, middle)
    within = chroma.copy()
    within[beyond] = lowest
    return within


def _shown(lightness: NDArray[np.float64], chroma: NDArray[np.float64]) -> NDArray[np.bool_]:
    rgb = _rgb(lightness, chroma)
    return np.asarray(((rgb >= -1e-4) & (rgb <= 1 + 1e-4)).all(axis=-1))


def _rgb(lightness: NDArray[np.float64], chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear RGB [..., 3] of OKLab lightness and chroma at `HUE_DEGREES`."""
    hue = np.deg2rad(HUE_DEGREES)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    return np.asarray(((lab @ _LAB_TO_CONES.T) ** 3) @ _CONES_TO_RGB.T)


def _linear(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear light of sRGB values in 0..1 (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB values of linear light, both in 0..1 (IEC 61966-2-1)."""
    light = np.clip(linear, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
