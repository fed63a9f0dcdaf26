"""Damaged copies of real files, each drawn from a seed and a number, so that every case can be made again."""

from __future__ import annotations

import importlib.resources
import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pydicom
from pydicom.encaps import encapsulate
from samples import SHARED

from dicom_io.foundation.reasons import UndecodableError
from dicom_io.pixels.encapsulation import single_frame

LARGEST_SOURCE_BYTES = 8 << 20
SHARED_FOLDERS = ("data/dicom", "data/examples/transfer_syntaxes", "data/examples/inputs")
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PIXEL_KEYWORDS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
    "PlanarConfiguration", "NumberOfFrames", "PhotometricInterpretation", "WindowCenter", "WindowWidth", "RescaleSlope",
    "RescaleIntercept", "LUTDescriptor", "LUTData", "PixelPaddingValue", "RedPaletteColorLookupTableDescriptor",
)  # fmt: skip
_SYNTAXES = ("1", "1.99", "2", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "4.203", "5")


@cache
def sources() -> tuple[Path, ...]:
    """Return the real files: pydicom's own, those of pydicom-data, and the shared folder's where there is one."""
    folders = [
        Path(str(importlib.resources.files("pydicom"))) / "data/test_files",
        Path(str(importlib.resources.files("data_store"))) / "data",
        *(SHARED / folder for folder in SHARED_FOLDERS),
    ]
    found = (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.dcm")))
    return tuple(path for path in found if path.stat().st_size <= LARGEST_SOURCE_BYTES)


@cache
def _weights() -> tuple[float, ...]:
    return tuple(1 / (path.stat().st_size + 50_000) for path in sources())  # large ones take long: rarer


def damaged_copy(seed: int, case: int) -> tuple[str, bytes]:
    """Return the name of the source and the damaged file of one case."""
    draw = random.Random(f"{seed}/{case}")
    (path,) = draw.choices(sources(), _weights())
    raw = path.read_bytes()
    if draw.random() < 0.5:
        raw = _with_damaged_frame(raw, draw)
    else:
        for _ in range(draw.randint(1, 4)):
            raw = draw.choice(_KINDS)(raw, draw)
    return path.name, raw


def damaged_bytes(data: bytes, draw: random.Random) -> bytes:
    """Return bytes changed in one to four ways, whatever they are."""
    for _ in range(draw.randint(1, 4)):
        data = draw.choice(_OWN_KINDS)(data, draw)
    return data


def _with_damaged_frame(raw: bytes, draw: random.Random) -> bytes:
    """Damage the code stream alone, in fragments of the right lengths, so that the damage reaches the decoder."""
    start = raw.rfind(_PIXEL_DATA)
    try:
        frame = single_frame(raw[start + 12 :])
    except UndecodableError:
        return _overwritten(raw, draw)
    for _ in range(draw.randint(1, 4)):
        frame = draw.choice(_BYTE_KINDS)(frame, draw)
    if draw.random() < 0.2:
        raw = _element_changed(raw, draw)
        start = raw.rfind(_PIXEL_DATA)
    return raw[: start + 12] + encapsulate([frame or b"\0"]) + b"\xfe\xff\xdd\xe0" + bytes(4)


def _place(data: bytes, draw: random.Random) -> int:
    """Return an offset: half of the time near the beginning, where headers and tables stand."""
    return draw.randrange(max(1, min(len(data), 700))) if draw.random() < 0.5 else draw.randrange(max(1, len(data)))


def _overwritten(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        if changed:
            changed[_place(data, draw)] = draw.choice((0, 255, draw.randrange(256)))
    return bytes(changed)


def _run_overwritten(data: bytes, draw: random.Random) -> bytes:
    place, length = _place(data, draw), draw.choice((2, 16, 200, 4000))
    run = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length)))
    return data[:place] + run[: len(data) - place] + data[place + length :]


def _integer_overwritten(data: bytes, draw: random.Random) -> bytes:
    place, value = _place(data, draw), draw.choice(_INTERESTING)
    written = struct.pack(draw.choice("<>") + "I", value)[draw.choice((0, 2)) :]
    return data[:place] + written + data[place + len(written) :]


def _removed(data: bytes, draw: random.Random) -> bytes:
    place = _place(data, draw)
    return data[:place] + data[place + draw.choice((1, 2, 30, 1000, 50_000)) :]


def _repeated(data: bytes, draw: random.Random) -> bytes:
    place = _place(data, draw)
    end = place + draw.choice((1, 2, 30, 1000))
    return data[:end] + data[place:]


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(max(1, len(data)))]


def _spliced(data: bytes, draw: random.Random) -> bytes:
    (path,) = draw.choices(sources(), _weights())
    other = path.read_bytes()
    start, length, place = _place(other, draw), draw.choice((20, 500, 20_000)), _place(data, draw)
    return data[:place] + other[start : start + length] + data[place + draw.choice((0, length)) :]


def _element_changed(raw: bytes, draw: random.Random) -> bytes:
    """Overwrite the value of an element of the pixel module in place (little endian), its length unchanged."""
    tag = pydicom.datadict.tag_for_keyword(draw.choice(_PIXEL_KEYWORDS)) or 0
    place = raw.rfind(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
    if place < 0 or place + 8 > len(raw):
        return raw
    length = min(raw[place + 6], 16)
    digits = "".join(draw.choice("0123456789.-+eE\\ ") for _ in range(length)).encode()
    value = draw.choice((draw.randbytes(length), digits, struct.pack("<H", draw.choice((*range(20), 512, 65535)))))
    return raw[: place + 8] + value[:length].ljust(length, b"\0") + raw[place + 8 + length :]


def _relabelled(raw: bytes, draw: random.Random) -> bytes:
    """Name another transfer syntax, as far as it fits into the element."""
    place = raw.find(b"\x02\x00\x10\x00UI")
    if place < 0 or place + 8 > len(raw):
        return raw
    length = raw[place + 6]
    uid = f"1.2.840.10008.1.2.{draw.choice(_SYNTAXES)}".encode()[:length].ljust(length, b"\0")
    return raw[: place + 8] + uid + raw[place + 8 + length :]


_Kind = Callable[[bytes, random.Random], bytes]
_OWN_KINDS: tuple[_Kind, ...] = (
    _overwritten, _overwritten, _run_overwritten, _integer_overwritten, _removed, _repeated, _cut,
)  # fmt: skip
_BYTE_KINDS: tuple[_Kind, ...] = (*_OWN_KINDS, _spliced)
_KINDS: tuple[_Kind, ...] = (*_BYTE_KINDS, _element_changed, _element_changed, _element_changed, _relabelled)
