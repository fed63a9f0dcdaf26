"""Samples that no code stream holds: as they are in Pixel Data or in a fragment, or deflated (PS3.5 8.1, 8.2.16)."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_io.data_sets.encoded import EXPLICIT_VR_BIG_ENDIAN
from dicom_io.data_sets.header import text
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.colour import as_rgb, is_by_plane
from dicom_io.pixels.pixel_layout import PixelLayout

_PADDING_BYTES = 1
"""Behind a frame of odd length."""


def is_size_of_samples(length_bytes: int, layout: PixelLayout) -> bool:
    """Say whether so many bytes are those of the picture, perhaps with one that makes them even."""
    return 0 <= length_bytes - _expected_bytes(layout) <= _PADDING_BYTES


def read_samples(
    stored: bytes | memoryview, dataset: Dataset, layout: PixelLayout, transfer_syntax_uid: str
) -> NDArray[np.generic]:
    """Return the samples of a picture that is not compressed, unsigned, of shape `layout.shape`.

    Parameters
    ----------
    stored
        The picture, perhaps with something behind it.
    transfer_syntax_uid
        Says the order of the bytes; one without compression and without fragments.

    Raises
    ------
    UndecodableError
        ``undecodable``: too few bytes; ``unsupported_pixels``: enough for two pictures.
    ValueError, NotImplementedError
        pydicom does not read the colours.
    """
    expected_bytes = _expected_bytes(layout)
    if len(stored) < expected_bytes:
        raise UndecodableError(ReasonCode.UNDECODABLE, "pixel data are shorter than rows x columns")
    if len(stored) >= max(2 * expected_bytes, expected_bytes + _PADDING_BYTES + 1):
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS, "pixel data are at least twice as long as the header says"
        )
    big_endian = transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN
    if layout.samples_per_pixel == 3 or (big_endian and layout.bits_allocated == 8):
        return _pydicom(stored, dataset, layout, UID(transfer_syntax_uid))
    kind = np.dtype(f"{'>' if big_endian else '<'}u{layout.bits_allocated // 8}")
    return np.frombuffer(stored, kind, layout.rows * layout.columns).reshape(layout.shape)


def inflated(frame: bytes, layout: PixelLayout) -> bytes:
    """Return the samples that a deflated frame (RFC 1951) holds.

    The coding has no checksum; a decoder that has lost its place mostly ends too early or too late.

    Raises
    ------
    UndecodableError
        ``undecodable``: it is no deflate stream, ends early, or holds more or less than the picture.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    expected_bytes = _expected_bytes(layout)
    try:
        samples = inflater.decompress(frame, expected_bytes + _PADDING_BYTES + 1)
    except zlib.error:
        raise UndecodableError(ReasonCode.UNDECODABLE, "the frame is no deflate stream, or damaged") from None
    if not is_size_of_samples(len(samples), layout):
        raise UndecodableError(ReasonCode.UNDECODABLE, "the deflated frame holds more or less than the header says")
    if not inflater.eof or any(inflater.unused_data):
        raise UndecodableError(ReasonCode.UNDECODABLE, "the deflated frame does not end with its data")
    return samples


def _expected_bytes(layout: PixelLayout) -> int:
    return (
        layout.decoded_bytes * 2 // 3 if layout.photometric_interpretation == "YBR_FULL_422" else layout.decoded_bytes
    )


def _planar_configuration(stored: bytes | memoryview, dataset: Dataset, layout: PixelLayout) -> int:
    stated = int(text(dataset, "PlanarConfiguration") or 0)
    if stated not in (0, 1) or len(stored) < layout.decoded_bytes:  # fewer bytes: YBR_FULL_422, which has no planes
        return stated
    return int(is_by_plane(stored, layout.rows * layout.columns, stated=stated == 1))


def _pydicom(stored: bytes | memoryview, dataset: Dataset, layout: PixelLayout, syntax: UID) -> NDArray[np.generic]:
    """Decode what needs no codec with pydicom's own Python, from a copy that says only what `layout` does."""
    interpretation = layout.photometric_interpretation
    if len(stored) >= layout.decoded_bytes and interpretation == "YBR_FULL_422":
        interpretation = "YBR_FULL"  # as many samples of colour as of luma: what a decompressor left there
    plain = Dataset()
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = syntax
    plain.Rows, plain.Columns = layout.rows, layout.columns
    plain.SamplesPerPixel, plain.PhotometricInterpretation = layout.samples_per_pixel, interpretation
    if layout.samples_per_pixel == 3:
        plain.PlanarConfiguration = _planar_configuration(stored, dataset, layout)
    plain.BitsAllocated, plain.BitsStored, plain.HighBit = (
        layout.bits_allocated,
        layout.bits_stored,
        layout.bits_stored - 1,
    )
    plain.PixelRepresentation = int(layout.signed)
    plain.PixelData = bytes(stored)
    plain["PixelData"].VR = dataset["PixelData"].VR
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of (excess padding, odd bit depths), we check ourselves
        values, _ = get_decoder(syntax).as_array(plain, index=0, raw=True)
    return as_rgb(values, luma_first=interpretation.startswith("YBR_FULL")) if values.ndim == 3 else values
