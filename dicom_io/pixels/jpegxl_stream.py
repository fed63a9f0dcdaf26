"""A JPEG XL stream: what its header says (ISO/IEC 18181-1 annexes D and E, 18181-2 clause 9; PS3.5 8.2.15).

libjxl sees by itself where a stream ends early. What it would make of the header is checked before memory is spent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sample_bits import require_announced

_BARE = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
"""Signature box."""
_MAXIMUM_BOXES = 4096
_LEAST_HEADER_BYTES = 64
"""Of a code stream; what is read of it takes less than 40."""
_SIDE = ((9, 1), (13, 1), (18, 1), (30, 1))
"""Bits and offset of each way to write a number of pixels (SizeHeader)."""
_SHAPES = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Columns to rows of ratios 1 to 7."""
_GREY = 1


@dataclass(frozen=True)
class JpegXlStream:
    """What the header says; defaults are those of one that says nothing but the size."""

    rows: int
    columns: int
    components: int = 3
    precision: int = 8
    """Bits per sample."""
    perceptual: bool = True
    """Coded in the colour space XYB: lossy, and turned into what was encoded when it is decoded."""
    holds_jpeg: bool = False
    """A JPEG was recompressed, and can be had back to the byte."""


class _Bits:
    """Reads numbers from bytes whose lowest bits come first.

    Raises
    ------
    UndecodableError
        There are no more.
    """

    def __init__(self, source: bytes) -> None:
        self._value = int.from_bytes(source, "little")
        self._left = 8 * len(source)

    def number(self, bits: int) -> int:
        """Return the next unsigned number of so many bits."""
        if bits > self._left:
            raise _damaged("the JPEG XL header is cut short")
        value = self._value & ((1 << bits) - 1)
        self._value >>= bits
        self._left -= bits
        return value

    def flag(self) -> bool:
        """Return the next bit."""
        return self.number(1) == 1

    def choice(self, ways: tuple[tuple[int, int], ...]) -> int:
        """Return a number written in one of four ways, each with bits and an offset (U32)."""
        bits, offset = ways[self.number(2)]
        return offset + self.number(bits)


def is_jpegxl(frame: bytes) -> bool:
    """Say whether a JPEG XL code stream or container begins so."""
    return frame.startswith((_BARE, CONTAINER))


def read_jpegxl(frame: bytes, layout: PixelLayout) -> JpegXlStream:
    """Read the header and compare it with what `layout` says.

    Raises
    ------
    UndecodableError
        The header is damaged, or holds something else than one plain picture of what `layout` says: another size,
        several frames, samples that are no integers, further channels, or a picture to be turned.
    """
    head, boxes = _first_bytes(frame)
    found = _header(head, b"jbrd" in boxes)
    require_announced(found.rows, found.columns, found.components, found.precision, layout)
    return found


def _first_bytes(frame: bytes) -> tuple[bytes, set[bytes]]:
    """Return the beginning of the code stream, and which boxes stand around it."""
    if not frame.startswith(CONTAINER):
        return frame[:_LEAST_HEADER_BYTES], set()
    head, kinds = b"", set()
    for kind, content_at, end in _boxes(frame):
        kinds.add(kind)
        content_at += 4 if kind == b"jxlp" else 0  # the number of the part
        if kind in (b"jxlc", b"jxlp") and len(head) < _LEAST_HEADER_BYTES:
            head += frame[content_at : min(end, content_at + _LEAST_HEADER_BYTES)]
    return head, kinds


def _boxes(frame: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin of the content, and end of each box."""
    position = 0
    for _ in range(_MAXIMUM_BOXES):
        if len(frame) - position < 8:
            return
        length_bytes, kind = struct.unpack_from(">I4s", frame, position)
        content_at = position + 8
        if length_bytes == 1 and len(frame) - content_at >= 8:
            (length_bytes,) = struct.unpack_from(">Q", frame, content_at)
            content_at += 8
        end = position + length_bytes if length_bytes else len(frame)
        if end < content_at:
            return
        yield kind, content_at, end
        position = end


def _header(head: bytes, holds_jpeg: bool) -> JpegXlStream:
    if not head.startswith(_BARE):
        raise _damaged("no JPEG XL code stream is in its container")
    bits = _Bits(head[len(_BARE) :])
    rows, columns = _size(bits)
    if bits.flag():  # nothing else is said
        return JpegXlStream(rows, columns, holds_jpeg=holds_jpeg)
    if bits.flag():
        _require_plain(bits)
    if bits.flag():
        raise _unusual("samples that are no integers")
    precision = bits.choice(((0, 8), (0, 10), (0, 12), (6, 1)))
    bits.flag()  # whether 16 bits are enough to calculate with
    if bits.choice(((0, 0), (0, 1), (4, 2), (12, 1))):
        raise _unusual("further channels")
    perceptual = bits.flag()
    is_grey = False
    if not bits.flag():  # the colours are not those of a screen
        bits.flag()  # whether there is a colour profile
        is_grey = bits.choice(((0, 0), (0, 1), (4, 2), (6, 18))) == _GREY
    return JpegXlStream(rows, columns, 1 if is_grey else 3, precision, perceptual, holds_jpeg)


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.flag()  # both sides are multiples of 8
    rows = 8 * (1 + bits.number(5)) if small else bits.choice(_SIDE)
    ratio = bits.number(3)
    if ratio:
        across, down = _SHAPES[ratio - 1]
        return rows, rows * across // down
    return rows, 8 * (1 + bits.number(5)) if small else bits.choice(_SIDE)


def _require_plain(bits: _Bits) -> None:
    """Pass over the size that a viewer should show; refuse what makes another picture of the samples."""
    if bits.number(3):
        raise _unusual("a picture to be turned")
    if bits.flag():
        _size(bits)
    if bits.flag():
        raise _unusual("a preview")
    if bits.flag():
        raise _unusual("several frames")


def _unusual(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, f"the JPEG XL stream holds {what}")


def _damaged(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNDECODABLE, f"{what}; it was cut short or damaged")
