"""Colour images to grey levels: film digitisers and captures send radiographs as RGB or through a palette."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.foundation.reasons import ReasonCode, UndecodableError

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601; the Y of YBR_FULL (PS3.3 C.7.6.3.1.2)."""


def luma(rgb: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return uint8 [rows, columns] of uint8 RGB [rows, columns, 3]; windows and polarity are for grey images only."""
    return np.asarray(np.rint(rgb @ _LUMA), dtype=np.uint8)


def through_palette(codes: NDArray[np.generic], dataset: Dataset) -> NDArray[np.uint8]:
    """Return uint8 RGB [rows, columns, 3] of palette indices (PS3.3 C.7.9); the high byte of palettes of 16 bits.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``: a palette is missing or damaged, or in big-endian words, which pydicom does not swap.
    """
    if dataset.original_encoding[1] is False:
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, "a colour palette in big-endian words is not read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of descriptors that disagree with the data
            rgb = apply_color_lut(codes, dataset)
    except (*PARSE_ERRORS, ZeroDivisionError) as error:  # a segment of no length (PS3.3 C.7.9.2.2)
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS, f"the colour palette cannot be read ({type(error).__name__})"
        ) from None
    return (rgb[..., :3] >> (8 * (rgb.dtype.itemsize - 1))).astype(np.uint8)
