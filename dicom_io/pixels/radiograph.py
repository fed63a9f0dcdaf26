"""A radiograph as the network and the overlay see it: uint8, bones bright."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.foundation.reasons import UndecodableError
from dicom_io.pixels.colour import luma, through_palette
from dicom_io.pixels.decoding import Frame, decode_frame, jpeg2000_frame
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.grey_scale import GreyScale, read_grey_scale
from dicom_io.pixels.half_resolution import enlarged, half_resolution_codes, suits
from dicom_io.pixels.pixel_layout import MONOCHROME, PALETTE

__all__ = ["Decoding", "Radiograph", "UndecodableError", "read_radiograph"]


@dataclass(frozen=True)
class Radiograph:
    """One decoded image."""

    pixels: NDArray[np.uint8]
    """[rows, columns], 0..255, bones bright, padding 0."""
    voi_fallback: bool
    """True: no usable window or VOI LUT in the header; percentiles were taken, which is less reliable."""
    rows: int
    columns: int
    pixel_sha256: str
    """Of the decoded stored values as little-endian uint16: equal for lossless copies in any transfer syntax, if all of
    the picture was decoded."""
    coding: str
    """What was decoded, for people: ``uncompressed``, ``RLE``, ``JPEG Lossless``, ``JPEG 2000`` ..."""
    half_resolution: bool
    """True: decoded at half resolution and enlarged."""
    grey_scale: GreyScale | None
    """What was done to the stored values; None for colour, of which the luma is taken."""


def read_radiograph(source: Path | Dataset, decoding: Decoding = Decoding.EXACT) -> Radiograph:
    """Decode one single-frame image and take it to 8 bits with bones bright.

    Parameters
    ----------
    source
        A DICOM file, or its data set with file meta.
    decoding
        Training always decodes exactly.

    Raises
    ------
    UndecodableError
        See `decode_frame` and `read_grey_scale`; also when the file is no DICOM file.
    """
    dataset = source if isinstance(source, Dataset) else read_dicom_file(source)
    fast = _half_resolution(dataset) if decoding is Decoding.FAST else None
    if fast is not None:
        return fast
    frame = decode_frame(dataset)
    if frame.layout.samples_per_pixel == 3:
        return _radiograph(luma(frame.values), frame, None)
    if frame.layout.photometric_interpretation == PALETTE:
        return _radiograph(luma(through_palette(frame.values, dataset)), frame, None)
    outside = frame.outside
    image = frame.values if outside is None else frame.values[~outside]
    grey_scale = read_grey_scale(image, frame.layout, dataset)
    pixels = grey_scale.grey_levels(frame.values)
    if outside is not None:
        pixels[outside] = 0
    return _radiograph(pixels, frame, grey_scale)


def _half_resolution(dataset: Dataset) -> Radiograph | None:
    """Return the picture made of half its resolution, or None where it is not nearly the same."""
    encoded = jpeg2000_frame(dataset)
    if encoded is None:
        return None
    frame, layout = encoded
    found = half_resolution_codes(frame, layout) if layout.photometric_interpretation in MONOCHROME else None
    if found is None:
        return None
    codes, stream = found
    grey_scale = read_grey_scale(codes, layout, dataset)
    if not suits(grey_scale):
        return None
    pixels = enlarged(grey_scale.grey_levels(codes), layout, stream)
    return _radiograph(pixels, Frame(codes, layout, stream.coding), grey_scale, half_resolution=True)


def _radiograph(
    pixels: NDArray[np.uint8], frame: Frame, grey_scale: GreyScale | None, *, half_resolution: bool = False
) -> Radiograph:
    fallback = grey_scale is not None and grey_scale.voi_fallback
    rows, columns = pixels.shape
    return Radiograph(pixels, fallback, rows, columns, _sha256(frame), frame.coding, half_resolution, grey_scale)


def _sha256(frame: Frame) -> str:
    values = frame.values
    if values.ndim == 2 and frame.layout.signed:  # the sign bit goes up to bit 15, as in an int16 array
        sign = np.uint16(1 << (frame.layout.bits_stored - 1))
        values = (values.astype(np.uint16) ^ sign) - sign
    return hashlib.sha256(np.ascontiguousarray(values, "<u2").data).hexdigest()
