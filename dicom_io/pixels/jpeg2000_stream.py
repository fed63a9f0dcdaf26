"""A JPEG 2000 or HTJ2K code stream: what its header says, and whether it is whole (ISO/IEC 15444-1 annex A, -15)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.jpeg2000_budget import COC, COD, TileGrid, require_affordable_style, require_affordable_tiles
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sample_bits import require_announced

START = b"\xff\x4f\xff\x51"
"""SOC and SIZ."""
SEARCHED_BYTES = 4096
"""Some senders wrap the stream into a JP2 file, whose boxes come first."""
MAXIMUM_SEGMENTS = 1 << 17
"""Tile parts and markers before them; the standard allows 65,535 tiles."""
_SOT, _SOD, _EOC = 0xFF90, 0xFF93, 0xFFD9
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


def read_jpeg2000(stream: bytes, layout: PixelLayout) -> Jpeg2000Stream:
    """Read the header, compare it with what `layout` says, and walk the tile parts to the end.

    Raises
    ------
    UndecodableError
        No code stream begins here, it does not hold what `layout` says, its header is damaged, it is cut short, a tile
        is missing, or it is cut into more parts than a decoder can keep.
    """
    start = _start(stream)
    try:
        length, capabilities, *sides = struct.unpack_from(">HH8I", stream, start + 4)
        components, depth = struct.unpack_from(">HB", stream, start + 40)
    except struct.error:
        raise _damaged("the JPEG 2000 header is cut short") from None
    right, bottom, left, top = sides[:4]
    if length < 41 or right <= left or bottom <= top:
        raise _damaged("the JPEG 2000 header is damaged")
    precision = (depth & 0x7F) + 1
    require_announced(bottom - top, right - left, components, precision, layout)
    grid = _tile_grid(sides)
    require_affordable_tiles(grid)
    decompositions, reversible = _walk(stream, start + 4 + length, grid)
    return Jpeg2000Stream(
        rows=grid.rows,
        columns=grid.columns,
        components=components,
        precision=precision,
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


def _tile_grid(sides: list[int]) -> TileGrid:
    """Return how Xsiz, Ysiz, XOsiz, YOsiz, XTsiz, YTsiz, XTOsiz and YTOsiz cut the picture (B.3)."""
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = sides
    if not (tile_width and tile_height and tile_left <= left < tile_left + tile_width):
        raise _damaged("the tiles of the JPEG 2000 stream are damaged")
    if not tile_top <= top < tile_top + tile_height:
        raise _damaged("the tiles of the JPEG 2000 stream are damaged")
    across, down = -(-(right - tile_left) // tile_width), -(-(bottom - tile_top) // tile_height)
    return TileGrid(right - left, bottom - top, across, down)


def _walk(stream: bytes, position: int, grid: TileGrid) -> tuple[int, bool]:
    """Walk main header and tile parts (A.4.2) to the end marker; return decompositions and whether reversible."""
    style = (0, False)
    tiles: set[int] = set()
    for _ in range(MAXIMUM_SEGMENTS):
        if position + 4 > len(stream):
            break
        marker, length_bytes = struct.unpack_from(">HH", stream, position)
        if marker == _EOC:
            break
        if marker < 0xFF00:
            raise _damaged(f"no marker at byte {position}; the JPEG 2000 stream is damaged")
        if marker == _SOT:
            if position + 12 > len(stream):
                break
            position = _tile_part(stream, position, grid, tiles)
            continue
        if marker in (COD, COC):
            require_affordable_style(marker, stream[position + 4 : position + 2 + length_bytes], grid)
        if marker == COD:
            style = stream[position + 9], stream[position + 13] == 1
        position += 2 + max(length_bytes, 2)
    if stream[position : position + 2] != b"\xff\xd9":
        raise _damaged("the JPEG 2000 stream ends without an end marker; it was cut short")
    if len(tiles) < grid.tiles:
        raise _damaged(f"the JPEG 2000 stream holds {len(tiles)} of {grid.tiles} tiles")
    return style


def _tile_part(stream: bytes, position: int, grid: TileGrid, tiles: set[int]) -> int:
    """Check a tile part, note its tile, and return where the next one or the end marker stands."""
    tile, length_bytes = struct.unpack_from(">HI", stream, position + 4)
    if tile >= grid.tiles:
        raise _damaged(f"the JPEG 2000 stream holds tile {tile} of {grid.tiles}")
    tiles.add(tile)
    end = position + max(length_bytes, 14) if length_bytes else len(stream.rstrip(b"\0")) - 2  # 0: up to the end marker
    for _ in range(MAXIMUM_SEGMENTS):
        marker, length_bytes = struct.unpack_from(">HH", stream, position) if position + 4 <= end else (_SOD, 0)
        if marker == _SOD:
            break
        if marker in (COD, COC):
            require_affordable_style(marker, stream[position + 4 : position + 2 + length_bytes], grid)
        position += 2 + max(length_bytes, 2)
    if _NO_PACKET.search(stream, position + 2, end):
        raise _damaged("the JPEG 2000 data hold a code that cannot be there; they are damaged")
    return end


def _damaged(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNDECODABLE, what)
