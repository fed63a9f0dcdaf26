"""The head of a DICOM file: preamble, prefix and file meta information (PS3.10 7.1)."""

from __future__ import annotations

import struct

from dicom_io.foundation.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
HEAD_BYTES = PREAMBLE_BYTES + len(PREFIX)
_LONG_LENGTH_REPRESENTATIONS = (b"OB",)


def is_dicom_file(head: bytes) -> bool:
    """Say whether a file that begins so is a DICOM file (PS3.10 7.1); its first `HEAD_BYTES` tell."""
    return head[PREAMBLE_BYTES:HEAD_BYTES] == PREFIX


def encode_file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, ``DICM`` and file meta in Explicit VR Little Endian; the data set follows byte for byte.

    Written by hand, because it must also describe objects whose UIDs are wrong (they go to quarantine). The sender's
    AE title is left out: the same object from two senders is then the same file, not two versions.
    """
    elements = [
        _element(0x0001, b"OB", b"\x00\x01"),
        _element(0x0002, b"UI", sop_class_uid.encode("ascii", "replace")),
        _element(0x0003, b"UI", sop_instance_uid.encode("ascii", "replace")),
        _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii", "replace")),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    body = b"".join(elements)
    return b"\x00" * PREAMBLE_BYTES + PREFIX + _element(0x0000, b"UL", struct.pack("<I", len(body))) + body


def _element(number: int, representation: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\x00" if representation in (b"UI", b"OB") else b" "
    if representation in _LONG_LENGTH_REPRESENTATIONS:
        return struct.pack("<HH2sHI", 2, number, representation, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, representation, len(value)) + value
