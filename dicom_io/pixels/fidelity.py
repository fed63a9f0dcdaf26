"""How faithfully a picture is decoded: a site's choice between the last grey level and time."""

from __future__ import annotations

from enum import StrEnum


class Decoding(StrEnum):
    """How much of a picture is decoded."""

    EXACT = "exact"
    """All of it."""
    FAST = "fast"
    """JPEG 2000 and HTJ2K at half resolution where that is nearly the same (see `half_resolution`), all of the rest."""
