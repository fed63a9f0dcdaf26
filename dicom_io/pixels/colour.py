"""Colour images to grey levels: film digitisers and captures send radiographs as RGB or through a palette."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.lookup_table import read_lookup_table
from dicom_io.pixels.sampling import PIXELS, evenly_taken

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601; the Y of YBR_FULL (PS3.3 C.7.6.3.1.2)."""
_PRIMARIES = ("Red", "Green", "Blue")
_BYTE = 0xFF
_NO_COLOUR = 128
"""Of Cb and Cr."""
_LOSSY_LEVELS = 8
"""What lossy coding makes of no colour."""
_GREY, _COLOURED = 0.9, 0.7
"""Share of the pixels without colour: at least in a grey picture, which may have coloured letters; less in others."""


def luma(rgb: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return uint8 [rows, columns] of uint8 RGB [rows, columns, 3]; windows and polarity are for grey images only."""
    return np.asarray(np.rint(rgb @ _LUMA), dtype=np.uint8)


def as_rgb(values: NDArray[np.generic], *, luma_first: bool) -> NDArray[np.generic]:
    """Return RGB of three samples, which are YBR_FULL or RGB as the header says, or as the picture itself does.

    Headers and markers often say one and hold the other, and a grey picture read so is a pale or a dark one. But a grey
    picture has no colours: either all three samples are alike, or the last two are in the middle of their range.

    Parameters
    ----------
    values
        uint8 [rows, columns, 3].
    luma_first
        Whether header or markers say that they are YBR_FULL (PS3.3 C.7.6.3.1.2).
    """
    pixels = evenly_taken(values).astype(np.int16)
    grey_as_rgb = _share_within(pixels[:, 1:] - pixels[:, :1])
    grey_as_luma_first = _share_within(pixels[:, 1:] - _NO_COLOUR)
    stated, other = (grey_as_luma_first, grey_as_rgb) if luma_first else (grey_as_rgb, grey_as_luma_first)
    is_other = other >= _GREY and stated < _COLOURED
    return convert_color_space(values, "YBR_FULL", "RGB") if luma_first != is_other else values


def is_by_plane(stored: bytes | memoryview, pixels: int, *, stated: bool) -> bool:
    """Say whether colours stand plane by plane (PS3.3 C.7.6.3.1.3), as the header or a grey picture itself says.

    Parameters
    ----------
    stored
        At least three bytes a pixel.
    stated
        What the header says.
    """
    samples, step = np.frombuffer(stored, np.uint8, 3 * pixels), max(1, pixels // PIXELS)
    by_plane = _share_without_colour(samples.reshape(3, pixels)[:, ::step].T)
    by_pixel = _share_without_colour(samples.reshape(pixels, 3)[::step])
    as_stated, other = (by_plane, by_pixel) if stated else (by_pixel, by_plane)
    return stated != (other >= _GREY and as_stated < _COLOURED)


def _share_without_colour(pixels: NDArray[np.generic]) -> float:
    samples = pixels.astype(np.int16)
    return max(float(np.mean((samples[:, 1:] == other).all(axis=1))) for other in (samples[:, :1], _NO_COLOUR))


def _share_within(difference: NDArray[np.int16]) -> float:
    return float(np.mean((np.abs(difference) <= _LOSSY_LEVELS).all(axis=1)))


def through_palette(codes: NDArray[np.generic], dataset: Dataset) -> NDArray[np.uint8]:
    """Return uint8 RGB [rows, columns, 3] of palette indices (PS3.3 C.7.9); the high byte of palettes of 16 bits.

    Entries are taken for 8 bits where none needs more, whatever the descriptor says: many are padded to words (the note
    in PS3.3 C.7.6.3.1.6), and a picture of their high bytes would be black.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``: a palette is missing or damaged, or segmented in a way that pydicom does not read.
    """
    every = np.arange(1 << (8 * codes.dtype.itemsize), dtype=np.float64)
    tables = [
        read_lookup_table(dataset, f"{colour}PaletteColorLookupTableDescriptor", f"{colour}PaletteColorLookupTableData")
        for colour in _PRIMARIES
    ]
    entries = [table.output(every).astype(np.int64) for table in tables if table is not None]
    rgb = np.stack(entries, axis=-1) if len(entries) == len(tables) else _segmented(every.size, codes.dtype, dataset)
    table = (rgb >> (8 if rgb.max() > _BYTE else 0)).astype(np.uint8)
    return np.asarray(table[codes])


def _segmented(count: int, kind: np.dtype[np.generic], dataset: Dataset) -> NDArray[np.int64]:
    """Return int64 [count, 3], the entry of every index below `count`, of palettes in segments (PS3.3 C.7.9.2)."""
    if dataset.original_encoding[1] is False:
        raise _unreadable("in big-endian words is not read")
    try:
        entries, first, bits = (int(part) for part in dataset.RedPaletteColorLookupTableDescriptor)
        if bits == 8 and entries > _BYTE + 1:
            raise _unreadable("has more segments of 8 bits than are read")
        indices = np.clip(np.arange(count), first, first + (entries or 1 << 16) - 1).astype(kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of descriptors that disagree with the data
            rgb = apply_color_lut(indices[np.newaxis], dataset)
    except (*PARSE_ERRORS, ZeroDivisionError) as error:  # a segment of no length (PS3.3 C.7.9.2.2)
        raise _unreadable(f"cannot be read ({type(error).__name__})") from None
    return rgb[0, :, :3].astype(np.int64)


def _unreadable(why: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, f"the colour palette {why}")
