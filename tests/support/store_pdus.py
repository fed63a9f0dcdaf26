"""A C-STORE request as PDUs put together by hand (PS3.8 9.3.5, PS3.7 9.3.1), to be cut anywhere on its way."""

from __future__ import annotations

import socket
import struct

from storage_ends import DX

from benchmarks.dicom_sender import association_request
from dicom_io.services.storage_scp import StorageScp

LAST, COMMAND = 2, 1
"""Bits of a fragment's message control header."""


def fragment(control: int, value: bytes, context_id: int = 1) -> bytes:
    return struct.pack(">IBB", len(value) + 2, context_id, control) + value


def pdu(*fragments: bytes) -> bytes:
    content = b"".join(fragments)
    return struct.pack(">BxI", 4, len(content)) + content


def command(sop_instance_uid: str) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    def uid(value: str) -> bytes:
        return value.encode() + b"\0" * (len(value) % 2)

    body = (
        element(0x0002, uid(DX))
        + element(0x0100, b"\x01\x00")
        + element(0x0110, b"\x01\x00")
        + element(0x0700, b"\x02\x00")
        + element(0x0800, b"\x01\x00")
        + element(0x1000, uid(sop_instance_uid))
    )
    return element(0x0000, struct.pack("<I", len(body))) + body


def connected(scp: StorageScp) -> socket.socket:
    connection = socket.create_connection(scp.address, timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(association_request("CXRAI", 16384))
    assert connection.recv(4096)[0] == 2
    return connection
