"""From stored values to grey levels: modality LUT, VOI, polarity, padding (PS3.3 C.11.1, C.11.2, C.7.5.1.1.2).

Every step depends on the stored value alone, so it is worked out once per possible value in float64 and looked up per
pixel: exact, and many times faster than arithmetic over the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import items, numbers
from dicom_io.data_sets.header import text
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.lookup_table import read_lookup_table
from dicom_io.pixels.padding import hides_all, stored_padding
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.voi import choose_voi

LARGEST_RESCALE = 1e12
"""Slopes and intercepts of radiographs are small numbers; beyond this, arithmetic loses its digits."""


@dataclass(frozen=True)
class GreyScale:
    """What was done to the stored values of one image."""

    table: NDArray[np.uint8]
    """uint8 [2**bits_stored]: the grey level, bones bright, of each possible stored code."""
    modality: str
    """For people: ``none``, ``2 x + -1000``, ``LUT of 4096 entries``."""
    voi: str
    """For people: ``LUT of 4096 entries``, ``window 2048 / 4096 LINEAR``, ``window no. 2 550 / 1024 LINEAR``,
    ``percentiles ...``, ``all of 8 bits``."""
    voi_fallback: bool
    """True: no usable window or VOI LUT in the header; percentiles were taken, which is less reliable."""
    voi_passed_over: bool
    """True: whoever shows the image by the first one of its header sees another picture, or nothing."""
    inverted: bool
    polarity: str
    """Which element said so, such as ``MONOCHROME1``."""
    padding: tuple[int, int] | None
    """First and last stored value that is shown black because it is no part of the image."""

    def grey_levels(self, codes: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the grey level of every stored code, uint8 in the shape of `codes`.

        Parameters
        ----------
        codes
            uint8 or uint16 [rows, columns] without bits above BitsStored (`dicom_io.pixels.decoding.Frame.values`).
        """
        whole = np.zeros(1 << (8 * codes.dtype.itemsize), np.uint8)  # OpenCV wants an entry for every value of the type
        whole[: self.table.size] = self.table
        return np.asarray(cv2.LUT(np.ascontiguousarray(codes), whole), dtype=np.uint8)


def read_grey_scale(codes: NDArray[np.generic], layout: PixelLayout, dataset: Dataset) -> GreyScale:
    """Work out the grey level of every possible stored code of a monochrome image.

    Parameters
    ----------
    codes
        uint8 or uint16 as decoded, in any shape; the fallback window is taken from them.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``: the modality LUT or the rescale values cannot be used, so that no window has a meaning.
    """
    stored = _stored_values(layout)
    padding = stored_padding(layout, dataset)
    if padding is not None and hides_all(codes, _within(stored, padding)):
        padding = None
    padded = _within(stored, padding)
    modality, modality_words = _modality(stored, layout, dataset)
    voi = choose_voi(modality, codes, padded, dataset, layout, as_stored=modality_words == "none")
    inverted, polarity = _polarity(layout, dataset)
    grey = 1 - voi.grey if inverted else voi.grey
    table = np.rint(np.where(padded, 0, grey) * 255).astype(np.uint8)
    return GreyScale(table, modality_words, voi.words, voi.fallback, voi.passed_over, inverted, polarity, padding)


def _stored_values(layout: PixelLayout) -> NDArray[np.int64]:
    codes = np.arange(1 << layout.bits_stored, dtype=np.int64)
    return np.where(codes >= codes.size // 2, codes - codes.size, codes) if layout.signed else codes


def _within(stored: NDArray[np.int64], padding: tuple[int, int] | None) -> NDArray[np.bool_]:
    first, last = padding or (1, 0)
    return (stored >= first) & (stored <= last)


def _modality(stored: NDArray[np.int64], layout: PixelLayout, dataset: Dataset) -> tuple[NDArray[np.float64], str]:
    """Return the modality output per stored code, and what was done; a sequence wins over slope and intercept."""
    sequence = items(dataset, "ModalityLUTSequence")
    if sequence:
        table = read_lookup_table(sequence[0])
        if table is None:
            raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, "the Modality LUT cannot be read")
        return table.output(stored.astype(np.float64)), f"LUT of {len(table.entries)} entries"
    slope = _single(dataset, "RescaleSlope", 1.0)
    intercept = _single(dataset, "RescaleIntercept", 0.0)
    if max(abs(slope), abs(intercept)) > LARGEST_RESCALE:
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, "slope or intercept is beyond all measure")
    if slope == 0:  # every pixel would be the intercept, and a radiograph be taken for a blank picture
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, "RescaleSlope is 0")
    modality = stored.astype(np.float64) * slope + intercept
    return modality, "none" if (slope, intercept) == (1, 0) else f"{slope:g} x + {intercept:g}"


def _single(dataset: Dataset, keyword: str, default: float) -> float:
    if not text(dataset, keyword):
        return default
    found = numbers(dataset, keyword)
    if not found:
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, f"{keyword} is not a number")
    return found[0]


def _polarity(layout: PixelLayout, dataset: Dataset) -> tuple[bool, str]:
    """Return whether to invert, decided once: the presentation shape where there is one, else the photometric one."""
    shape = text(dataset, "PresentationLUTShape").upper()
    if shape in ("INVERSE", "IDENTITY"):
        return shape == "INVERSE", f"PresentationLUTShape {shape}"
    return layout.photometric_interpretation == "MONOCHROME1", layout.photometric_interpretation
