"""Saliency: a class activation map stretched over the radiograph it came from.

A map always covers the whole picture. Where the network saw it whole, squashed to a square, the network's own cells
do; where it was shown crops, their maps are first laid where the crops lie.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.views import WHOLE, Window

_CELLS_OF_CROPS = 28
"""Cells per side of a map laid together from crops: four for each of the network's own at 224 px, so that a crop's edge
moves by an eighth of a cell of its own at most."""


def over_whole_picture(maps: NDArray[np.float32], windows: tuple[Window, ...]) -> NDArray[np.float32]:
    """Return the maps of several views as maps of the whole picture.

    Parameters
    ----------
    maps
        Class activation maps of each view, float32 [V, 14, h, w].
    windows
        Where each of the V views lies.

    Returns
    -------
    float32 [14, h, w] as it is, for one view of the whole picture; else float32 [14, 28, 28]: the mean of the views
    that show a place, 0 where none does.
    """
    if windows == (WHOLE,):
        whole: NDArray[np.float32] = maps[0]
        return whole
    total: NDArray[np.floating] = np.zeros((maps.shape[1], _CELLS_OF_CROPS, _CELLS_OF_CROPS), np.float32)
    seen: NDArray[np.floating] = np.zeros((_CELLS_OF_CROPS, _CELLS_OF_CROPS), np.float32)
    for view, window in zip(maps, windows, strict=True):
        rows = _placed(window.top, window.bottom, view.shape[1])  # [28, h]
        columns = _placed(window.left, window.right, view.shape[2])  # [28, w]
        upright = view[:, :, ::-1] if window.mirrored else view
        total += rows @ upright @ columns.T
        seen += rows.sum(1)[:, None] * columns.sum(1)  # each row's weights add up to 1 inside the window, to 0 outside
    placed: NDArray[np.float32] = (total / np.maximum(seen, 1)).astype(np.float32)
    return placed


def _placed(start: float, end: float, cells: int) -> NDArray[np.float32]:
    """Return the weights [28, cells] that lay a view's cells between two fractions of the whole; 0 outside them."""
    centres = (np.arange(_CELLS_OF_CROPS) + 0.5) / _CELLS_OF_CROPS
    position = (centres - start) / (end - start) * cells - 0.5
    inside = (centres >= start) & (centres < end)
    return _weights(position, cells) * inside[:, None].astype(np.float32)


def saliency(map: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return where the network saw a finding, per pixel.

    Parameters
    ----------
    map
        Class activation map of one finding, float32 [h, w] over the whole picture, in logits per cell; any sign.
    shape
        Rows and columns of the picture to cover, in px.

    Returns
    -------
    float32 [H, W] in 0..1: bilinear between cell centres, evidence against the finding cut to 0, the peak exactly 1;
    all 0 where the map holds no evidence for the finding.
    """
    rows = _interpolation(shape[0], map.shape[0])  # [H, h]
    columns = _interpolation(shape[1], map.shape[1])  # [W, w]
    stretched: NDArray[np.float32] = rows @ map.astype(np.float32) @ columns.T
    np.maximum(stretched, 0, out=stretched)
    peak = stretched.max()
    if peak > 0:
        stretched /= peak
    return stretched


def _interpolation(size_px: int, cells: int) -> NDArray[np.float32]:
    """Return the weights [size_px, cells] of linear interpolation; pixels beyond the outer centres take their value.

    Cell k's centre lies at pixel coordinate ``(k + 0.5) * size_px / cells`` (half-pixel centres, as Pillow and OpenCV).
    """
    return _weights((np.arange(size_px) + 0.5) * cells / size_px - 0.5, cells)


def _weights(position: NDArray[np.floating], cells: int) -> NDArray[np.float32]:
    """Return the weights [N, cells] of linear interpolation at N positions, in cells; beyond the ends the end's."""
    distance = np.abs(np.clip(position, 0, cells - 1)[:, None] - np.arange(cells)[None, :])
    weights: NDArray[np.float32] = np.maximum(0, 1 - distance).astype(np.float32)
    return weights
