"""Saliency: a class activation map stretched over the radiograph it came from.

The network saw the whole picture squashed to a square, so the map covers the whole picture too: no offset, no crop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def saliency(map: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return where the network saw a finding, per pixel.

    Parameters
    ----------
    map
        Class activation map of one finding, float32 [h, w] (7 x 7 at 224 px), in logits per cell; any sign.
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
    position = np.clip((np.arange(size_px) + 0.5) * cells / size_px - 0.5, 0, cells - 1)
    distance = np.abs(position[:, None] - np.arange(cells)[None, :])
    weights: NDArray[np.float32] = np.maximum(0, 1 - distance).astype(np.float32)
    return weights
