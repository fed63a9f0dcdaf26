"""A data set that goes to disk while it arrives, under a temporary name in the folder of the instance store.

It stands where pynetdicom keeps a data set in memory. When the disk refuses, what was written is read back and the rest
is kept in memory: whoever stores it then meets the same trouble and answers for it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import mmap
import os
import threading
import uuid
import weakref
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_io.foundation.errands import Errand, ErrandThreads
from dicom_io.storing.write_behind import STEP_BYTES, begin_writing, reserve

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LOGGER = logging.getLogger(__name__)
HASHING_BYTES, HASHED_BEHIND_BYTES = 1 << 20, 1 << 18
"""Hashed at a time, and how much of it there is before a thread begins with it."""
HASHED_AT_ONCE_BYTES = 1 << 19
"""Hashed by whoever writes it: for less than this, handing it to a thread takes as long as the hash."""
_THREADS = threading.local()
_HASHERS = ErrandThreads(4, "hash")
_OPEN: set[Path] = set()
"""Files of the data sets that arrive, or are being stored."""
_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MOST_PIECES = 512
"""For one ``writev``; POSIX allows 1024."""


class SpooledDataSet(BytesIO):
    """An encoded data set in a file, behind the head of the file that it is going to be.

    The file is deleted with this object, or with `discard`, unless it was renamed. While it grows it is hashed, and on
    its way to disk.

    Parameters
    ----------
    folder
        Where the file is made.
    head
        Preamble and file meta information (PS3.10 7.1).

    Raises
    ------
    OSError
        The file cannot be made.
    """

    def __init__(self, folder: Path, head: bytes) -> None:
        super().__init__()
        self.path = folder / f"{uuid.uuid4().hex}.part"
        self.head = head
        self.descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        _OPEN.add(self.path)
        self._forget = weakref.finalize(self, _forget, self.descriptor, self.path)
        self._on_disk_bytes = 0
        self._digest = hashlib.sha256()
        self._hashed_bytes = 0
        self._hashing: Errand | None = None
        self._begun_bytes = 0
        """On their way to disk."""
        self._reserved_bytes = 0
        """Of the disk, taken for what may still come."""
        self._in_memory: BytesIO | None = None
        self.write_all([memoryview(head)])
        if not self.on_disk:  # there is no room even for the head, which is no part of the data set
            self._in_memory = BytesIO()

    @property
    def on_disk(self) -> bool:
        """Say whether all of it is in the file; False after the disk refused."""
        return self._in_memory is None

    def write_all(self, pieces: Sequence[memoryview]) -> None:
        """Append the pieces, one after the other."""
        starts_at = self._on_disk_bytes
        self._write(pieces)
        if not self.on_disk:
            return
        if self._hashed_bytes == starts_at and self._on_disk_bytes <= HASHED_AT_ONCE_BYTES:
            for piece in pieces:
                self._digest.update(piece)
            self._hashed_bytes = self._on_disk_bytes
        elif self._on_disk_bytes - self._hashed_bytes >= HASHED_BEHIND_BYTES:
            self._hash_behind()

    def append(self, values: memoryview) -> Errand | None:
        """Append, and hash as it lies in memory: until what is returned is done it must stay as it is.

        A thread hashes while there is a processor for it. Where as many objects arrive as there are processors,
        whoever writes does so, too: threads that wait for each other would take a seventh of the time.
        """
        if self._hashing is not None:
            self._hashing.wait()
        starts_at = self._on_disk_bytes
        if not self.on_disk or len(_OPEN) >= _PROCESSORS:
            self._write([values])
            if self.on_disk:
                self._hash_from_memory(values, starts_at)
            return None
        self._hashing = _HASHERS.begin(self._hash_from_memory, values, starts_at)
        self._write([values])
        return self._hashing

    def _write(self, pieces: Sequence[memoryview]) -> None:
        left = list(pieces)
        self._keep_room_ahead()
        while left and self._in_memory is None:
            try:
                written = os.writev(self.descriptor, left[:MOST_PIECES])
            except OSError as error:
                self._read_back(error)
                break
            self._on_disk_bytes += written
            if self._on_disk_bytes - self._begun_bytes >= STEP_BYTES:
                self._begin_writing()
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]
        for piece in left:
            if self._in_memory is not None:
                self._in_memory.write(piece)

    def write(self, data: ReadableBuffer, /) -> int:
        """Append; what pynetdicom calls for the fragments that it decodes itself."""
        self.write_all([memoryview(data)])
        return memoryview(data).nbytes

    def tell(self) -> int:
        """Return how many bytes of the data set came so far."""
        return self._on_disk_bytes - len(self.head) if self._in_memory is None else self._in_memory.tell()

    def getvalue(self) -> bytes:
        """Return the data set as bytes; a copy of all of it."""
        return bytes(self.view()) if self._in_memory is None else self._in_memory.getvalue()

    def view(self) -> memoryview:
        """Return the data set as it lies in the file, read as needed; only while it is `on_disk`."""
        return self.whole()[len(self.head) :]

    def whole(self) -> memoryview:
        """Return the file as `view` does, with its head."""
        return memoryview(mmap.mmap(self.descriptor, self._on_disk_bytes, access=mmap.ACCESS_READ))

    def end(self) -> None:
        """Note that this was all: what is left to be written and to be hashed is begun now, whoever needs it later."""
        if not self.on_disk:
            return
        if self._reserved_bytes > self._on_disk_bytes:
            os.ftruncate(self.descriptor, self._on_disk_bytes)
        nobody_hashes = self._hashing is None or self._hashing.is_done
        if nobody_hashes and self._hashed_bytes < self._on_disk_bytes:
            self._hashing = _HASHERS.begin(self._finish)
        else:
            self._begin_writing()

    def sha256(self) -> str:
        """Return the hash of the file; only while it is `on_disk`."""
        if self._hashing is not None:
            self._hashing.finish()
        self._hash_all()
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Close the file and delete it, unless it was renamed."""
        if self._hashing is not None:
            self._hashing.wait()
        self._forget()

    def _hash_behind(self) -> None:
        """Hash, in a thread of its own, what was written meanwhile; that way little is left to do at the end."""
        if self._hashing is None or self._hashing.is_done:
            self._hashing = _HASHERS.begin(self._hash_all)

    def _keep_room_ahead(self) -> None:
        """Have room for one step more where this is going to be a large object."""
        is_large = self.on_disk and self._on_disk_bytes >= STEP_BYTES
        if is_large and self._on_disk_bytes + STEP_BYTES > self._reserved_bytes:
            self._reserved_bytes = reserve(self.descriptor, max(self._reserved_bytes, self._on_disk_bytes))

    def _finish(self) -> None:
        self._begin_writing()
        self._hash_all()

    def _begin_writing(self) -> None:
        begin_writing(self.descriptor, self._begun_bytes, self._on_disk_bytes)
        self._begun_bytes = self._on_disk_bytes

    def _hash_from_memory(self, values: memoryview, starts_at: int) -> None:
        """Hash these values of the file, and from the file what stands before them."""
        self._hash_file(starts_at)
        self._digest.update(values)
        self._hashed_bytes += len(values)

    def _hash_all(self) -> None:
        """Hash what was written, also what is written meanwhile."""
        while self._hashed_bytes < self._on_disk_bytes:
            self._hash_file(self._on_disk_bytes)

    def _hash_file(self, end: int) -> None:
        """Hash from the file what stands before byte `end`."""
        if self._hashed_bytes >= end:
            return
        buffer = _buffer_of_this_thread()
        while (left := end - self._hashed_bytes) > 0:
            step = os.preadv(self.descriptor, [buffer[:left]], self._hashed_bytes)
            if not step:
                raise OSError(errno.EIO, "an arriving data set became shorter while it was hashed")
            self._digest.update(buffer[:step])
            self._hashed_bytes += step

    def _read_back(self, error: OSError) -> None:
        LOGGER.warning("an arriving data set is kept in memory, its file cannot be written (%s)", error.strerror)
        skipped = len(self.head)
        kept = os.pread(self.descriptor, max(0, self._on_disk_bytes - skipped), skipped)
        self._in_memory = BytesIO()
        self._in_memory.write(kept)


def _buffer_of_this_thread() -> memoryview:
    buffer: memoryview | None = getattr(_THREADS, "buffer", None)
    if buffer is None:
        buffer = _THREADS.buffer = memoryview(bytearray(HASHING_BYTES))
    return buffer


def _forget(descriptor: int, path: Path) -> None:
    _OPEN.discard(path)
    os.close(descriptor)
    path.unlink(missing_ok=True)
