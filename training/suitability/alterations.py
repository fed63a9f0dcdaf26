"""What a picture of the training set becomes: still a frontal chest (label-preserving), or no longer one.

Pictures are uint8 [S, S], bones bright, S = the cache's side (224). What is made of them has the check's own size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocess import resize_uint8
from model.suitability_network import SIZE_PX

Picture = NDArray[np.uint8]

_WARP_PX = 2 * SIZE_PX


@dataclass(frozen=True)
class Window:
    """Which part of a picture is seen, as shares of its sides; beyond 0..1 lies empty film."""

    left: float
    top: float
    right: float
    low: float


WHOLE = Window(0, 0, 1, 1)


def unaltered(picture: Picture) -> Picture:
    """Return the picture as the worker would show it to the check."""
    return resize_uint8(picture, SIZE_PX)


def still_frontal(picture: Picture, rng: np.random.Generator, strength: float = 1.0) -> Picture:
    """Mirror, turn by some degrees, cut or frame a little, expose and blur otherwise: all still a frontal chest."""
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    edges = rng.uniform(-0.07, 0.09, 4) * strength
    stretch = rng.normal(0, 0.05, 2) * strength  # films are squashed to squares
    window = Window(edges[0] + stretch[0], edges[1] + stretch[1], 1 - edges[2] - stretch[0], 1 - edges[3] - stretch[1])
    return _filmed(picture, window, rng.normal(0, 4) * strength, rng, strength)


def inverted(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture with its polarity turned; sometimes lying or upside down as well."""
    seen = still_frontal(picture, rng)
    if rng.random() < 0.1:
        seen = np.rot90(seen, int(rng.integers(1, 4)))
    return np.asarray(255 - seen)


def turned(picture: Picture, quarter_turns: int, rng: np.random.Generator) -> Picture:
    """Return the picture turned counterclockwise by quarters, 1 to 3, and some degrees."""
    degrees = rng.normal(0, 5) if rng.random() < 0.7 else rng.uniform(-38, 38)
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    quarters = np.rot90(picture, quarter_turns)
    edges = rng.uniform(-0.07, 0.09, 4)
    return _filmed(quarters, Window(edges[0], edges[1], 1 - edges[2], 1 - edges[3]), degrees, rng, 1.0)


def cropped(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return so little of the chest that one lung, at least, is cut in half."""
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    kind = int(rng.integers(3))
    if kind == 0:  # a side, the top or the bottom is missing
        window = _one_side(rng)
    elif kind == 1:  # a small part
        width, height = rng.uniform(0.25, 0.6, 2)
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        window = Window(left, top, left + width, top + height)
    else:  # pushed out of the field
        shift = rng.uniform(0.4, 0.65) * rng.choice([-1, 1])
        across = rng.normal(0, 0.1)
        dx, dy = (shift, across) if rng.random() < 0.5 else (across, shift)
        window = Window(dx, dy, 1 + dx, 1 + dy)
    return _filmed(picture, window, rng.normal(0, 5), rng, 1.0)


def blank(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return next to nothing: an empty film, a washed out one, or one burnt nearly all black or white."""
    kind = int(rng.integers(4))
    seen = still_frontal(picture, rng).astype(np.float32)
    if kind == 0:
        level, noise = rng.uniform(0, 255), rng.uniform(0, 6)
        film: NDArray[np.floating] = level + rng.normal(0, noise, seen.shape)
    elif kind == 1:
        film = rng.uniform(10, 245) + (seen - seen.mean()) * rng.uniform(0.0, 0.045)
        film += rng.normal(0, rng.uniform(0, 2), seen.shape)
    elif kind == 2:
        y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
        slope = rng.normal(0, 60, 2)
        film = rng.uniform(60, 200) + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
        film = film + rng.normal(0, rng.uniform(0, 5), seen.shape)
    else:
        edge = float(np.percentile(seen, rng.choice([2.0, 97.0])))
        film = 255.0 * (seen > edge) if rng.random() < 0.5 else np.clip((seen - edge) * 4 + (edge < 128) * 255, 0, 255)
    return np.asarray(np.clip(film, 0, 255), np.uint8)


def no_chest_of(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a picture made of a chest's pieces that no longer shows one: shuffled, folded, a patch, a double film."""
    seen = still_frontal(picture, rng)
    kind = int(rng.integers(5))
    if kind == 0:
        return _shuffled(seen, int(rng.choice([2, 3, 4])), rng)
    if kind == 1:  # the upper or lower half twice, one of them upside down
        half = seen[: SIZE_PX // 2] if rng.random() < 0.5 else seen[SIZE_PX // 2 :]
        folded = np.concatenate([half, half[::-1]] if rng.random() < 0.5 else [half[::-1], half])
        return np.ascontiguousarray(folded)
    if kind == 2:  # a patch
        side = rng.uniform(0.12, 0.28)
        left, top = rng.uniform(0, 1 - side, 2)
        patch = _filmed(picture, Window(left, top, left + side, top + side), rng.uniform(-45, 45), rng, 1.0)
        return np.ascontiguousarray(np.rot90(patch, int(rng.integers(4))))
    if kind == 3:  # two or four films on one
        small = resize_uint8(seen, SIZE_PX // 2)
        pair = np.concatenate([small, small[:, :: int(rng.choice([-1, 1]))]], axis=1)
        return np.concatenate([pair, pair[:: int(rng.choice([-1, 1]))]])
    stretch = rng.uniform(2.2, 4.0)  # pulled in one direction
    width, height = (1.0, 1 / stretch) if rng.random() < 0.5 else (1 / stretch, 1.0)
    left, top = rng.uniform(0, 1 - width + 1e-9), rng.uniform(0, 1 - height + 1e-9)
    return _filmed(picture, Window(left, top, left + width, top + height), rng.normal(0, 10), rng, 1.0)


def outsider_of(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a picture that was never a chest, in another size, place, turn, exposure and at times polarity."""
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    if rng.random() < 0.4:
        picture = np.rot90(picture, int(rng.integers(1, 4)))
    scale = np.exp(rng.uniform(-0.7, 0.5))
    width, height = scale * np.exp(rng.normal(0, 0.12, 2))
    centre_x, centre_y = 0.5 + rng.normal(0, 0.12, 2)
    window = Window(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
    seen = _filmed(picture, window, rng.normal(0, 12), rng, 1.0)
    return np.asarray(255 - seen) if rng.random() < 0.15 else seen


def _one_side(rng: np.random.Generator) -> Window:
    cut, other = rng.uniform(0.42, 0.65), rng.uniform(-0.05, 0.15, 3)
    edges = [other[0], other[1], 1 - other[2], 1 - abs(other[0])]
    side = int(rng.integers(4))
    edges[side] = cut if side < 2 else 1 - cut
    return Window(*edges)


def _shuffled(seen: Picture, cells: int, rng: np.random.Generator) -> Picture:
    side = SIZE_PX // cells
    blocks = [seen[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(cells) for x in range(cells)]
    order = np.roll(np.arange(len(blocks)), int(rng.integers(1, len(blocks))))  # no block stays where it was
    if rng.random() < 0.5:
        order = order[::-1]
    rows = [np.concatenate([blocks[i] for i in order[y * cells : (y + 1) * cells]], axis=1) for y in range(cells)]
    return resize_uint8(np.ascontiguousarray(np.concatenate(rows)), SIZE_PX)


def _filmed(picture: Picture, window: Window, degrees: float, rng: np.random.Generator, strength: float) -> Picture:
    """Return uint8 [SIZE_PX, SIZE_PX]: a window of the picture, turned, with another exposure, blur and grain."""
    side = picture.shape[0]
    size = np.array([window.right - window.left, window.low - window.top]) * side
    centre = np.array([window.right + window.left, window.low + window.top]) * side / 2
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation * (size / _WARP_PX)[None, :]  # from the result's px to the picture's
    matrix = np.concatenate([linear, (centre - linear @ np.full(2, _WARP_PX / 2))[:, None]], axis=1)
    border = 0 if rng.random() < 0.75 else int(rng.choice([picture.max(), picture[0].mean(), picture.mean()]))
    warped = cv2.warpAffine(
        np.ascontiguousarray(picture),
        matrix,
        (_WARP_PX, _WARP_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )
    if rng.random() < 0.3 * strength:
        warped = _marked(np.asarray(warped), rng)
    seen = resize_uint8(np.asarray(warped), SIZE_PX) if rng.random() < 0.5 else _area(np.asarray(warped))
    return _exposed(seen, rng, strength)


def _area(warped: Picture) -> Picture:
    return np.asarray(cv2.resize(warped, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA))


def _marked(warped: Picture, rng: np.random.Generator) -> Picture:
    """Lay collimation edges, side markers or a device over the picture."""
    marked = warped.copy()
    for _ in range(int(rng.integers(1, 4))):
        value = int(rng.choice([0, 255, int(warped.max()), int(rng.integers(256))]))
        kind, (x, y) = int(rng.integers(3)), rng.integers(0, _WARP_PX, 2).tolist()
        if kind == 0:
            edge = int(rng.integers(2, 14))
            place = [slice(0, edge), slice(_WARP_PX - edge, None)][int(rng.integers(2))]
            marked[(place, slice(None)) if rng.random() < 0.5 else (slice(None), place)] = value
        elif kind == 1:
            letter = "LRPA"[int(rng.integers(4))]
            cv2.putText(marked, letter, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, value, 1, cv2.LINE_AA)
        else:
            ends = (x + int(rng.normal(0, 30)), y + int(rng.normal(0, 40)))
            cv2.line(marked, (x, y), ends, value, int(rng.integers(1, 3)), cv2.LINE_AA)
    return marked


def _exposed(seen: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Return the picture with another window, tone curve, sharpness and grain."""
    levels: NDArray[np.floating] = seen.astype(np.float32) / 255
    levels = np.clip(levels, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35) * strength))
    low, high = rng.uniform(-0.15, 0.2) * strength, 1 - rng.uniform(-0.15, 0.25) * strength
    levels = np.clip((levels - low) / (high - low) if rng.random() < 0.5 else low + levels * (high - low), 0, 1)
    if rng.random() < 0.25 * strength:
        levels = _blurred(levels, rng.uniform(0.3, 1.1))
    elif rng.random() < 0.25 * strength:
        levels = levels + rng.uniform(0.2, 1.2) * (levels - _blurred(levels, rng.uniform(1, 6)))
    if rng.random() < 0.3 * strength:
        levels = levels + rng.normal(0, rng.uniform(0, 0.05), levels.shape)
    return np.asarray(np.clip(levels, 0, 1) * 255, np.uint8)


def _blurred(levels: NDArray[np.floating], blur_px: float) -> NDArray[np.floating]:
    return np.asarray(cv2.GaussianBlur(levels, (0, 0), blur_px))
