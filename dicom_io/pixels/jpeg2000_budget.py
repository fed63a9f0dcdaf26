"""What a JPEG 2000 stream would cost to decode, known from its header: parts are cheap to announce and dear to keep.

Decoders reserve memory for every tile, precinct and code block before they read one. A stream of a hundred bytes may
announce millions of them, where those of radiographs have some thousand (ISO/IEC 15444-1 A.5.1, A.6.1, B.3, B.6).
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_io.foundation.reasons import ReasonCode, UndecodableError

COD, COC = 0xFF52, 0xFF53
"""Coding style of all components, and of one."""
MAXIMUM_TILES = 16_384
MAXIMUM_PRECINCTS = 65_536
"""Each takes a decoder about 2 kB; 100 million pixels in precincts of 64 x 64 are 32,000."""
MAXIMUM_CODE_BLOCKS = 1 << 20
_MAXIMUM_DECOMPOSITIONS = 32
_WHOLE = 0xFF
"""Precincts as large as can be, which is meant where no size stands."""


@dataclass(frozen=True)
class TileGrid:
    """The picture on its reference grid, and how it is cut."""

    columns: int
    rows: int
    tiles_across: int
    tiles_down: int

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.tiles_across * self.tiles_down


def require_affordable_tiles(grid: TileGrid) -> None:
    """Raise where there are more tiles than any radiograph is cut into.

    Raises
    ------
    UndecodableError
    """
    if grid.tiles > MAXIMUM_TILES:
        raise _too_dear(f"{grid.tiles} tiles")


def require_affordable_style(marker: int, segment: bytes, grid: TileGrid) -> None:
    """Raise where a coding style divides the picture into more parts than can be kept.

    Parameters
    ----------
    marker
        `COD` or `COC`.
    segment
        Without marker and length; of a stream with fewer than 257 components.

    Raises
    ------
    UndecodableError
        Also where the segment is damaged.
    """
    style, parameters = (segment[:1], segment[5:]) if marker == COD else (segment[1:2], segment[2:])
    if len(parameters) < 5 or not style or parameters[0] > _MAXIMUM_DECOMPOSITIONS:
        raise UndecodableError(ReasonCode.UNDECODABLE, "the coding style of the JPEG 2000 stream is damaged")
    decompositions = parameters[0]
    sizes = parameters[5:] if style[0] & 1 else b""
    precincts = sum(
        _parts(grid, decompositions - resolution, sizes[resolution] if resolution < len(sizes) else _WHOLE)
        for resolution in range(decompositions + 1)
    )
    if precincts > MAXIMUM_PRECINCTS:
        raise _too_dear(f"about {precincts} precincts")
    block_pixels = 1 << ((parameters[1] & 0x0F) + 2 + (parameters[2] & 0x0F) + 2)
    if grid.columns * grid.rows // block_pixels > MAXIMUM_CODE_BLOCKS:
        raise _too_dear("too many code blocks")


def _parts(grid: TileGrid, halvings: int, size: int) -> int:
    """Return at most how many precincts there are at one resolution, tiles cutting some in two."""
    across = ((grid.columns - 1 >> halvings) >> (size & 0x0F)) + 1 + grid.tiles_across
    down = ((grid.rows - 1 >> halvings) >> (size >> 4)) + 1 + grid.tiles_down
    return across * down


def _too_dear(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNDECODABLE, f"the JPEG 2000 stream has {what}, more than a picture needs")
