"""A DICOM file read into memory, bounded and whole (PS3.10 7): no file may cost more than a radiograph can be worth."""

from __future__ import annotations

import hashlib
import os
from io import SEEK_CUR, BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from dicom_io.data_sets.element_head import (
    UNDEFINED_LENGTH,
    NotADataSetError,
    TruncatedDataSetError,
    read_element,
)
from dicom_io.data_sets.encoded import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    Odd,
    encoding_of,
    spans,
    with_known_representations,
)
from dicom_io.data_sets.file_meta import HEAD_BYTES, PREAMBLE_BYTES, is_dicom_file
from dicom_io.data_sets.header import DEFLATED, PARSE_ERRORS, inflate_head, text
from dicom_io.foundation.reasons import ReasonCode, UndecodableError

MAXIMUM_FILE_BYTES = 512 << 20
"""The largest image that is decoded has 300 MB uncompressed."""
_FILE_META_GROUP = 2
_PIXEL_DATA = Tag("PixelData")
_HASHED_AT_ONCE_BYTES = 1 << 18
"""Small enough for what was just read to be hashed out of the processor's own cache."""
_READ_FIRST_BYTES = 64 << 20
"""Of a file whose header is wanted: more than nearly all have, and less than is too much to hold."""
_LONGEST_META_BYTES = 1 << 20
"""Of the head of a file that we wrote ourselves: it has 400 bytes."""
_FIRST_PIXEL_TAG = 0x7FE00000


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


def read_hashed(path: Path) -> tuple[bytes, str]:
    """Read the bytes of a file and their SHA-256 (hex): a sixth faster than one after the other for a radiograph.

    Raises
    ------
    OSError, UndecodableError
        See `read_whole`.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAXIMUM_FILE_BYTES:
            raise _too_large()
        memory, digest, read = BytesIO(), hashlib.sha256(), 0
        memory.seek(max(size - 1, 0))
        memory.write(b"\0")  # room for all, which `getvalue` then gives away without a copy
        with memory.getbuffer() as whole:
            while count := file.readinto(whole[read : read + _HASHED_AT_ONCE_BYTES]):
                digest.update(whole[read : read + count])
                read += count
    memory.truncate(read)
    return memory.getvalue(), digest.hexdigest()


def parse_dicom(raw: bytes, path: Path = Path()) -> FileDataset:
    """Read the bytes of a DICOM file that may be called ``path``; Pixel Data of stated length are a view of them.

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


def read_dicom_header(path: Path) -> FileDataset:
    """Read what stands before the pixel data in a DICOM file of any size; it was looked at when it was received.

    Raises
    ------
    OSError
        The file cannot be read.
    NotADataSetError, TruncatedDataSetError
        It is no DICOM file, or ends before the pixel data or inside an element there.
    """
    with path.open("rb") as file:  # never mapped: a disk error there ends the process (SIGBUS)
        size = os.fstat(file.fileno()).st_size
        raw = file.read(min(size, _READ_FIRST_BYTES))
        if not is_dicom_file(raw):
            raise NotADataSetError("the file has no DICM prefix")
        meta, syntax, begins_at = _file_meta(raw[:_LONGEST_META_BYTES])
        try:
            head = _before_pixels(memoryview(raw)[begins_at:], syntax, whole=len(raw) == size)
        except TruncatedDataSetError:
            rest = file.read()
            if not rest:
                raise
            raw += rest
            head = _before_pixels(memoryview(raw)[begins_at:], syntax, whole=True)
    implicit, little_endian = encoding_of(syntax)
    dataset: Dataset = read_dataset(BytesIO(head), implicit, little_endian)
    return FileDataset(str(path), dataset, raw[:PREAMBLE_BYTES], meta, implicit, little_endian)


def _before_pixels(encoded: memoryview, syntax: str, *, whole: bool) -> bytes:
    inflated: bytes | memoryview = inflate_head(encoded, MAXIMUM_FILE_BYTES)[0] if syntax in DEFLATED else encoded
    implicit, little_endian = encoding_of(syntax)
    odd: list[Odd] = []
    ends_at = 0
    for span in spans(inflated, implicit=implicit, little_endian=little_endian, odd=odd):
        if span.tag >= _FIRST_PIXEL_TAG:
            break
        ends_at = span.end
    else:
        if not whole:
            raise TruncatedDataSetError("the pixel data begin behind what was read of the file")
    return bytes(with_known_representations(inflated[:ends_at], odd))


def _file_meta(head: bytes) -> tuple[FileMetaDataset, str, int]:
    """Return the file meta information, the transfer syntax, and the byte at which the data set begins."""
    file = BytesIO(head)
    file.seek(HEAD_BYTES)
    elements = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != _FILE_META_GROUP)
    meta = FileMetaDataset(elements)
    return meta, text(meta, "TransferSyntaxUID") or IMPLICIT_VR_LITTLE_ENDIAN, file.tell()


def _parse(raw: bytes, path: Path) -> FileDataset:
    meta, syntax, begins_at = _file_meta(raw)
    if begins_at == len(raw):
        raise TruncatedDataSetError("nothing follows the file meta information")
    encoded = raw
    if syntax in DEFLATED:
        encoded, whole = inflate_head(raw[begins_at:], MAXIMUM_FILE_BYTES)
        if not whole:
            raise _too_large()
        begins_at = 0
    implicit, little_endian = encoding_of(syntax)
    dataset: Dataset = read_dataset(_Encoded(encoded, begins_at, implicit, little_endian), implicit, little_endian)
    return FileDataset(str(path), dataset, raw[:PREAMBLE_BYTES], meta, implicit, little_endian)


class _Encoded(BytesIO):
    """A data set in memory as pydicom can read it, whose Pixel Data of stated length are read without a copy.

    Parameters
    ----------
    content, begins_at
        Bytes of a file, and at which of them the data set begins.

    Raises
    ------
    NotADataSetError, TruncatedDataSetError
        It is no run of whole elements, see `dicom_io.data_sets.encoded.spans`.
    """

    def __init__(self, content: bytes, begins_at: int, implicit: bool, little_endian: bool) -> None:
        encoded = memoryview(content)[begins_at:]  # a copy would take a third of reading it
        odd: list[Odd] = []
        pixel_data_at = None
        for tag, start, _end in spans(encoded, implicit=implicit, little_endian=little_endian, odd=odd):
            pixel_data_at = start if tag == _PIXEL_DATA else pixel_data_at
        if odd:
            content, begins_at = bytes(with_known_representations(encoded, odd)), 0
            encoded = memoryview(content)
        super().__init__(content)
        self.seek(begins_at)
        self._value, self._value_at = encoded[:0], -1
        if pixel_data_at is not None:
            element = read_element(encoded, pixel_data_at, implicit, little_endian)
            if element.length_bytes != UNDEFINED_LENGTH:
                self._value = encoded[element.value_at : element.value_at + element.length_bytes]
                self._value_at = begins_at + element.value_at

    def read(self, size: int | None = -1, /) -> bytes:
        if size == len(self._value) and self.tell() == self._value_at:
            self.seek(size, SEEK_CUR)
            return self._value  # type: ignore[return-value]
        return super().read(size)


def _too_large() -> UndecodableError:
    return UndecodableError(ReasonCode.TOO_LARGE, f"the file is larger than {MAXIMUM_FILE_BYTES >> 20} MiB")
