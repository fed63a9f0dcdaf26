"""Bits of decoded samples: what a code stream holds against what the header says (PS3.5 8.1.1, 8.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sampling import some_rows

_ROWS = 256
"""Looked at, each of them whole, because the neighbours count."""
_FEW = 0.01
"""Share of the samples above which values beyond the stored bits are no slips of the device."""
_FEWEST_EDGES = 16
"""Steps that must be compared to tell a picture from chance."""
_SMOOTHER = 2
"""How many times smaller the steps of a picture must be with the upper bits, for these to be a part of it."""
OVERSHOOT = 4
"""Wavelets and lossy coding take samples beyond the stored values by at most a quarter of their range."""


def require_announced(rows: int, columns: int, components: int, precision: int, layout: PixelLayout) -> None:
    """Refuse a code stream that would decode to something else than the header says, before memory is spent on it.

    Raises
    ------
    UndecodableError
    """
    if (rows, columns) != (layout.rows, layout.columns):
        raise UndecodableError(
            ReasonCode.UNDECODABLE,
            f"the code stream is {rows} x {columns}, the header says {layout.rows} x {layout.columns}",
        )
    if components != layout.samples_per_pixel or not 1 < precision <= layout.bits_allocated:
        raise UndecodableError(
            ReasonCode.UNDECODABLE,
            f"the code stream has {components} components of {precision} bits, the header says"
            f" {layout.samples_per_pixel} in {layout.bits_allocated}",
        )


def unsigned(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the same bits, of any shape, as unsigned integers in native byte order."""
    return values.astype(values.dtype.newbyteorder("=").str.replace("i", "u"), copy=False)


def with_sign_of_stream(values: NDArray[np.generic], precision: int, layout: PixelLayout) -> NDArray[np.generic]:
    """Carry the sign bit of a stream with fewer bits than BitsStored up to the sign bit of the stored value.

    Parameters
    ----------
    values
        Integers of any shape, with or without a sign.
    precision
        Bits of a sample in the stream.

    Returns
    -------
    Unsigned, as wide as allocated, the same shape; negative values in two's complement. ``values`` themselves where
    the stream has all bits.
    """
    if precision >= layout.bits_stored:
        return values
    codes = without_high_bits(values.astype(f"u{layout.bits_allocated // 8}"), precision)
    if not layout.signed:
        return codes
    sign = np.array(1 << (precision - 1), codes.dtype)
    return np.asarray((codes ^ sign) - sign)  # modulo the width of the array: two's complement


def without_overshoot(
    values: NDArray[np.generic], layout: PixelLayout, *, signed_stream: bool = False
) -> NDArray[np.generic]:
    """Limit samples of a lossy stream to the stored values there can be, which they may be rounded beyond.

    Their upper bits hold no overlay that could be cleared: lossy coding blurred it. Samples with a sign are only
    limited where the stream says that it has such (`signed_stream`); then they fill their words, in two's complement.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``: more goes on beyond the stored values than rounding explains, see `require_stored_bits`.
    """
    if layout.bits_stored >= values.dtype.itemsize * 8:
        return values
    if layout.signed:
        half = 1 << (layout.bits_stored - 1)
        with_sign = values.view(f"i{values.dtype.itemsize}")
        if not signed_stream:
            return values
        limited = np.clip(with_sign, -half, half - 1).view(values.dtype)
    else:
        limited = np.minimum(values, np.array((1 << layout.bits_stored) - 1, values.dtype))
    beyond: NDArray[Any] = values - limited  # below zero it comes near the largest of the word
    if not beyond.any():
        return values
    overshoot = (1 << layout.bits_stored) // OVERSHOOT
    rounded = (beyond <= overshoot) | (-beyond <= overshoot)
    require_stored_bits(np.where(rounded, limited, values), layout)
    return np.asarray(limited)


def require_stored_bits(
    values: NDArray[np.generic], layout: PixelLayout, outside: NDArray[np.bool_] | None = None
) -> None:
    """Refuse a picture whose values need more bits than BitsStored: without these it would show something else.

    An overlay of an old file stands above the stored bits as well. Two neighbours of which only one has it differ by
    more with it than without; where a picture goes on above the stored bits it is the other way round. So it is where
    values without a sign stand under a header that gives them one: the stored ones jump at the sign. An overlay that
    the header tells of is none of it: a mask of the collimated area has its edge where the picture has one.

    Parameters
    ----------
    values
        [H, W], unsigned, as allocated; at least two columns.
    outside
        bool [H, W]: where no picture is, but padding (`dicom_io.pixels.padding`).

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``
    """
    unused = layout.bits_allocated - layout.bits_stored
    codes: NDArray[Any] = values
    if layout.overlay_bits:
        codes = codes & np.array(~layout.overlay_bits & 0xFFFF).astype(codes.dtype)
    if unused == 0 or (not layout.signed and codes.min() >> layout.bits_stored == codes.max() >> layout.bits_stored):
        return
    codes, outside = some_rows(codes, _ROWS), None if outside is None else some_rows(outside, _ROWS)
    whole: NDArray[Any] = codes.view(f"i{codes.dtype.itemsize}") if layout.signed else codes
    stored = (whole << unused) >> unused  # with the sign carried up, where there is one
    whole = whole if outside is None else np.where(outside, stored, whole)
    lost = whole - stored  # modulo the width of the array
    if np.count_nonzero(lost) < _FEW * lost.size:
        return
    edges = lost[:, 1:] != lost[:, :-1]
    if np.count_nonzero(edges) >= _FEWEST_EDGES and _SMOOTHER * _step(whole, edges) < _step(stored, edges):
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS, f"the picture goes on above its {layout.bits_stored} stored bits"
        )


def _step(values: NDArray[np.generic], edges: NDArray[np.bool_]) -> float:
    """Return the median difference of the neighbours in a row that have an edge between them."""
    right, left = values[:, 1:][edges].astype(np.int32), values[:, :-1][edges].astype(np.int32)
    return float(np.median(np.abs(right - left)))


def without_high_bits(values: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Return unsigned values, of any shape, without the bits above the lowest `bits`; old files have overlays there.

    Values that have none are not copied.
    """
    highest = np.array((1 << bits) - 1).astype(values.dtype)
    if bits >= values.dtype.itemsize * 8 or values.max(initial=0) <= highest:
        return values
    return np.asarray(values & highest)
