"""An archive made by hand: takes one request for an association after the other, and answers each as it is told to."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dicom_io.foundation.peer import Peer

Deed = Callable[[socket.socket], None]
"""What to do with a connection; it is closed afterwards."""
MAXIMUM_LENGTH = struct.pack(">BxHI", 0x51, 4, 16384)
_HEAD_BYTES, _ITEMS_AT = 6, 74


@contextmanager
def odd_archive(deed: Deed) -> Iterator[Peer]:
    """Serve every connection so, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, deed), daemon=True).start()
        yield Peer("ODD", "127.0.0.1", server.getsockname()[1])
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, deed: Deed) -> None:
    with suppress(OSError):  # closed
        while True:
            connection, _address = server.accept()
            threading.Thread(target=_do, args=(connection, deed), daemon=True).start()


def _do(connection: socket.socket, deed: Deed) -> None:
    with connection, suppress(OSError, EOFError):
        deed(connection)


def read_pdu(connection: socket.socket) -> bytes:
    """Return the next PDU (PS3.8 9.3).

    Raises
    ------
    EOFError
        The other side closed.
    """
    head = _read(connection, _HEAD_BYTES)
    return head + _read(connection, struct.unpack(">I", head[2:])[0])


def _read(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        piece = connection.recv(length - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def accepting(request: bytes, *, user_information: bytes = MAXIMUM_LENGTH, transfer_syntax: bool = True) -> bytes:
    """Return an A-ASSOCIATE-AC that accepts every context of the request, in the first syntax proposed."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    for kind, content in _items(request[_ITEMS_AT:]):
        if kind == 0x20:
            syntax = next(value for sub_item, value in _items(content[4:]) if sub_item == 0x40)
            items += _item(0x21, content[:1] + bytes(3) + (_item(0x40, syntax) if transfer_syntax else b""))
    body = request[_HEAD_BYTES:_ITEMS_AT] + items + _item(0x50, user_information)
    return struct.pack(">BxI", 2, len(body)) + body


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    while content:
        kind, length = struct.unpack_from(">BxH", content)
        yield kind, content[4 : 4 + length]
        content = content[4 + length :]
