"""The least a receiver can do (``python -m benchmarks.plain_receiver``): bytes into a file, fsync, one byte back.

Speaks no DICOM; it is what the machine can do, which the others are divided by.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import uuid
from pathlib import Path

STEP_BYTES = 1 << 20


def serve(connection: socket.socket, folder: Path) -> None:
    """Take objects until the sender closes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(STEP_BYTES))
    with connection:
        while head := connection.recv(8, socket.MSG_WAITALL):
            (left,) = struct.unpack(">Q", head)
            descriptor = os.open(folder / f"{uuid.uuid4().hex}.bin", os.O_CREAT | os.O_WRONLY)
            while left:
                count = connection.recv_into(buffer, min(STEP_BYTES, left))
                if not count:
                    return
                os.write(descriptor, buffer[:count])
                left -= count
            os.fsync(descriptor)
            os.close(descriptor)
            connection.sendall(b"\0")


def main() -> None:
    """Listen on the port given, write into the folder given."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        listener.bind(("127.0.0.1", port))
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, folder), daemon=True).start()


if __name__ == "__main__":
    main()
