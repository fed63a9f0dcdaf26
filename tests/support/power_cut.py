"""What a power cut leaves of a folder: processes note what they fsync, and what none of them did is taken away.

A file keeps the bytes it had at its last fsync, a folder the names it had at its own (POSIX promises no more). Kills
alone cannot show a missing fsync: the kernel still holds the bytes. Only Python's ``os.fsync`` is noted, so this is for
files that the worker itself writes; the database's are its own affair.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR

JOURNAL_VARIABLE = "SOAK_FSYNC_JOURNAL"
NOT_PROMISED = frozenset({".incoming", "quarantine"})
"""Folders of a store whose files were promised to nobody."""
_fsync = os.fsync


def note_fsyncs(journal: str) -> None:
    """Have this process append to the journal what it fsyncs, after it is on disk and before anybody can rely on it."""

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        entry: dict[str, object] = {"inode": status.st_ino, "bytes": status.st_size}
        if S_ISDIR(status.st_mode):
            with os.scandir(path) as names:
                entry = {"folder": path, "names": {name.name: name.inode() for name in names}}
        _fsync(descriptor)
        line = json.dumps(entry).encode() + b"\n"
        output = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(output, line)
        finally:
            os.close(output)

    os.fsync = fsync


@dataclass
class Platter:
    """What is surely on disk, by a journal."""

    bytes: dict[int, int] = field(default_factory=dict)
    """By inode."""
    names: dict[str, dict[str, int]] = field(default_factory=dict)
    """Inode by name, by folder."""

    @classmethod
    def read(cls, journal: Path) -> Platter:
        """Return what the journal says."""
        platter = cls()
        for line in journal.read_text().splitlines() if journal.exists() else ():
            entry = json.loads(line)
            if "folder" in entry:
                platter.names[entry["folder"]] = entry["names"]
            else:
                platter.bytes[entry["inode"]] = entry["bytes"]
        return platter

    def forget_the_rest(self, folder: Path) -> Iterator[Path]:
        """Delete or cut what is not surely on disk below the folder, which itself is; yield each such path."""
        sure = self.names.get(str(folder), {})
        for path in sorted(folder.iterdir()):
            status = path.lstat()
            if path.name in NOT_PROMISED:
                continue
            if sure.get(path.name) != status.st_ino:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                yield path
            elif path.is_dir():
                yield from self.forget_the_rest(path)
            elif self.bytes.get(status.st_ino, 0) < status.st_size:
                os.truncate(path, self.bytes.get(status.st_ino, 0))
                yield path
