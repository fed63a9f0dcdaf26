"""Drawn radiographs of anything but a frontal chest: limbs, hands, skulls, spines, hips, a trunk from its side, shapes.

Radiographs of other body parts are hard to come by, and a check that has seen but three of them knows those three.
These drawings need no likeness to a patient: they teach that a bright rod between dark bands, a ring, a row of blocks
or a trunk seen from its side is no frontal chest, in every size, place, turn and exposure.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from training.suitability.strokes import (
    DECOY_PX,
    Sheet,
    at,
    blank,
    block,
    bone,
    direction,
    ellipse,
    filled,
    letters,
    line,
    noise,
    taper,
)


def draw_decoy(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one picture that is no frontal chest radiograph, uint8 [DECOY_PX, DECOY_PX], bones bright."""
    sheet = _KINDS[int(rng.integers(len(_KINDS)))](rng)
    if rng.random() < 0.35:
        sheet = np.rot90(sheet, int(rng.integers(1, 4)))
    sheet = _posed(np.ascontiguousarray(sheet), rng)
    return _exposed(sheet, rng)


def _limb(rng: np.random.Generator) -> Sheet:
    """One or two bones in flesh, straight or bent at a joint: forearm, leg, knee, elbow."""
    sheet = blank()
    middle = rng.uniform(35, 93, 2)
    turn = np.deg2rad(rng.normal(0, 18))
    bend = np.deg2rad(rng.normal(0, 30)) if rng.random() < 0.6 else 0.0
    width = rng.uniform(14, 44)
    ends = [middle - 110 * direction(turn), middle + 110 * direction(turn + bend)]
    for end, share in zip(ends, rng.uniform(0.6, 1.3, 2), strict=True):
        sheet = np.maximum(sheet, taper(middle, end, width, width * share, blur=2))
    sheet *= np.float32(rng.uniform(0.5, 1.2))
    for end in ends:
        across = np.array([-(end - middle)[1], (end - middle)[0]]) / 110
        pair = int(rng.integers(1, 3))
        for place in np.linspace(-0.22, 0.22, pair) if pair > 1 else [0.0]:
            shift = across * width * place
            thickness = width * rng.uniform(0.14, 0.26)
            start = middle + shift + (end - middle) * rng.uniform(0.01, 0.06)
            sheet += bone(start, end + shift, thickness, rng)
    return sheet


def _hand(rng: np.random.Generator) -> Sheet:
    """Rays of short bones from a palm: hand or foot, one or two of them."""
    sheet = blank()
    for centre_x in [64.0] if rng.random() < 0.6 else [34.0, 94.0]:
        scale = rng.uniform(0.6, 1.1) if centre_x == 64 else rng.uniform(0.4, 0.55)
        palm = np.array([centre_x, 82.0]) + rng.normal(0, 4, 2)
        sheet += ellipse(palm, (24 * scale, 28 * scale), 0, blur=2) * np.float32(rng.uniform(0.5, 0.9))
        sheet += taper(palm, palm + at(0, 60), 20 * scale, 24 * scale, blur=2) * np.float32(0.7)
        for finger in np.linspace(-0.55, 0.55, 5) + rng.normal(0, 0.05, 5):
            tip = palm + rng.uniform(58, 74) * scale * direction(np.pi + finger)
            sheet = np.maximum(sheet, taper(palm, tip, 9 * scale, 7 * scale, blur=1) * np.float32(0.7))
            stops = np.array([0.15, 0.5, 0.72, 0.88, 1.0])
            for begin, end in pairwise(stops):
                line = tip - palm
                sheet += bone(palm + line * (begin + 0.02), palm + line * (end - 0.02), 3.2 * scale, rng)
    return sheet


def _skull(rng: np.random.Generator) -> Sheet:
    """A ring with hollows in it: skull from the front or the side."""
    radii = (rng.uniform(30, 52), rng.uniform(36, 58))
    centre = np.array([64.0, 58.0]) + rng.normal(0, 6, 2)
    outer = ellipse(centre, radii, rng.normal(0, 12), blur=1)
    inner = ellipse(centre, (radii[0] * 0.9, radii[1] * 0.9), rng.normal(0, 12), blur=2)
    sheet = outer * np.float32(rng.uniform(1.2, 2.0)) - inner * np.float32(rng.uniform(0.4, 0.9))
    for _ in range(int(rng.integers(2, 7))):
        hollow = centre + rng.uniform(-0.5, 0.6, 2) * radii
        sheet -= ellipse(hollow, tuple(rng.uniform(4, 13, 2)), rng.uniform(0, 180), blur=2) * np.float32(0.5)
    sheet += taper(centre, centre + at(rng.normal(0, 8), 90), 26, 34, blur=3) * np.float32(0.6)
    return sheet


def _teeth(rng: np.random.Generator) -> Sheet:
    """Two rows of blocks in a bow: jaws."""
    sheet = blank() + noise(rng, 20) * np.float32(0.15) + np.float32(0.5)
    bow = rng.uniform(-0.006, 0.012)
    for row, sign in ((58.0, -1), (72.0, 1)):
        for x in np.arange(14, 114, rng.uniform(6.5, 10)):
            top = row + bow * (x - 64) ** 2
            height = rng.uniform(9, 16)
            sheet += ellipse(np.array([x, top + sign * height / 2]), (3.2, height / 2), 0, blur=0.6) * np.float32(1.1)
    jaw = np.array([[x, 88 + bow * (x - 64) ** 2] for x in range(6, 123, 6)], float)
    sheet += line(jaw, rng.uniform(6, 16), 1.5) * np.float32(0.7)
    return sheet


def _spine(rng: np.random.Generator, pelvis: bool | None = None) -> Sheet:
    """A column of blocks in a trunk without lungs: spine, abdomen, pelvis, often with gas."""
    sheet = ellipse(np.array([64.0, 64.0]), (rng.uniform(40, 75), rng.uniform(70, 120)), 0, blur=4)
    sheet = sheet * np.float32(rng.uniform(0.8, 1.4)) + noise(rng, 30) * np.float32(0.12)
    x, width, step = 64 + rng.normal(0, 8), rng.uniform(7, 14), rng.uniform(9, 17)
    sway, stop = rng.normal(0, 4), 128 if rng.random() < 0.5 else rng.uniform(70, 100)
    for y in np.arange(rng.uniform(-8, 8), stop, step):
        centre = np.array([x + sway * np.sin(y / 40), y])
        sheet += block(centre, width, step * 0.4) * np.float32(rng.uniform(0.5, 0.9))
    for _ in range(int(rng.integers(0, 9))):
        gas = rng.uniform([25, 15], [103, 115])
        sheet -= ellipse(gas, tuple(rng.uniform(3, 13, 2)), rng.uniform(0, 180), blur=2) * np.float32(0.55)
    if rng.random() < 0.5 if pelvis is None else pelvis:
        sheet += _pelvis_bones(rng)
    return sheet


def _pelvis(rng: np.random.Generator) -> Sheet:
    return _spine(rng, pelvis=True)


def _pelvis_bones(rng: np.random.Generator) -> Sheet:
    """Two wings, two rings and the heads of two thigh bones."""
    sheet, low = blank(), rng.uniform(80, 110)
    for side in (-1, 1):
        wing = np.array([64 + side * rng.uniform(24, 32), low - 18])
        sheet += ellipse(wing, (17, 22), side * 25, blur=1.5) * np.float32(0.7)
        ring = np.array([64 + side * 14.0, low + 14])
        sheet += (ellipse(ring, (11, 9), 0, blur=1) - ellipse(ring, (6, 5), 0, blur=1)) * np.float32(0.8)
        head = np.array([64 + side * rng.uniform(30, 36), low + 4])
        sheet += ellipse(head, (8, 8), 0, blur=1) * np.float32(0.8)
        sheet += bone(head + at(side * 8, 4), head + at(side * 10, 60), 6, rng)
    return sheet


def _side(rng: np.random.Generator) -> Sheet:
    """A trunk from its side: one dark field before a column of blocks, ribs that slant one way, a heart in front."""
    lean = rng.normal(0, 6)
    depth = rng.uniform(34, 52)
    sheet = taper(np.array([64 + lean, -10]), np.array([64 - lean, 140]), depth * 1.6, depth * 2.1, blur=3)
    sheet *= np.float32(rng.uniform(1.0, 1.5))
    field = np.array([64 + rng.normal(0, 4), rng.uniform(45, 62)])
    sheet -= ellipse(field, (depth * rng.uniform(0.5, 0.75), rng.uniform(34, 54)), rng.normal(0, 10), blur=4)
    back = field[0] + depth * rng.uniform(0.45, 0.8)
    for y in np.arange(-4, 132, rng.uniform(8, 12)):
        bow = 6 * np.sin(y / 42)
        sheet += block(np.array([back + bow, y]), rng.uniform(5, 8), 3.6) * np.float32(0.55)
        rib = np.array([[back + bow, y], [field[0], y + 12], [field[0] - depth * 0.7, y + 26]], float)
        sheet += line(rib, rng.uniform(1.2, 2.4), 0.8) * np.float32(rng.uniform(0.15, 0.4))
    heart = field + at(-depth * rng.uniform(0.15, 0.4), rng.uniform(14, 26))
    sheet += ellipse(heart, (rng.uniform(9, 17), rng.uniform(12, 20)), rng.normal(20, 15), blur=3) * np.float32(0.6)
    low = field[1] + rng.uniform(34, 46)
    for shift in rng.normal(0, 5, 2):
        dome = np.array([[x, low + shift + 0.012 * (x - field[0]) ** 2] for x in range(10, 119, 6)], float)
        edge = np.concatenate([dome, [[118, 140], [10, 140]]])
        sheet += filled(edge, 2) * np.float32(0.35)
    if rng.random() < 0.5:
        sheet = sheet[:, ::-1].copy()
    return sheet


def _shoulder(rng: np.random.Generator) -> Sheet:
    """A ball, a blade, a rod and some ribs at one border: shoulder or hip from near."""
    sheet = blank() + noise(rng, 35) * np.float32(0.1)
    sheet += ellipse(np.array([30.0, 80.0]), (70, 70), 0, blur=5) * np.float32(rng.uniform(0.7, 1.1))
    head = rng.uniform([55, 30], [95, 65])
    sheet += ellipse(head, (rng.uniform(11, 18),) * 2, 0, blur=1) * np.float32(0.9)
    sheet += bone(head, head + 120 * direction(rng.normal(-0.2, 0.3)), rng.uniform(7, 12), rng)
    sheet += ellipse(head + at(-26, 18), (12, 26), rng.normal(15, 15), blur=1.5) * np.float32(0.5)
    sheet += bone(head + at(-6, -16), head + at(-80, -10 + rng.normal(0, 8)), rng.uniform(4, 7), rng)
    for y in np.arange(rng.uniform(40, 70), 128, 14):
        rib = np.array([[-5, y - 14], [14, y - 8], [26, y + 8]], float)
        sheet += line(rib, 4, 1) * np.float32(0.4)
    return sheet if rng.random() < 0.5 else sheet[:, ::-1].copy()


def _breast(rng: np.random.Generator) -> Sheet:
    """Half an ellipse at one border, with strands."""
    centre = np.array([rng.uniform(-10, 10), rng.uniform(50, 78)])
    body = ellipse(centre, (rng.uniform(40, 90), rng.uniform(38, 62)), rng.normal(0, 8), blur=2)
    return body * (np.float32(0.7) + noise(rng, 10) * np.float32(0.25) + noise(rng, 30) * np.float32(0.2))


def _shapes(rng: np.random.Generator) -> Sheet:
    """Anything at all: ellipses, blocks, lines and letters over each other."""
    sheet = blank()
    for _ in range(int(rng.integers(1, 14))):
        centre, size = rng.uniform(0, 128, 2), rng.uniform(2, 60, 2)
        kind, strength = int(rng.integers(4)), np.float32(rng.uniform(-1, 1))
        if kind == 0:
            sheet += ellipse(centre, tuple(size), rng.uniform(0, 180), blur=rng.uniform(0, 6)) * strength
        elif kind == 1:
            sheet += block(centre, *size) * strength
        elif kind == 2:
            sheet += line(rng.uniform(-10, 138, (4, 2)), rng.uniform(1, 14), rng.uniform(0, 3)) * strength
        else:
            sheet += letters(centre, rng) * strength
    return sheet


def _texture(rng: np.random.Generator) -> Sheet:
    """Noise of one or several grains, with or without a slope."""
    sheet = blank()
    for grain in rng.uniform(1.5, 70, int(rng.integers(1, 4))):
        sheet += noise(rng, grain) * np.float32(rng.uniform(0.2, 1))
    slope = rng.normal(0, 0.01, 2)
    y, x = np.mgrid[0:DECOY_PX, 0:DECOY_PX].astype(np.float32)
    return np.asarray(sheet + slope[0] * x + slope[1] * y, np.float32)


_KINDS: tuple[Callable[[np.random.Generator], Sheet], ...] = (
    _limb, _limb, _hand, _skull, _teeth, _spine, _pelvis, _side, _side, _shoulder, _breast, _shapes, _texture,
)  # fmt: skip


def _posed(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Turn, stretch and move the drawing, collimate it, or leave it small in an empty field."""
    turn, scale = rng.normal(0, 12), np.exp(rng.normal(0, 0.22, 2))
    matrix = np.asarray(cv2.getRotationMatrix2D((64, 64), turn, 1.0), np.float64)
    matrix[:, :2] *= scale[:, None]
    matrix[:, 2] += 64 - scale * 64 + rng.normal(0, 8, 2)
    border = float(np.median(np.concatenate([sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]])))
    size = (DECOY_PX, DECOY_PX)
    moved = cv2.warpAffine(sheet, matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    posed = np.asarray(moved, np.float32)
    if rng.random() < 0.35:
        left, top = rng.integers(0, 40, 2)
        right, low = rng.integers(88, 129, 2)
        outside = np.ones(posed.shape, np.bool_)
        outside[top:low, left:right] = False
        posed[outside] = posed.max() if rng.random() < 0.35 else posed.min()
    return posed


def _exposed(sheet: Sheet, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn thickness into grey levels: window, tone curve, grain; one in eight with its polarity turned."""
    low, high = np.percentile(sheet, [rng.uniform(0, 5), rng.uniform(95, 100)])
    if high - low < 1e-3:
        high = low + 1
    tone = np.clip((sheet - low) / (high - low), 0, 1) ** np.exp(rng.normal(0, 0.4))
    tone = tone * rng.uniform(0.6, 1) + rng.uniform(0, 0.25)
    tone += rng.normal(0, rng.uniform(0.002, 0.04), sheet.shape)
    pixels = (np.clip(tone, 0, 1) * 255).astype(np.uint8)
    return np.asarray(255 - pixels if rng.random() < 0.125 else pixels, np.uint8)
