"""One picture file to grey levels: PNG and JPEG as downloads have them, DICOM as the worker reads it."""

from __future__ import annotations

import stat
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from training.data.picture_files import PICTURE_SUFFIXES

GREY_TOLERANCE = 4.0
"""Mean difference between the channels, in grey levels, that JPEG leaves in a grey picture at most."""
BLANK_STD_GREY_LEVELS = 2.0
"""A picture that varies less than this (of 255) shows nothing; the worker refuses it."""
_CHANNELS = {"L": 1, "1": 1, "LA": 2, "RGB": 3, "P": 3, "YCbCr": 3, "RGBA": 4, "CMYK": 4}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises on files that are no whole picture; it has no error class of its own for them."""


class UnreadablePictureError(Exception):
    """The file holds no whole picture that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """One decoded file and what is worth knowing about it."""

    pixels: NDArray[np.uint8]
    """uint8 [H, W], bones bright."""
    channels: int
    """1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""
    coloured: bool
    """True: the channels differ, as in a screenshot or a photograph."""
    source_bytes: int
    source_crc32: int
    """Of the whole file."""

    @property
    def blank(self) -> bool:
        """Return whether it shows nothing."""
        return float(self.pixels.std()) < BLANK_STD_GREY_LEVELS


def read_picture(path: Path) -> SourcePicture:
    """Decode one file; the suffix tells pictures from DICOM files.

    Raises
    ------
    UnreadablePictureError
        The file is gone, cut short, damaged, not of 8 bits, or no picture.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for without end
            raise UnreadablePictureError("is a folder, a pipe or a device, not a file")
        encoded = path.read_bytes()
    except OSError as error:
        raise UnreadablePictureError(f"cannot be read: {error.strerror}") from error
    if is_dicom(path):
        pixels, channels, coloured = _decode_dicom(path), 1, False
    else:
        pixels, channels, coloured = _decode_picture(encoded)
    return SourcePicture(pixels, channels, coloured, len(encoded), zlib.crc32(encoded))


def is_dicom(path: Path) -> bool:
    """Return whether a file is read as DICOM: everything that is no picture by its suffix."""
    return path.suffix.lower() not in PICTURE_SUFFIXES


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Return uint8 [H, W] of one file, as ``read_picture`` does.

    Raises
    ------
    UnreadablePictureError
    """
    return read_picture(path).pixels


def _decode_picture(encoded: bytes) -> tuple[NDArray[np.uint8], int, bool]:
    """Return grey levels, channels and whether they differ; some originals are RGBA with equal channels."""
    try:
        with Image.open(BytesIO(encoded)) as image:
            image.verify()  # a PNG's checksums, which loading alone does not compare
        with Image.open(BytesIO(encoded)) as image:
            if image.mode not in _CHANNELS:
                raise UnreadablePictureError(f"mode {image.mode} is not 8-bit grey or RGB")
            return np.array(image.convert("L")), _CHANNELS[image.mode], _coloured(image)
    except UnidentifiedImageError as error:
        raise UnreadablePictureError("its bytes are those of no picture that Pillow knows") from error
    except _BROKEN as error:
        raise UnreadablePictureError(f"damaged or cut short: {error or type(error).__name__}") from error


def _coloured(image: Image.Image) -> bool:
    if _CHANNELS[image.mode] < 3:
        return False
    levels = np.asarray(image.convert("RGB"))
    spread = np.ptp(levels, axis=2)
    return float(spread.mean()) > GREY_TOLERANCE


def _decode_dicom(path: Path) -> NDArray[np.uint8]:
    from dicom_io.pixels.radiograph import (  # its codecs take a second to load; PNG needs none
        UndecodableError,
        read_radiograph,
    )

    try:
        return read_radiograph(path).pixels
    except UndecodableError as error:
        raise UnreadablePictureError(f"{error.reason_code}: {error}") from error
