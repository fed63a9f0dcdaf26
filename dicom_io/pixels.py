"""A radiograph as the network and the overlay see it: uint8, bones bright (PS3.3 C.11.1, C.11.2, C.7.5.1.1.2).

Every step up to 8 bits depends on the stored value alone, so it is worked out once per possible value in float64 and
looked up per pixel: exact, and many times faster than float arithmetic over the frame.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from dicom_io.decoding import UndecodableError, decode_stored_values, sample_bits
from dicom_io.header import text
from dicom_io.reasons import ReasonCode

__all__ = ["Radiograph", "UndecodableError", "read_radiograph"]

FALLBACK_PERCENTILES = (0.5, 99.5)
"""Window taken when the header has no usable one."""
_LUMA = np.array([0.299, 0.587, 0.114])
_BAD_VALUE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError)


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
    """Of the decoded stored values as little-endian uint16: equal for lossless copies in any transfer syntax."""


def read_radiograph(source: Path | Dataset) -> Radiograph:
    """Decode one single-frame image and take it to 8 bits with bones bright.

    Parameters
    ----------
    source
        A DICOM file, or its data set with file meta.

    Raises
    ------
    UndecodableError
        See `decode_stored_values`; also when the file is no DICOM file.
    """
    dataset = source if isinstance(source, Dataset) else _read(source)
    values = decode_stored_values(dataset)
    try:
        pixels, voi_fallback = _luma(values, dataset) if values.ndim == 3 else _to_grey(values, dataset)
    except _BAD_VALUE as error:
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS, f"grey scale attributes cannot be read ({type(error).__name__})"
        ) from None
    return Radiograph(pixels, voi_fallback, pixels.shape[0], pixels.shape[1], _sha256(values, dataset))


def _read(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path)
    except (pydicom.errors.InvalidDicomError, EOFError, ValueError, OSError, KeyError, AttributeError) as error:
        raise UndecodableError(
            ReasonCode.UNDECODABLE, f"file cannot be read as DICOM ({type(error).__name__})"
        ) from error


def _sha256(values: NDArray[np.generic], dataset: Dataset) -> str:
    if values.ndim == 2 and int(dataset.get("PixelRepresentation") or 0) == 1:
        values = _signed(values.astype(np.int32), sample_bits(dataset))
    return hashlib.sha256(np.ascontiguousarray(values, "<u2").data).hexdigest()


def _signed(codes: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    return np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes).astype(np.int32)


def _luma(values: NDArray[np.generic], dataset: Dataset) -> tuple[NDArray[np.uint8], bool]:
    grey = np.rint(values @ _LUMA).astype(np.uint8)  # ITU-R BT.601
    return _through_table(grey, np.arange(256, dtype=np.int32), dataset)


def _to_grey(values: NDArray[np.generic], dataset: Dataset) -> tuple[NDArray[np.uint8], bool]:
    bits = sample_bits(dataset)
    codes = np.arange(1 << bits, dtype=np.int32)
    stored = _signed(codes, bits) if int(dataset.get("PixelRepresentation") or 0) == 1 else codes
    return _through_table(values, stored, dataset)


def _through_table(
    values: NDArray[np.generic], stored: NDArray[np.int32], dataset: Dataset
) -> tuple[NDArray[np.uint8], bool]:
    """Map raw codes [rows, columns] to grey, where `stored[code]` is the stored value of each code."""
    padding = _padding(stored, dataset)
    modality = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    grey = _voi_lut(modality, values, dataset)
    if grey is None:
        grey = _window(modality, dataset)
    voi_fallback = grey is None
    if grey is None:
        grey = _percentile_window(modality, values, padding)
    if _inverted(dataset):
        grey = 1 - grey
    table = np.rint(np.where(padding, 0, grey) * 255).astype(np.uint8)
    return table[values], voi_fallback


def _padding(stored: NDArray[np.int32], dataset: Dataset) -> NDArray[np.bool_]:
    """Mark stored values between PixelPaddingValue and PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None or int(dataset.SamplesPerPixel) != 1:
        return np.zeros(stored.shape, bool)
    first = int(dataset.PixelPaddingValue)
    limit = dataset.get("PixelPaddingRangeLimit")
    last = first if limit is None else int(limit)
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _voi_lut(
    modality: NDArray[np.float64], values: NDArray[np.generic], dataset: Dataset
) -> NDArray[np.float64] | None:
    """Apply the first VOI LUT (PS3.3 C.11.2.1.1); None without a usable one."""
    sequence = dataset.get("VOILUTSequence")
    if not sequence:
        return None
    entries, first, bits = (int(part) for part in sequence[0].LUTDescriptor)
    raw = sequence[0].LUTData
    lut = np.frombuffer(raw, "<u2") if isinstance(raw, bytes) else np.atleast_1d(np.asarray(raw))
    lut = (lut.astype(np.int64) & 0xFFFF)[: entries or 65536]
    if first >= 32768 and modality[values].min() < 0:
        first -= 65536  # written unsigned, meant signed
    largest = (1 << bits) - 1
    if lut.max() > largest or lut.max() < largest // 2:  # the descriptor's bits disagree with the data
        largest = (1 << int(lut.max()).bit_length()) - 1
    index = np.clip(np.rint(modality).astype(np.int64) - first, 0, len(lut) - 1)
    return np.asarray(lut[index] / max(largest, 1))


def _window(modality: NDArray[np.float64], dataset: Dataset) -> NDArray[np.float64] | None:
    """Apply the first window (PS3.3 C.11.2.1.2, C.11.2.1.3); None without a usable one."""
    try:
        center, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
    except _BAD_VALUE:
        return None
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    if center is None or width is None or not np.isfinite([center, width]).all():
        return None
    if function == "SIGMOID" and width > 0:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-4 * (modality - center) / width)))
    if function == "LINEAR_EXACT" and width > 0:
        return np.asarray(np.clip((modality - center) / width + 0.5, 0, 1))
    if function == "LINEAR" and width > 1:
        return np.asarray(np.clip((modality - (center - 0.5)) / (width - 1) + 0.5, 0, 1))
    if function == "LINEAR" and width == 1:
        return (modality > center - 0.5).astype(np.float64)
    return None


def _first_number(dataset: Dataset, keyword: str) -> float | None:
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        return None
    return float(value[0]) if isinstance(value, (list, pydicom.multival.MultiValue)) else float(value)


def _percentile_window(
    modality: NDArray[np.float64], values: NDArray[np.generic], padding: NDArray[np.bool_]
) -> NDArray[np.float64]:
    shown = values[~padding[values]] if padding.any() else values
    low, high = np.percentile(modality[shown if shown.size else values], FALLBACK_PERCENTILES)
    return np.asarray(np.clip((modality - low) / max(high - low, 1e-6), 0, 1))


def _inverted(dataset: Dataset) -> bool:
    shape = text(dataset, "PresentationLUTShape")
    if shape in ("INVERSE", "IDENTITY"):
        return shape == "INVERSE"
    return text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
