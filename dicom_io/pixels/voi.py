"""The VOI a picture is shown with: its first VOI LUT or window that shows it, else percentiles (PS3.3 C.11.2).

Some headers hold a window that shows nothing of the picture: that of another processing, one in stored values where
rescaled ones are meant, or one for 16 bits where 10 are used. Then all is black, or white, and no finding is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import items, numbers
from dicom_io.data_sets.header import text
from dicom_io.pixels.lookup_table import read_lookup_table
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sampling import evenly_taken

FALLBACK_PERCENTILES = (0.5, 99.5)
"""Window taken when the header has no usable one."""
MAXIMUM_CHOICES = 8
"""Of each kind; devices write one to four."""
_LEVELS = 256
_NARROWEST, _FEWEST_LEVELS = 32, 16
"""Grey levels that a picture must span from its 1st to its 99th percentile, and have. Of 7,137 public chest films the
palest spans 90; one within 16 passes for blank or unfamiliar."""
_LEAST_BETWEEN = 0.05
"""Share of a picture that must be neither black nor white; of the same films the hardest has 0.45."""
_PLAIN_VALUES = 64
"""A picture with fewer is blank."""
_NOISY = 0.8
"""Mean step from one of the pixels looked at to the next, in mean deviations: noise has 1.3 and more, the roughest of
the same films 0.6."""
_COUNTED_AT_ONCE = 1 << 20
_BORDER = 0.125
"""Share of the pixels from which on one value is a border, on which nothing depends."""


@dataclass(frozen=True)
class Voi:
    """How modality values become grey levels."""

    grey: NDArray[np.float64]
    """Per stored code, 0..1."""
    words: str
    """For people; see `dicom_io.pixels.grey_scale.GreyScale.voi`."""
    fallback: bool = False
    """Made of percentiles."""
    passed_over: bool = False
    """Another one comes first in the header, and shows nothing."""


def choose_voi(
    modality: NDArray[np.float64],
    codes: NDArray[np.generic],
    padded: NDArray[np.bool_],
    dataset: Dataset,
    layout: PixelLayout,
    *,
    as_stored: bool,
) -> Voi:
    """Return the first VOI LUT or else the first window that shows the picture, all of 8 bits, or percentiles.

    Parameters
    ----------
    modality
        float64 [2**bits_stored]: output of the modality LUT for each stored code.
    codes
        uint8 or uint16 as decoded, in any shape.
    padded
        bool [2**bits_stored]: codes that are no part of the picture.
    as_stored
        The modality LUT changes nothing.
    """
    picture = evenly_taken(codes)
    picture = _without_border(picture[~padded[picture]])
    passed_over = False
    for voi in _stated(modality, dataset):
        if _shows(voi.grey, picture) or _is_blank(modality[picture]):
            return replace(voi, passed_over=passed_over)
        passed_over = True
    if layout.bits_stored <= 8 and not layout.signed and as_stored:  # made for the screen, window or not
        grey = np.arange(modality.size) / max(modality.size - 1, 1)
        return Voi(grey, f"all of {layout.bits_stored} bits", passed_over=passed_over)
    return replace(_percentile_window(modality, codes, padded), passed_over=passed_over)


def _shows(grey: NDArray[np.float64], picture: NDArray[np.generic]) -> bool:
    """Say whether a picture is seen: enough of it neither black nor white, and over enough grey levels."""
    counts = np.bincount((grey[picture] * (_LEVELS - 1)).astype(np.intp), minlength=_LEVELS)
    low, high = np.searchsorted(np.cumsum(counts), (0.01 * picture.size, 0.99 * picture.size))
    between = counts[1:-1]
    is_spread = high - low >= _NARROWEST and np.count_nonzero(between) >= _FEWEST_LEVELS
    return bool(is_spread and between.sum() >= _LEAST_BETWEEN * picture.size)


def _is_blank(values: NDArray[np.float64]) -> bool:
    """Say whether there are hardly any values, or noise alone: they would be seen no better otherwise."""
    if np.unique(values).size < _PLAIN_VALUES:
        return True
    return bool(np.abs(np.diff(values)).mean() > _NOISY * np.abs(values - values.mean()).mean())


def _without_border(picture: NDArray[np.generic]) -> NDArray[np.generic]:
    counts = np.bincount(picture.astype(np.intp))
    border = int(counts.argmax()) if counts.size else 0
    return picture[picture != border] if counts.size and counts[border] >= _BORDER * picture.size else picture


def _stated(modality: NDArray[np.float64], dataset: Dataset) -> Iterator[Voi]:
    """Yield what the header holds, usable ones alone, VOI LUTs first."""
    for number, item in enumerate(items(dataset, "VOILUTSequence")[:MAXIMUM_CHOICES], 1):
        table = read_lookup_table(item)
        if table is not None:
            words = f"LUT{_which(number)} of {len(table.entries)} entries"
            yield Voi(table.output(modality) / table.largest_output, words)
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    windows = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    for number, (center, width) in enumerate([*windows][:MAXIMUM_CHOICES], 1):
        grey = _through_window(modality, center, width, function)
        if grey is not None:
            yield Voi(grey, f"window{_which(number)} {center:g} / {width:g} {function}")


def _which(number: int) -> str:
    return f" no. {number}" if number > 1 else ""


def _through_window(
    modality: NDArray[np.float64], center: float, width: float, function: str
) -> NDArray[np.float64] | None:
    """Return 0..1 by PS3.3 C.11.2.1.2 or C.11.2.1.3; None where function or width are none."""
    with np.errstate(over="ignore"):
        if function == "SIGMOID" and width > 0:
            return np.asarray(1 / (1 + np.exp(-4 * (modality - center) / width)))
        if function == "LINEAR_EXACT" and width > 0:
            return np.clip((modality - center) / width + 0.5, 0, 1)
        if function == "LINEAR" and width > 1:
            return np.clip((modality - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
        if function == "LINEAR" and width == 1:
            return (modality > center - 0.5).astype(np.float64)
    return None


def _percentile_window(modality: NDArray[np.float64], codes: NDArray[np.generic], padded: NDArray[np.bool_]) -> Voi:
    counts, flat = np.zeros(modality.size, np.int64), codes.ravel()
    for start in range(0, flat.size, _COUNTED_AT_ONCE):  # as NumPy's integers, they take eight times their room
        part = flat[start : start + _COUNTED_AT_ONCE].astype(np.intp)
        counts += np.bincount(part, minlength=modality.size)
    shown = np.where(padded, 0, counts)
    low, high = _percentiles(modality, shown if shown.any() else counts)
    grey = np.clip((modality - low) / max(high - low, 1e-6), 0, 1)
    return Voi(grey, f"percentiles {FALLBACK_PERCENTILES[0]:g} and {FALLBACK_PERCENTILES[1]:g}", fallback=True)


def _percentiles(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return `FALLBACK_PERCENTILES` of the pixels, as ``numpy.percentile`` of them all gives, from their histogram."""
    order = np.argsort(values, kind="stable")
    up_to = np.cumsum(counts[order])
    found = []
    for percent in FALLBACK_PERCENTILES:
        rank = percent / 100 * (up_to[-1] - 1)
        below, above = (values[order[np.searchsorted(up_to, whole, side="right")]] for whole in _neighbours(rank))
        found.append(float(below + (above - below) * (rank % 1)))
    return found[0], found[1]


def _neighbours(rank: float) -> tuple[int, int]:
    return int(np.floor(rank)), int(np.ceil(rank))
