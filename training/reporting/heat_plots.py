"""Where a network found its evidence, for the top class and for all classes of a few pictures. PNG bytes.

Notation: N pictures, K outputs, h = w cells of the maps.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.cam import saliency

_COLUMNS = 8


def heat_plot(
    pictures: NDArray[np.uint8],
    maps: NDArray[np.float32],
    probabilities: NDArray[np.floating],
    labels: tuple[str, ...],
) -> bytes:
    """Draw a block for each picture: as it is, the class with the highest probability, then every class.

    Parameters
    ----------
    pictures
        uint8 [N, S, S].
    maps
        float32 [N, K, h, w].
    probabilities
        [N, K].
    """
    lines = -(-(len(labels) + 2) // _COLUMNS)
    height = lines * len(pictures)
    figure = Figure(figsize=(1.9 * _COLUMNS, 2.1 * height))
    figure.subplots_adjust(0, 0, 1, 0.98, wspace=0.03, hspace=0.1)
    for row, picture in enumerate(pictures):
        top = int(probabilities[row].argmax())
        cells = [(None, "as it is"), (top, f"top: {_said(labels, probabilities[row], top)}")]
        cells += [(column, _said(labels, probabilities[row], column)) for column in range(len(labels))]
        for place, (column, title) in enumerate(cells):
            axis = figure.add_subplot(height, _COLUMNS, row * lines * _COLUMNS + place + 1)
            _draw(axis, picture, None if column is None else maps[row, column])
            axis.set_title(title, fontsize=7)
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def _said(labels: tuple[str, ...], probabilities: NDArray[np.floating], column: int) -> str:
    return f"{labels[column]} {probabilities[column]:.0%}"


def _draw(axis: Any, picture: NDArray[np.uint8], map_: NDArray[np.float32] | None) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    if map_ is not None:
        heat = saliency(map_, (picture.shape[0], picture.shape[1]))
        axis.imshow(heat, cmap="inferno", alpha=heat * 0.6)
    axis.set_axis_off()
