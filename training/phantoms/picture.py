"""One phantom radiograph: anatomy, findings, distractors, then pose, exposure and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.phantoms.anatomy import draw_chest
from training.phantoms.canvas import CANVAS_PX, PICTURE_PX_PER_CANVAS_PX, Layer, Points
from training.phantoms.distractors import draw_distractors
from training.phantoms.layers import draw_anatomy
from training.phantoms.lesions import draw_lesions

PICTURE_PX = 1024
_EXPOSURE_STEPS = 4096


@dataclass(frozen=True)
class LesionBox:
    """A lesion's box: `label`, and x, y, width, height in px of the 1024 px picture (origin at the upper left)."""

    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Phantom:
    """One picture: uint8 [1024, 1024], bones bright, its drawn labels and the box of every lesion."""

    pixels: NDArray[np.uint8]
    labels: tuple[str, ...]
    boxes: tuple[LesionBox, ...]


def _draw_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix from canvas px to picture px: turn, size and place of the patient in the field."""
    turn = np.deg2rad(np.clip(rng.normal(0, 3.0), -8, 8))
    size = PICTURE_PX_PER_CANVAS_PX * np.exp(rng.uniform(-0.17, 0.11))
    matrix = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([CANVAS_PX / 2, CANVAS_PX / 2])
    target = np.array([PICTURE_PX / 2, PICTURE_PX / 2]) + np.clip(rng.normal(0, [32, 36]), -65, 70)
    return np.asarray(np.concatenate([matrix, (target - matrix @ centre)[:, None]], axis=1))


def posed_box(label: str, outline: Points, pose: NDArray[np.float64], side_px: int = PICTURE_PX) -> LesionBox:
    """Return the box of an outline [N, 2] in canvas px, on a picture of `side_px` that `pose` [2, 3] maps to."""
    moved = (outline @ pose[:, :2].T + pose[:, 2]) * (PICTURE_PX / side_px)
    low = np.clip(moved.min(0), 0, PICTURE_PX - 2)
    high = np.clip(moved.max(0), low + 1, PICTURE_PX - 1)
    return LesionBox(label, float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))


def _expose(thickness: Layer, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn thickness, float32 [1024, 1024], into an 8-bit film: window, tone curve, vignette and quantum noise."""
    low, high = np.percentile(thickness[::16, ::16], [rng.uniform(0.5, 6), rng.uniform(96, 99.7)])
    low -= rng.uniform(0.0, 0.25)
    high += rng.uniform(0.0, 0.25)
    half = rng.standard_normal((PICTURE_PX // 2, PICTURE_PX), dtype=np.float32)
    noise = np.concatenate([half, -half[:, ::-1]])
    if rng.random() < 0.5:
        noise = np.asarray(cv2.GaussianBlur(noise, (3, 3), 0.7), np.float32) * np.float32(1.8)
    ramp = np.linspace(-1, 1, PICTURE_PX, dtype=np.float32)
    tilt, sink, vignette = rng.normal(0, 0.05), rng.normal(0, 0.06), rng.uniform(-0.10, 0.10)
    film = thickness + (tilt * ramp + vignette * ramp**2).astype(np.float32)[None, :]
    film += (sink * ramp + vignette * ramp**2).astype(np.float32)[:, None]
    film += noise * np.float32(rng.uniform(0.008, 0.022))
    film -= np.float32(low)
    film *= np.float32((_EXPOSURE_STEPS - 1) / (high - low))
    steps = np.clip(film, 0, _EXPOSURE_STEPS - 1).astype(np.uint16)
    tone = np.linspace(0, 1, _EXPOSURE_STEPS) ** np.exp(rng.uniform(-0.45, 0.45))
    floor, ceiling = rng.uniform(0, 25), rng.uniform(220, 255)
    curve = np.round(floor + tone * (ceiling - floor)).astype(np.uint8)
    return np.asarray(np.take(curve, steps))


def draw_phantom(labels: tuple[str, ...], anteroposterior: bool, rng: np.random.Generator) -> Phantom:
    """Draw one phantom with the findings `labels`.

    Parameters
    ----------
    labels
        Subset of `training.phantoms.statistics.DRAWN_FINDINGS`.
    anteroposterior
        True for a bedside film: shallower breath, larger heart shadow, more blur and devices.
    rng
        Source of everything random; the same state gives the same picture.
    """
    chest = draw_chest(rng, cardiomegaly="Cardiomegaly" in labels, anteroposterior=anteroposterior)
    layers = draw_anatomy(chest, rng)
    lesions = draw_lesions(labels, chest, layers, rng)
    draw_distractors(chest, layers, rng)
    pose = _draw_pose(rng)
    thickness = layers.body + layers.bones + layers.texture
    blur_px = rng.uniform(0.4, 0.9) if anteroposterior else rng.uniform(0.2, 0.6)
    blurred = cv2.GaussianBlur(thickness, (3, 3), blur_px)
    wide = cv2.warpAffine(
        blurred, pose, (PICTURE_PX, PICTURE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    pixels = _expose(np.asarray(wide), rng)
    return Phantom(pixels, labels, tuple(posed_box(lesion.label, lesion.outline, pose) for lesion in lesions))
