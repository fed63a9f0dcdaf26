"""Answers of an archive that never end, sent past pynetdicom over the association of a request."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from contextlib import suppress

from pdu_mutations import encoded_command
from pynetdicom.events import Event

PENDING = 0xFF00


def fragment(context_id: int, control: int, content: bytes) -> bytes:
    """Return a P-DATA-TF PDU with one value (PS3.8 9.3.5)."""
    return struct.pack(">BxIIBB", 4, len(content) + 6, len(content) + 2, context_id, control) + content


def pending(event: Event, field: int, uid: str) -> None:
    """Say that the request is not done yet."""
    elements = [(2, uid.encode()), (0x0100, struct.pack("<H", field)), (0x0900, struct.pack("<H", PENDING)),
                (0x0120, struct.pack("<H", event.request.MessageID)), (0x0800, b"\x01\x01")]  # fmt: skip
    whole = encoded_command(sorted(elements))
    event.assoc.dul.socket.socket.sendall(fragment(event.context.context_id, 3, whole))


def always_pending(field: int, uid: str, pause_seconds: float = 0.0) -> Callable[[Event], None]:
    def answer(event: Event) -> None:
        deadline = time.monotonic() + 20
        with suppress(OSError):
            while time.monotonic() < deadline:
                pending(event, field, uid)
                if pause_seconds:
                    time.sleep(pause_seconds)

    return answer
