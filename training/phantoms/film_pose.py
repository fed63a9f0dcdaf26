"""Where the chest lies on a real film: an affine map from the phantoms' canvas to the film.

A template of an average drawn chest is laid over each film (enhanced correlation coefficient, Evangelidis and Psarakis,
TPAMI 2008; OpenCV's ``findTransformECC``), the films so laid over each other are averaged, and each film is laid anew
over that average, which has the soft outlines of real films and fits them better. No film is stored in the program.

Coordinates: template px (`TEMPLATE_PX` a side, showing the middle of the canvas), canvas px
(`training.phantoms.canvas`) and film px. A pose is a 2 x 3 matrix from canvas px to the px of a square film.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.phantoms.anatomy import Chest
from training.phantoms.canvas import CANVAS_PX, Layer
from training.phantoms.layers import draw_anatomy

TEMPLATE_PX = 96
"""Side of the template: ribs vanish, lungs, heart and domes stay."""
SMALLEST_LIKENESS = 0.75
"""Correlation with the template below which a film is not drawn on: its chest was not found for certain."""

Pose = NDArray[np.float64]

_SHOWN_CANVAS_PX = 512  # the part of the canvas that an average picture shows
_AVERAGED_FILMS = 400
_DRAWINGS = 40
_BLUR_PX = 1.5
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)

DRAWN_CHEST = Chest(
    midline_x=326,
    apex_y=138,
    height=296,
    half_width=(194, 184),
    dome_rise=(38, 26),
    base_shift=(0, 0),
    mediastinum_half_width=39,
    cardiothoracic_ratio=0.45,
    heart_offset=0.65,
    heart_aspect=0.8,
    heart_tilt=0.6,
    anteroposterior=False,
)
"""The chest of the drawn template; its proportions were read off an average of 400 upright films."""

FILM_CHEST = Chest(
    midline_x=326.7,
    apex_y=130,
    height=298,
    half_width=(211, 200),
    dome_rise=(38, 26),
    base_shift=(0, 0),
    mediastinum_half_width=42,
    cardiothoracic_ratio=0.45,
    heart_offset=0.65,
    heart_aspect=0.8,
    heart_tilt=0.6,
    anteroposterior=False,
)
"""The same chest as it lies on a film that was laid over the template. Drawn lungs are wider at their top than real
ones, so a film's lungs come out 9 % wider than the template's; measured on an average of 400 films."""


@cache
def drawn_template() -> Layer:
    """Return an average drawn chest, float32 [TEMPLATE_PX, TEMPLATE_PX], mean 0 and deviation 1; always the same."""
    rng = np.random.default_rng(0)
    edge = (CANVAS_PX - _SHOWN_CANVAS_PX) // 2
    total = np.zeros((TEMPLATE_PX, TEMPLATE_PX), np.float32)
    for _ in range(_DRAWINGS):
        layers = draw_anatomy(DRAWN_CHEST, rng)
        shown = (layers.body + layers.bones + layers.texture)[edge:-edge, edge:-edge]
        low, high = np.percentile(shown, [2, 99])
        total += outlines(np.clip((shown - low) / (high - low) * 255, 0, 255).astype(np.uint8))
    return _standardised(total)


def outlines(film: NDArray[np.uint8]) -> Layer:
    """Return a film, uint8 [S, S], as it is laid over the template: small, even (CLAHE), soft, mean 0, deviation 1."""
    small = cv2.resize(film, (TEMPLATE_PX, TEMPLATE_PX), interpolation=cv2.INTER_AREA)
    even = cv2.createCLAHE(2.0, (4, 4)).apply(small)
    return _standardised(cv2.GaussianBlur(even, (0, 0), _BLUR_PX).astype(np.float32))


def film_template(films: Iterable[NDArray[np.uint8]]) -> Layer:
    """Return the average of up to 400 films, each laid over the drawn template; the drawn one where none fits."""
    drawn, fitting = drawn_template(), []
    for film, _ in zip(films, range(_AVERAGED_FILMS), strict=False):
        seen = outlines(film)
        matrix, likeness = _laid_over(drawn, seen)
        if likeness >= SMALLEST_LIKENESS:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            fitting.append(cv2.warpAffine(seen, matrix, (TEMPLATE_PX, TEMPLATE_PX), flags=flags))
    return _standardised(np.mean(fitting, axis=0)) if fitting else drawn


def pose_of(film: NDArray[np.uint8], template: Layer) -> Pose | None:
    """Return the pose of the chest on a film.

    Parameters
    ----------
    film
        uint8 [S, S], bones bright, upright.
    template
        What ``film_template`` returned.

    Returns
    -------
    Pose or None
        float64 [2, 3], canvas px of ``FILM_CHEST`` to film px; None where the chest was not found for certain.
    """
    matrix, likeness = _laid_over(template, outlines(film))
    if likeness < SMALLEST_LIKENESS:
        return None
    shrink = TEMPLATE_PX / _SHOWN_CANVAS_PX
    edge = (CANVAS_PX - _SHOWN_CANVAS_PX) / 2
    to_template = np.array([[shrink, 0, -edge * shrink], [0, shrink, -edge * shrink], [0, 0, 1]])
    to_film = np.diag([film.shape[1] / TEMPLATE_PX, film.shape[0] / TEMPLATE_PX, 1.0])
    return np.asarray((to_film @ np.vstack([matrix, [0, 0, 1]]) @ to_template)[:2])


def _laid_over(template: Layer, seen: Layer) -> tuple[NDArray[np.float32], float]:
    """Return the affine matrix from template to film px and the correlation, 0 where the search went astray."""
    matrix = np.eye(2, 3, dtype=np.float32)
    try:
        likeness, found = cv2.findTransformECC(template, seen, matrix, cv2.MOTION_AFFINE, _STOP, None, 3)  # type: ignore[call-overload]
    except cv2.error:  # "The algorithm stopped before its convergence": nothing on the film is like a chest
        return matrix, 0.0
    return np.asarray(found, np.float32), float(likeness)


def _standardised(picture: NDArray[np.float32]) -> Layer:
    return np.asarray((picture - picture.mean()) / (picture.std() + 1e-3), np.float32)
