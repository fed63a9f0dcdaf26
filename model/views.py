"""The one or more square parts of a radiograph that a network is shown, and what it says of them together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """Which part of the whole picture a view shows; edges as fractions of its width and height, 0..1."""

    left: float
    top: float
    right: float
    bottom: float
    mirrored: bool = False
    """True: the view shows this part with left and right exchanged."""


WHOLE = Window(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Views:
    """What the network is shown of one radiograph."""

    pixels: NDArray[np.uint8]
    """uint8 [V, S, S], bones bright."""
    windows: tuple[Window, ...]
    """One for each of the V views."""


def combined_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of the views' mean probabilities: float32 [V, 14] -> float32 [14].

    The published test protocols average sigmoids, not logits. Staying in logits keeps calibration what it is
    everywhere else; one view's logits are returned as they are.
    """
    if len(logits) == 1:
        only: NDArray[np.float32] = logits[0]
        return only
    wide = logits.astype(np.float64)
    # log of the sum of p and of 1 - p; the number of views cancels out, and nothing overflows.
    present = np.logaddexp.reduce(-np.logaddexp(0, -wide), axis=0)
    absent = np.logaddexp.reduce(-np.logaddexp(0, wide), axis=0)
    combined: NDArray[np.float32] = (present - absent).astype(np.float32)
    return combined
