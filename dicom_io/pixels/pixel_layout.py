"""How pixel data are laid out, checked before anything is decoded (PS3.3 C.7.6.3.1, PS3.5 8.1.1).

Whatever cannot be read safely is refused with a reason: a wrong guess here gives a picture that looks like a radiograph
and is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import integer
from dicom_io.data_sets.header import PARSE_ERRORS, text
from dicom_io.foundation.reasons import ReasonCode, UndecodableError

MAXIMUM_SIDE_PX = 16_384
MAXIMUM_PIXELS = 100_000_000
"""A 43 x 43 cm detector at 50 um has 74 million pixels; nothing that is a radiograph is larger."""
MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
XYB = "XYB"
"""Of JPEG XL alone, whose decoder makes RGB of it (PS3.3 C.7.6.3.1.2)."""
COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", XYB})
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_OVERLAY_BIT_POSITION, _OVERLAY_DATA = 0x0102, 0x3000
_MOST_BITS = 16
_SAMPLES = dict.fromkeys(MONOCHROME | {PALETTE}, 1) | dict.fromkeys(COLOURS, 3)


@dataclass(frozen=True)
class PixelLayout:
    """Layout of one single-frame image whose size and bits are within bounds."""

    rows: int
    columns: int
    samples_per_pixel: int
    """1 or 3."""
    bits_allocated: int
    """8 or 16; 8 for three samples."""
    bits_stored: int
    """1..bits_allocated."""
    signed: bool
    """Stored values are two's complement of `bits_stored` bits."""
    photometric_interpretation: str
    overlay_bits: int = 0
    """Mask of the bits beside the sample in which an overlay stands, as the header says (retired; PS3.5-2004 8.1.2)."""
    lowest_bit: int = 0
    """Where in its word a sample begins: HighBit + 1 - BitsStored; 0 but in old files (`dicom_io.pixels.high_bit`)."""

    @property
    def high_bit(self) -> int:
        """Where in its word a sample ends."""
        return self.lowest_bit + self.bits_stored - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded array."""
        size = (self.rows, self.columns)
        return size if self.samples_per_pixel == 1 else (*size, self.samples_per_pixel)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded frame."""
        return self.rows * self.columns * self.samples_per_pixel * self.bits_allocated // 8


def read_layout(dataset: Dataset) -> PixelLayout:
    """Return the layout the header states.

    BitsStored defaults to BitsAllocated, HighBit to BitsStored - 1, PixelRepresentation to unsigned and SamplesPerPixel
    to what the photometric interpretation says; the other attributes must be there.

    Raises
    ------
    UndecodableError
        ``multi_frame``, ``too_large``, or ``unsupported_pixels``: an attribute is missing or unreadable, samples do
        not lie within their words, or the layout is none that is read here.
    """
    frames = _required(dataset, "NumberOfFrames", 1)
    if frames not in (0, 1):  # 0 is written for "not multi-frame"
        raise UndecodableError(ReasonCode.MULTI_FRAME, f"{frames} frames; only single-frame images are read")
    rows, columns = _required(dataset, "Rows"), _required(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise _unsupported(f"{rows} x {columns} pixels")
    if not (rows <= MAXIMUM_SIDE_PX and columns <= MAXIMUM_SIDE_PX and rows * columns <= MAXIMUM_PIXELS):
        raise UndecodableError(
            ReasonCode.TOO_LARGE,
            f"{rows} x {columns} pixels; at most {MAXIMUM_SIDE_PX} a side, {MAXIMUM_PIXELS} in all",
        )
    interpretation = text(dataset, "PhotometricInterpretation").upper()
    samples = _required(dataset, "SamplesPerPixel", _SAMPLES.get(interpretation))
    if _SAMPLES.get(interpretation) != samples:
        raise _unsupported(f"{samples} samples of photometric interpretation {interpretation or '(none)'!s:.16}")
    allocated = _required(dataset, "BitsAllocated")
    stored = _required(dataset, "BitsStored", allocated)
    high_bit = _required(dataset, "HighBit", stored - 1)
    representation = _required(dataset, "PixelRepresentation", 0)
    if (samples, allocated) not in ((1, 8), (1, 16), (3, 8)) or not 0 < stored <= allocated:
        raise _unsupported(f"{samples} samples of {stored} in {allocated} bits")
    lowest_bit = high_bit + 1 - stored
    if not 0 <= lowest_bit <= (allocated - stored if samples == 1 else 0):
        raise _unsupported(f"HighBit {high_bit} with BitsStored {stored}")
    if representation not in (0, 1):
        raise _unsupported(f"PixelRepresentation {representation}")
    beside = ((1 << allocated) - 1) & ~(((1 << stored) - 1) << lowest_bit)
    overlays = _overlay_bits(dataset) & beside
    signed = representation == 1
    return PixelLayout(rows, columns, samples, allocated, stored, signed, interpretation, overlays, lowest_bit)


def _overlay_bits(dataset: Dataset) -> int:
    """Return the mask of the bits that hold an overlay: its group gives a position and has no Overlay Data."""
    mask = 0
    for group in _OVERLAY_GROUPS:
        if (group, _OVERLAY_BIT_POSITION) not in dataset or (group, _OVERLAY_DATA) in dataset:
            continue
        try:
            position = dataset[group, _OVERLAY_BIT_POSITION].value
        except PARSE_ERRORS:
            continue
        if isinstance(position, int) and 0 <= position < _MOST_BITS:
            mask |= 1 << position
    return mask


def _required(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = integer(dataset, keyword, default)
    if value is None:
        raise _unsupported(f"{keyword} is missing or unreadable")
    return value


def _unsupported(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, f"{what}: this pixel layout is not read")
