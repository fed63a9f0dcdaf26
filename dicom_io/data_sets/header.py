"""The tags of an instance without its bulk: enough to identify it and to decide whether it is analysed."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from io import BytesIO
from typing import cast

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.data_sets.encoded import MAXIMUM_NESTING, Odd, encoding_of, spans, with_known_representations
from dicom_io.data_sets.nesting import ITEM_HEAD_BYTES, TooManyItemsError, require_few_items
from dicom_io.data_sets.plain_header import interned_tag, plain_header
from dicom_io.data_sets.repertoires import teach_pydicom
from dicom_io.data_sets.representation import read_as_declared

# Odd values are common and must not print patient data as warnings; what we use of a value, we check ourselves.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
teach_pydicom()

DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
"""Transfer syntaxes whose whole data set is deflated: Deflated Explicit VR, JPIP and JPIP HTJ2K Deflate."""
LAST_HEADER_TAG = 0x00409FFF
"""Behind it stand reports, waveforms, functional groups and pixels, and of what decides only `LATER_GROUPS`."""
LATER_GROUPS = frozenset({0x0054, 0x2050})
"""Groups read although they stand behind it: View Code Sequence (0054,0220), Presentation LUT Shape (2050,0020)."""
_ONE_LINE = frozenset({"AE", "AS", "CS", "DA", "LO", "PN", "SH", "TM", "UI"})
"""Value representations whose values are kept as they came, padding apart."""
_US_BYTES = 2
_BETWEEN_VALUES, _BETWEEN_SPELLINGS = b"\\", b"="
"""The latter stands between the ways to write a name."""
MOST_ITEMS = 20_000
"""Of all sequences of a header; reading more would take a sender's patience and the listener's memory."""
INFLATED_HEAD_BYTES = 64 << 20
MAXIMUM_INFLATED_BYTES = 2 << 30
_INFLATE_STEP_BYTES = 1 << 20

PARSE_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    EOFError,
    OSError,
    struct.error,
    BytesLengthException,
)
"""What pydicom raises on bytes that are not DICOM; it has no error class of its own for most of them."""


def parse_header(encoded: bytes | memoryview, transfer_syntax_uid: str) -> Dataset:
    """Return the elements up to (0040,9FFF) and those of `LATER_GROUPS` of a whole encoded data set.

    No preamble and no file meta stand before it.

    Raises
    ------
    NotADataSetError
        These bytes are no data set in this transfer syntax, or have more than `MOST_ITEMS` items before the pixels.
    TruncatedDataSetError
        The data set ends inside an element.
    """
    whole = True
    if transfer_syntax_uid in DEFLATED:
        encoded, whole = inflate_head(encoded)
    implicit, little_endian = encoding_of(transfer_syntax_uid)
    plain = None if implicit or not little_endian else plain_header(encoded, LAST_HEADER_TAG)
    header, first = plain or (None, 0)
    head, later = _head_and_later_bytes(encoded, implicit, little_endian, first, whole=whole)
    if len(head) + len(later) > MOST_ITEMS * ITEM_HEAD_BYTES:  # in fewer bytes there cannot be as many
        _require_few_items(bytes(head) + later, transfer_syntax_uid)
    if header is None:
        try:
            header = read_dataset(BytesIO(head), implicit, little_endian)
        except PARSE_ERRORS as error:
            raise NotADataSetError(f"data set cannot be parsed ({type(error).__name__})") from None
    if later:
        header.update(_later_elements(later, implicit, little_endian))
    return header


def _require_few_items(head: bytes, transfer_syntax_uid: str) -> None:
    try:
        require_few_items(head, transfer_syntax_uid, most_items=MOST_ITEMS, deepest=MAXIMUM_NESTING)
    except TooManyItemsError as error:
        raise NotADataSetError(f"not read: {error}") from None


def _head_and_later_bytes(
    encoded: bytes | memoryview, implicit: bool, little_endian: bool, first: int, *, whole: bool
) -> tuple[bytes | memoryview, bytes]:
    """Return what stands before the bulk and the elements of `LATER_GROUPS`, after a look at all elements.

    Those before byte `first` were looked at already.
    """
    later = bytearray()
    head_ends = len(encoded)
    odd: list[Odd] = []
    try:
        for span in spans(encoded, implicit=implicit, little_endian=little_endian, first=first, odd=odd):
            if span.tag > LAST_HEADER_TAG:
                head_ends = min(head_ends, span.start)
            if span.tag >> 16 in LATER_GROUPS:
                later += with_known_representations(encoded[span.start : span.end], odd, span.start)
    except TruncatedDataSetError:
        if whole:
            raise
    return with_known_representations(encoded[:head_ends], odd), bytes(later)


def _later_elements(later: bytes, implicit: bool, little_endian: bool) -> Dataset:
    try:
        return read_dataset(BytesIO(later), implicit, little_endian)
    except PARSE_ERRORS:  # an object that is otherwise sound is not refused for a view that cannot be read
        return Dataset()


def inflate_head(deflated: bytes | memoryview, kept_bytes: int = INFLATED_HEAD_BYTES) -> tuple[bytes, bool]:
    """Return the first `kept_bytes` of a raw deflate stream (PS3.5 A.5), and whether that is all of it.

    Raises
    ------
    TruncatedDataSetError
        The stream ends early.
    NotADataSetError
        It is no deflate stream, or inflates to more than `MAXIMUM_INFLATED_BYTES`.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head = bytearray()
    total_bytes = 0
    rest: bytes | memoryview = deflated
    try:
        while not inflater.eof:
            piece = inflater.decompress(rest, _INFLATE_STEP_BYTES)
            if not piece and not inflater.eof:
                raise TruncatedDataSetError("deflated data set is cut short")
            rest = inflater.unconsumed_tail
            total_bytes += len(piece)
            head += piece[: max(0, kept_bytes - len(head))]
            if total_bytes > MAXIMUM_INFLATED_BYTES:
                raise NotADataSetError(f"deflated data set grows beyond {MAXIMUM_INFLATED_BYTES} bytes")
    except zlib.error:
        raise NotADataSetError("data set is not a deflate stream, although its transfer syntax says so") from None
    return bytes(head), total_bytes == len(head)


def text(dataset: Dataset, keyword: str) -> str:
    """Return the value of an element as text: empty when absent, empty or unreadable; several values as DICOM writes.

    Never raises, whatever a sender wrote into the element.
    """
    plain = _plain_text(dataset, keyword)
    if plain is not None:
        return plain
    tag = _tag(keyword)
    if tag is not None and not read_as_declared(dataset, tag):
        return ""
    try:
        value = dataset.get(keyword)
        if value is None:
            return ""
        if isinstance(value, (list, pydicom.multival.MultiValue)):
            return "\\".join(str(part) for part in value).strip("\0 ")
        return str(value).strip("\0 ")
    except PARSE_ERRORS:
        return ""


def _plain_text(dataset: Dataset, keyword: str) -> str | None:
    """Return what `text` does of an element that nobody has looked at yet and that is plain; else None.

    Nearly every element that decides is: one value of ASCII, which is the same in every character set (without escape
    sequences). pydicom makes an element of it first, which took a third of the time of judging an image.
    """
    tag = _tag(keyword)
    if tag is None:
        return None
    element = cast(object, dataset.get_item(tag, keep_deferred=True))  # its declared type leaves the raw kind out
    if element is None:
        return ""
    if not isinstance(element, RawDataElement) or element.value is None:
        return None
    if element.VR == "US" and len(element.value) == _US_BYTES:
        return str(int.from_bytes(element.value, "little" if element.is_little_endian else "big"))
    value = element.value.strip(b"\0 ")
    if element.VR not in _ONE_LINE or _BETWEEN_VALUES in value or _BETWEEN_SPELLINGS in value or not value.isascii():
        return None
    plain = value.decode("ascii")
    return plain if plain.isprintable() else None


def is_absent(dataset: Dataset, keyword: str) -> bool:
    """Say whether there is no such element, in a tenth of the time that pydicom takes to return nothing."""
    tag = _tag(keyword)
    return tag is not None and tag not in dataset


@cache
def _tag(keyword: str) -> BaseTag | None:
    number = tag_for_keyword(keyword)
    return None if number is None else interned_tag(number)
