"""Files that survive ``kill -9`` and power loss: temporary file, final name, fsync of the file and of the folders.

Errors
------
StoreError            the file system refused (retry later)
  StorageFull         no room, or less than the configured headroom is left
  UnsafePath          a UID or a relative path that would leave the store (never retry)
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dicom_io.foundation.errands import ErrandThreads
from dicom_io.foundation.uids import is_valid_uid
from dicom_io.storing.file_clock import now_by_files
from dicom_io.storing.quarantine import Quarantine, still_there
from dicom_io.storing.spool import SpooledDataSet
from dicom_io.storing.write_behind import wait_written

INCOMING_FOLDER = ".incoming"
QUARANTINE_FOLDER = "quarantine"
LASTING_FOLDERS = 1_000
"""Remembered as safely on disk; forgetting one costs an fsync."""
_SYNCING = ErrandThreads(4, "fsync")
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of a disk, or of the share of it that a user has."""
_BEYOND_REACH = (
    errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
)  # fmt: skip
"""What says nothing of the file itself, which may well be whole."""

Content = Iterable[bytes | memoryview] | SpooledDataSet
"""A file to store: its bytes in pieces, or a data set that was written while it arrived."""


class StoreError(Exception):
    """A file could not be stored or found; `path` says where."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(f"{message}: {path}")
        self.path = path


class StorageFull(StoreError):
    """The disk is full, or fuller than the configured headroom allows."""


class UnsafePath(StoreError):
    """A name would leave the store's folder."""


class StoredMissing(StoreError):
    """There is no such file; one that cannot be reached at the moment may still be there."""


class StoreAway(StoreError):
    """What lies in the store cannot be reached now: no disk mounted, its server gone, or another user's."""


class StoredDamaged(StoreError):
    """A stored file is not what was written."""


@dataclass(frozen=True)
class StoredFile:
    """A file that is safely on disk."""

    path: str
    """Relative to the store's root, with forward slashes."""
    bytes: int
    sha256: str
    """Of the whole file, as ``sha256sum`` prints it."""


@dataclass(frozen=True)
class _Names:
    """Of what a file's path is made."""

    study: str
    sop: str
    suffix: str


def stored_files(study_folder: Path) -> Iterator[Path]:
    """Yield what is stored in one study's folder; earlier versions made a folder in there for each object."""
    for path in study_folder.glob("*"):
        if path.is_dir():
            yield from (file for file in path.glob("*") if file.is_file())
        else:
            yield path


def all_stored_files(root: Path) -> Iterator[Path]:
    """Yield what is stored below a store's root; nothing where there is no such folder."""
    for folder in root.glob("[0-9]*"):
        if folder.is_dir():
            yield from stored_files(folder)


class InstanceStore:
    """Received or generated instances below one folder: ``<study>/<sop>.<first 16 of sha256>.dcm``.

    Parameters
    ----------
    root
        Folder of the store; made if missing.
    minimum_free_bytes
        Refuse to write when the file system has less than this left.
    """

    def __init__(self, root: Path, minimum_free_bytes: int = 0) -> None:
        self.root = root
        self._root = str(root.absolute())
        self.minimum_free_bytes = minimum_free_bytes
        self._incoming = root / INCOMING_FOLDER
        self._quarantine = Quarantine(root / QUARANTINE_FOLDER)
        self._was_here = False
        """Whether this process has met the store's folder; what takes its place later is none of ours."""
        self._lasting: dict[str, int] = {}
        """Folders whose names this process has brought to disk, with their inodes."""

    def begin(self) -> None:
        """Make the store's folder if missing. Nothing is to take its place when its disk is gone later."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._was_here = True

    def write(
        self,
        study_instance_uid: str,
        sop_instance_uid: str,
        chunks: Content,
        suffix: str = ".dcm",
    ) -> StoredFile:
        """Store one instance; when this returns, its bytes and its name outlast a power cut.

        The same bytes again end in the same file. A spooled data set is on this file system already and gets its name.

        Raises
        ------
        StorageFull, StoreError
            What is left behind under the final name, if anything, no row knows; the same bytes again replace it.
        UnsafePath
            A UID is not valid (PS3.5 9.1).
        """
        for uid in (study_instance_uid, sop_instance_uid):
            if not is_valid_uid(uid):
                raise UnsafePath("a UID that is not valid cannot name a folder; refuse the instance", self.root)
        try:
            self.require_free_space()
            return self._write(_Names(study_instance_uid, sop_instance_uid, suffix), chunks)
        except OSError as error:
            kind = StorageFull if error.errno in FULL else StoreError
            raise kind(f"cannot store an instance ({error.strerror}); free or repair the disk", self.root) from error

    def open_path(self, relative_path: str) -> Path:
        """Return the absolute path of a stored file.

        Raises
        ------
        UnsafePath
            The path leads out of the store.
        StoreAway
            There is nothing in the store, or it cannot be reached now.
        StoredMissing
            There is no such file.
        StoreError
            The disk does not say.
        """
        root = self.root.resolve()
        path = (root / relative_path).resolve()
        if not path.is_relative_to(root):
            raise UnsafePath("path leads out of the store", root)
        try:
            found = path.is_file()
        except OSError as error:
            raise _unreadable(error, path) from error
        if not found:
            if self.is_away():
                raise StoreAway("the folder of the store is empty; mount its disk or restore it from a backup", path)
            raise StoredMissing("stored file is missing; restore it from a backup or have the study sent again", path)
        return path

    def is_away(self) -> bool:
        """Say whether there is nothing at all in the store's folder, as where its disk is not mounted."""
        return next(self.root.glob("*"), None) is None

    def open_intact(self, relative_path: str, sha256: str) -> Path:
        """Return the absolute path of a stored file whose bytes, all of which are read, are still those written.

        Raises
        ------
        StoreAway
            There is nothing in the store, or it cannot be reached now.
        StoredMissing, StoredDamaged
            There is no such file, or it is another by now.
        StoreError
            The disk does not give all of it back.
        """
        path = self.open_path(relative_path)
        try:
            with path.open("rb") as file:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError as error:
            raise _unreadable(error, path) from error
        if not intact:
            raise StoredDamaged("stored file is damaged; restore it from a backup", path)
        return path

    def is_intact(self, relative_path: str, sha256: str) -> bool:
        """Say whether `open_intact` gives this file, all of which is read."""
        try:
            self.open_intact(relative_path, sha256)
        except StoreError:
            return False
        return True

    def quarantine(self, chunks: Content, reason: str) -> Path:
        """Keep a refused object for inspection, with a ``.txt`` beside it that says why.

        Not fsynced: the sender was told that the object was refused. `reason` must not name the patient.

        Raises
        ------
        StorageFull, StoreError
        """
        try:
            self.require_free_space()
            return self._quarantine.keep((chunks.whole(),) if isinstance(chunks, SpooledDataSet) else chunks, reason)
        except OSError as error:
            kind = StorageFull if error.errno in FULL else StoreError
            raise kind(f"cannot quarantine an object ({error.strerror})", self._quarantine.folder) from error

    def remove_partial_files(self, older_than_seconds: float = 600.0) -> int:
        """Delete temporary files left by a killed process and return their number.

        Parameters
        ----------
        older_than_seconds
            Younger files may belong to another listener that is writing them now. 0 when there is no other.
        """
        oldest_kept = now_by_files(self._incoming) - older_than_seconds
        partial = [path for path, seen in still_there(self._incoming.glob("*.part")) if seen.st_mtime <= oldest_kept]
        for path in partial:
            path.unlink(missing_ok=True)
        return len(partial)

    def require_free_space(self) -> None:
        """Make the store's folder if missing, and see whether ``minimum_free_bytes`` are left.

        Raises
        ------
        StorageFull
            Less is left.
        StoreAway
            The store was here before: its disk is not mounted any more.
        """
        was_here = self._was_here  # before the look: another thread may make the folder after it
        try:
            room = os.statvfs(self._incoming)
        except FileNotFoundError:
            if was_here:
                raise StoreAway("the store is gone; mount its disk again", self.root) from None
            self.begin()
            room = os.statvfs(self._incoming)
        self._was_here = True
        free_bytes = room.f_bavail * room.f_frsize
        if free_bytes < self.minimum_free_bytes:
            raise StorageFull(
                f"{free_bytes} bytes free, {self.minimum_free_bytes} must stay free (minimum_free_bytes)", self.root
            )

    def _write(self, names: _Names, chunks: Content) -> StoredFile:
        if isinstance(chunks, SpooledDataSet):
            return self._keep(names, chunks.path, chunks.descriptor, chunks.sha256())
        partial = self._incoming / f"{uuid.uuid4().hex}.part"
        try:
            digest = hashlib.sha256()
            with partial.open("wb", buffering=0) as file:
                for chunk in chunks:
                    _write_all(file.fileno(), chunk)
                    digest.update(chunk)
                return self._keep(names, partial, file.fileno(), digest.hexdigest())
        finally:
            partial.unlink(missing_ok=True)

    def _keep(self, names: _Names, partial: Path, descriptor: int, sha256: str) -> StoredFile:
        """Give a whole file its final name, with everything on disk that leads to it.

        The name comes before the fsync, so that bytes, name and new folders go to disk at the same time, which a
        journalling file system does in one go. Where the name exists already, its file may be what an earlier sender
        was promised: it is replaced only by one that is on disk.
        """
        folder = f"{self._root}/{names.study}"
        unsure = self._make_folders(folder)
        parents = [os.path.dirname(path) for path in unsure]  # noqa: PTH120 (a Path for each costs 50 microseconds)
        name = f"{names.sop}.{sha256[:16]}{names.suffix}"
        final = f"{folder}/{name}"
        if took_name(partial, final):
            self._sync(descriptor, [*parents, folder])
        else:
            self._sync(descriptor, parents)
            partial.replace(final)
            _fsync_folder(folder)
        self._note_lasting(unsure)
        return StoredFile(f"{names.study}/{name}", os.fstat(descriptor).st_size, sha256)

    def _make_folders(self, folder: str) -> dict[str, int]:
        """Make `folder` below the root; return which of both a power cut may take, with their inodes.

        That a folder exists says nothing: whoever made it may have died before its name was on disk.
        """
        both = (folder, self._root)
        try:
            inodes = [os.stat(path).st_ino for path in both]  # noqa: PTH116 (as above)
        except FileNotFoundError:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for path in both:  # one that was deleted since may have left its number to the new one
                self._lasting.pop(path, None)
            inodes = [Path(path).stat().st_ino for path in both]
        found = zip(both, inodes, strict=True)
        return {path: inode for path, inode in found if self._lasting.get(path) != inode}

    def _note_lasting(self, folders: dict[str, int]) -> None:
        if len(self._lasting) > LASTING_FOLDERS:
            self._lasting.clear()
        self._lasting |= folders

    def _sync(self, descriptor: int, folders: Iterable[str]) -> None:
        """Return when the file and the folders are on disk.

        The bytes first, then everything at the same time: the journal of the file system and the disk's cache are
        waited for once.
        """
        wait_written(descriptor)
        others = [_SYNCING.begin(_fsync_folder, folder) for folder in folders]
        try:
            os.fsync(descriptor)
        finally:
            for one in others:
                one.wait()
        for one in others:
            one.finish()


def _unreadable(error: OSError, path: Path) -> StoreError:
    kind = StoreAway if error.errno in _BEYOND_REACH else StoreError
    return kind(f"stored file cannot be read ({error.strerror}); check the disk and whose files these are", path)


def _write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    view = memoryview(chunk).cast("B")
    while view.nbytes:
        view = view[os.write(descriptor, view) :]


def took_name(partial: Path, final: str) -> bool:
    """Give the file its final name as well; False where that is taken, or this file system has no second names."""
    try:
        os.link(partial, final)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            return False
        raise
    return True


def _fsync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
