"""The one frame inside encapsulated pixel data (PS3.5 A.4), also where the offset table is missing or wrong."""

from __future__ import annotations

import struct

from dicom_io.data_sets.encoded import fragment_end
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.jpegxl_stream import CONTAINER as JPEGXL_CONTAINER

MAXIMUM_FRAGMENTS = 1 << 20
"""Some senders cut a frame every kilobyte; each fragment takes memory of its own, even an empty one."""
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_CODE_STREAM_STARTS = (
    b"\xff\xd8\xff",  # SOI and a further marker: JPEG, JPEG-LS
    b"\xff\x4f\xff\x51",  # SOC and SIZ: JPEG 2000
    b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a",  # signature box of a JP2 file
    JPEGXL_CONTAINER,
)


def begins_with_item(stored: bytes | memoryview) -> bool:
    """Say whether the first fragment, or the offset table, may stand here."""
    return stored[: len(_ITEM)] == _ITEM


def is_code_stream(frame: bytes | memoryview) -> bool:
    """Say whether a code stream begins here that cannot be taken for anything else; a bare one of JPEG XL can be."""
    return bytes(frame[: max(map(len, _CODE_STREAM_STARTS))]).startswith(_CODE_STREAM_STARTS)


def single_frame(encapsulated: bytes) -> bytes:
    """Return all fragments of single-frame pixel data, joined.

    The Basic Offset Table is not needed for one frame and not looked at: wrong ones are common. Where a sender left it
    out, so that the first item is the only one or already a code stream, that item belongs to the frame. Empty
    fragments add nothing, and a missing sequence delimiter is no loss. Fragments of odd length are taken where the next
    one begins behind them, or one byte further on.

    Raises
    ------
    UndecodableError
        The value is no sequence of items, an item reaches beyond the end, or nothing is in them.
    """
    fragments = _fragments(encapsulated)
    if not fragments:
        raise UndecodableError(ReasonCode.UNDECODABLE, "encapsulated pixel data hold no fragment")
    no_table = len(fragments) == 1 or is_code_stream(fragments[0])
    frame = b"".join(fragments if no_table else fragments[1:])
    if not frame:
        raise UndecodableError(ReasonCode.UNDECODABLE, "the fragments of the encapsulated pixel data are empty")
    return frame


def _fragments(encapsulated: bytes) -> list[bytes]:
    fragments: list[bytes] = []
    position = 0
    while len(encapsulated) - position >= 8:
        tag = encapsulated[position : position + 4]
        (length_bytes,) = struct.unpack_from("<I", encapsulated, position + 4)
        position += 8
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM:
            raise UndecodableError(ReasonCode.UNDECODABLE, f"no item begins at byte {position - 8} of the pixel data")
        if length_bytes > len(encapsulated) - position:
            raise UndecodableError(ReasonCode.UNDECODABLE, "a fragment reaches beyond the end of the pixel data")
        if len(fragments) >= MAXIMUM_FRAGMENTS:
            raise UndecodableError(ReasonCode.UNDECODABLE, f"pixel data in more than {MAXIMUM_FRAGMENTS} fragments")
        fragments.append(encapsulated[position : position + length_bytes])
        position = fragment_end(encapsulated, position, length_bytes)
    return fragments
