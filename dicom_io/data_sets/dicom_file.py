"""A DICOM file read into memory, bounded and whole (PS3.10 7): no file may cost more than a radiograph can be worth."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset

from dicom_io.data_sets.encoded import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    NotADataSetError,
    TruncatedDataSetError,
    encoding_of,
    require_complete,
)
from dicom_io.data_sets.file_meta import HEAD_BYTES, PREAMBLE_BYTES, is_dicom_file
from dicom_io.data_sets.header import DEFLATED, PARSE_ERRORS, inflate_head, text
from dicom_io.foundation.reasons import ReasonCode, UndecodableError

MAXIMUM_FILE_BYTES = 512 << 20
"""The largest image that is decoded has 300 MB uncompressed."""
_FILE_META_GROUP = 2


def read_dicom_file(path: Path) -> FileDataset:
    """Read a DICOM file with its pixel data.

    Raises
    ------
    OSError
        The file cannot be read.
    UndecodableError
        ``undecodable``: it is no DICOM file, or ends inside an element. ``too_large``: it, or what it inflates to, is
        larger than `MAXIMUM_FILE_BYTES`.
    """
    return parse_dicom(read_whole(path), path)


def read_whole(path: Path) -> bytes:
    """Read the bytes of a file of whose size nothing is known.

    Raises
    ------
    OSError
        The file cannot be read.
    UndecodableError
        ``too_large``: it is larger than `MAXIMUM_FILE_BYTES`.
    """
    if path.stat().st_size > MAXIMUM_FILE_BYTES:
        raise _too_large()
    return path.read_bytes()


def parse_dicom(raw: bytes, path: Path = Path()) -> FileDataset:
    """Read the bytes of a DICOM file that may be called ``path``.

    Raises
    ------
    UndecodableError
        See `read_dicom_file`.
    """
    if len(raw) > MAXIMUM_FILE_BYTES:
        raise _too_large()
    if not is_dicom_file(raw):
        raise UndecodableError(ReasonCode.UNDECODABLE, "file cannot be read as DICOM (no DICM prefix)")
    try:
        return _parse(raw, path)
    except (NotADataSetError, TruncatedDataSetError) as error:
        raise UndecodableError(ReasonCode.UNDECODABLE, f"file cannot be read as DICOM: {error}") from None
    except PARSE_ERRORS as error:
        raise UndecodableError(
            ReasonCode.UNDECODABLE, f"file cannot be read as DICOM ({type(error).__name__})"
        ) from None


def _parse(raw: bytes, path: Path) -> FileDataset:
    file = BytesIO(raw)
    file.seek(HEAD_BYTES)
    elements = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != _FILE_META_GROUP)
    meta = FileMetaDataset(elements)
    encoded: bytes | memoryview = memoryview(raw)[file.tell() :]  # a copy would take a third of reading it
    if not encoded:
        raise TruncatedDataSetError("nothing follows the file meta information")
    syntax = text(meta, "TransferSyntaxUID") or IMPLICIT_VR_LITTLE_ENDIAN
    if syntax in DEFLATED:
        encoded, whole = inflate_head(bytes(encoded), MAXIMUM_FILE_BYTES)
        if not whole:
            raise _too_large()
        file = BytesIO(encoded)
    implicit, little_endian = encoding_of(syntax)
    require_complete(encoded, implicit=implicit, little_endian=little_endian)
    dataset: Dataset = read_dataset(file, implicit, little_endian)
    return FileDataset(str(path), dataset, raw[:PREAMBLE_BYTES], meta, implicit, little_endian)


def _too_large() -> UndecodableError:
    return UndecodableError(ReasonCode.TOO_LARGE, f"the file is larger than {MAXIMUM_FILE_BYTES >> 20} MiB")
