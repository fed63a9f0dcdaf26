"""A JPEG 2000 or HTJ2K code stream: what its header says, and whether it is whole (ISO/IEC 15444-1 annex A, -15)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from dicom_io.reasons import ReasonCode, UndecodableError

START = b"\xff\x4f\xff\x51"
"""SOC and SIZ."""
SEARCHED_BYTES = 4096
"""Some senders wrap the stream into a JP2 file, whose boxes come first."""
_COD, _SOT, _SOD, _EOC = 0xFF52, 0xFF90, 0xFF93, 0xFFD9
_NO_PACKET = re.compile(rb"\xff[\x90\x93-\xff]")
"""Bits are stuffed so that no more than 0xFF8F stands in a packet; 0xFF91 and 0xFF92 may mark packets (A.8)."""
_HIGH_THROUGHPUT = 0x4000
"""Bit of Rsiz: the stream uses part 15."""


@dataclass(frozen=True)
class Jpeg2000Stream:
    """What the SIZ and COD markers say."""

    rows: int
    columns: int
    components: int
    precision: int
    """Bits per sample of the first component."""
    signed: bool
    high_throughput: bool
    at_origin: bool
    """The picture begins where the reference grid does, so that every second sample is one of half resolution."""
    decompositions: int
    """How often resolution can be halved."""
    reversible: bool
    """The wavelet is the 5/3 one, else the 9/7 one."""

    @property
    def coding(self) -> str:
        """Name for people."""
        return "HTJ2K" if self.high_throughput else "JPEG 2000"


def read_jpeg2000(stream: bytes) -> Jpeg2000Stream:
    """Read the header and walk the tile parts to the end.

    Raises
    ------
    UndecodableError
        No code stream begins here, its header is damaged, or it is cut short.
    """
    start = _start(stream)
    try:
        length, capabilities, right, bottom, left, top = struct.unpack_from(">HH4I", stream, start + 4)
        components, depth = struct.unpack_from(">HB", stream, start + 40)
    except struct.error:
        raise _damaged("the JPEG 2000 header is cut short") from None
    if length < 41 or right <= left or bottom <= top:
        raise _damaged("the JPEG 2000 header is damaged")
    _require_whole(stream, start + 4 + length)
    decompositions, reversible = _coding_style(stream, start + 4 + length)
    return Jpeg2000Stream(
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=depth > 0x7F,
        high_throughput=bool(capabilities & _HIGH_THROUGHPUT),
        at_origin=left == top == 0,
        decompositions=decompositions,
        reversible=reversible,
    )


def code_stream(stream: bytes) -> bytes:
    """Return the code stream without the boxes of a JP2 file, whose colour spaces DICOM ignores (PS3.5 A.4.4).

    Raises
    ------
    UndecodableError
        No code stream begins here.
    """
    return stream[_start(stream) :]


def _start(stream: bytes) -> int:
    start = stream.find(START, 0, SEARCHED_BYTES)
    if start < 0:
        raise _damaged("the frame is no JPEG, JPEG-LS or JPEG 2000 code stream")
    return start


def _require_whole(stream: bytes, position: int) -> None:
    """Walk main header and tile parts (A.4.2) to the end marker."""
    while position + 4 <= len(stream):
        marker, length_bytes = struct.unpack_from(">HH", stream, position)
        if marker == _EOC:
            return
        if marker < 0xFF00:
            raise _damaged(f"no marker at byte {position}; the JPEG 2000 stream is damaged")
        if marker != _SOT:
            position += 2 + max(length_bytes, 2)
            continue
        if position + 12 > len(stream):
            break
        (tile_part_bytes,) = struct.unpack_from(">I", stream, position + 6)
        if tile_part_bytes == 0:  # the last one, up to the end of the stream
            whole = stream.rstrip(b"\0")
            if whole.endswith(b"\xff\xd9"):
                _require_packets(stream, position, len(whole) - 2)
                return
            break
        _require_packets(stream, position, position + tile_part_bytes)
        position += max(tile_part_bytes, 14)
    if stream[position : position + 2] != b"\xff\xd9":
        raise _damaged("the JPEG 2000 stream ends without an end marker; it was cut short")


def _require_packets(stream: bytes, position: int, end: int) -> None:
    """Raise where the body of a tile part holds codes that the coding never makes, as noise does."""
    while position + 4 <= end:
        marker, length_bytes = struct.unpack_from(">HH", stream, position)
        if marker == _SOD:
            break
        position += 2 + max(length_bytes, 2)
    if _NO_PACKET.search(stream, position + 2, end):
        raise _damaged("the JPEG 2000 data hold a code that cannot be there; they are damaged")


def _coding_style(stream: bytes, position: int) -> tuple[int, bool]:
    """Return levels of decomposition and the wavelet (A.6.1); none where the main header does not say."""
    while position + 14 <= len(stream):
        marker, length_bytes = struct.unpack_from(">HH", stream, position)
        if marker == _COD:
            return stream[position + 9], stream[position + 13] == 1
        if marker == _SOT:
            break
        position += 2 + max(length_bytes, 2)
    return 0, False


def _damaged(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNDECODABLE, what)
