"""Bits of decoded samples: what a code stream holds against what the header says (PS3.5 8.1.1, 8.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout


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
    """Return the same bits as unsigned integers in native byte order."""
    return values.astype(values.dtype.newbyteorder("=").str.replace("i", "u"), copy=False)


def with_sign_of_stream(values: NDArray[np.generic], precision: int, layout: PixelLayout) -> NDArray[np.generic]:
    """Carry the sign bit of a stream with fewer bits than BitsStored up to the sign bit of the stored value."""
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

    Their upper bits hold no overlay: lossy coding would have destroyed it. Samples with a sign are only limited where
    the stream says that it has such (`signed_stream`); then they fill their words, in two's complement.
    """
    if layout.bits_stored >= values.dtype.itemsize * 8:
        return values
    if layout.signed:
        half = 1 << (layout.bits_stored - 1)
        with_sign = values.view(f"i{values.dtype.itemsize}")
        return np.clip(with_sign, -half, half - 1).view(values.dtype) if signed_stream else values
    return np.asarray(np.minimum(values, np.array((1 << layout.bits_stored) - 1, values.dtype)))


def without_high_bits(values: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Clear all bits above the lowest `bits`; overlays of old files stand there."""
    if bits >= values.dtype.itemsize * 8:
        return values
    return np.asarray(values & np.array((1 << bits) - 1, values.dtype))
