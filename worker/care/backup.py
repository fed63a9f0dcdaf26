"""A copy of the database and of every file it knows, taken while everything runs, and the way back.

The database is copied first, in one snapshot; then the files that the snapshot names. A file is there before its row
and is never changed under its name, so every file of the snapshot can still be copied whatever arrives meanwhile. The
manifest is written last: a folder without one is no backup. Another backup into the same folder copies what is new;
until its manifest takes the place of the old one, all that the old one names stays.

The way back is the other way round: files first, the database last, so that a restore that was cut short has no rows
that promise what is not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.foundation.product import VERSION
from dicom_io.storing.instance_store import FULL, INCOMING_FOLDER, all_stored_files
from worker.care.database_dump import Dump, copies_in, dumping, require_empty, restore_dump
from worker.foundation.errors import AlreadyRunning, WorkerError
from worker.foundation.failpoints import failpoint
from worker.rows.database import expected_revision
from worker.rows.run_tables import Result
from worker.rows.service_lock import sole_process
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

MANIFEST = "backup.json"
INSTANCES, RESULTS = "instances", "results"


class BackupError(WorkerError):
    """A backup could not be made or taken back; the message says why."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds; written when it is complete."""

    taken_at: str
    """Of the snapshot: what was acknowledged before is in it. UTC, ISO 8601."""
    version: str
    revision: str
    """Of the database's schema."""
    database: str
    """Name of the copied database in the folder."""
    instances: int
    results: int
    copied: int = 0
    """Files that were not in the folder before."""
    copied_bytes: int = 0

    @property
    def summary(self) -> str:
        """Return what was done, in a sentence."""
        return (
            f"the database as of {self.taken_at}, {self.instances} received objects and {self.results} results are"
            f" backed up; {self.copied} files were new ({self.copied_bytes / 1e6:.0f} MB)"
        )


def back_up(settings: Settings, folder: Path) -> Manifest:
    """Copy everything into the folder, while the processes run.

    Raises
    ------
    BackupError
        The folder is a data folder, or in ours, another backup into it is under way, a file that the database knows is
        missing, or it knows no study where the backup that is there holds some.
    DumpError
        The database could not be copied.
    """
    if folder.resolve().is_relative_to(settings.data_dir.resolve()):
        raise BackupError(f"{folder} lies in data_dir: what takes the one takes the other; back up to another disk")
    if any((folder / store / INCOMING_FOLDER).exists() for store in (INSTANCES, RESULTS)):
        raise BackupError(f"{folder} is a data_dir, and a backup would take the place of its studies; name another")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with sole_process("backup", folder):
            return _back_up(settings, folder)
    except AlreadyRunning as error:
        raise BackupError(f"another backup into {folder} is under way; wait until it ends") from error
    except OSError as error:
        remedy = "make room" if error.errno in FULL else "look whether its disk fails"
        raise BackupError(
            f"cannot back up to {folder} ({error.strerror}: {error.filename or folder}): {remedy}; an earlier backup "
            "there is kept"
        ) from error


def _back_up(settings: Settings, folder: Path) -> Manifest:
    earlier = read_manifest(folder) if (folder / MANIFEST).exists() else None
    _remove_copies(folder, but=earlier.database if earlier else "")  # of backups that were cut short
    with dumping(settings, folder) as dump:
        if earlier is not None and earlier.instances:
            _require_studies(dump.session, folder)
        names = {INSTANCES: _kept_instances(dump.session), RESULTS: set(dump.session.scalars(select(Result.path)))}
        copied = [
            size
            for name, paths in names.items()
            for size in _copy_new(_store(settings, name), folder / name, sorted(paths), dump)
        ]
        manifest = Manifest(
            f"{dump.taken_at:%Y-%m-%dT%H:%M:%SZ}",
            VERSION,
            expected_revision(),
            dump.file.name,
            len(names[INSTANCES]),
            len(names[RESULTS]),
            len(copied),
            sum(copied),
        )
    failpoint("after_copies_before_manifest")
    os.sync()
    _write(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
    failpoint("after_manifest_before_removals")
    _remove_copies(folder, but=manifest.database)
    for name, paths in names.items():
        _remove_others(folder / name, paths)
    return manifest


def _require_studies(session: Session, folder: Path) -> None:
    """Let no database that was begun anew, as where a disk was not mounted, take the place of one with studies."""
    if session.scalar(select(Study.study_instance_uid).limit(1)) is None:
        raise BackupError(
            f"the database knows no study, and {folder} holds the backup of one that does: is the right disk mounted? "
            "If it is, name another folder"
        )


def _remove_copies(folder: Path, *, but: str) -> None:
    for copy in copies_in(folder):
        if copy.name != but:
            copy.unlink()


def restore(settings: Settings, folder: Path) -> Manifest:
    """Bring a backup back into an empty data folder and an empty database.

    Raises
    ------
    BackupError
        The folder holds no complete backup, one of a newer version, or something is there already.
    DumpError
        The database could not be written.
    AlreadyRunning
        Processes of the worker use the data folder.
    """
    manifest = read_manifest(folder)
    if manifest.revision > expected_revision():
        raise BackupError(f"the backup is of version {manifest.version}, newer than this one; install that version")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with sole_process("up", settings.data_dir), sole_process("listener", settings.data_dir):
        _require_nothing_there(settings)
        for name in (INSTANCES, RESULTS):
            paths = [path.relative_to(folder / name).as_posix() for path in _files(folder / name)]
            for _size in _copy_new(folder / name, _store(settings, name), paths, None):
                continue
        os.sync()
        restore_dump(settings, folder / manifest.database)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return what a backup says of itself.

    Raises
    ------
    BackupError
        It has no manifest, so that it is none or was not finished.
    """
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BackupError(f"{folder} holds no finished backup ({MANIFEST} is missing); name another folder") from error
    except (ValueError, TypeError) as error:
        raise BackupError(
            f"{folder / MANIFEST} cannot be read: it is damaged, or of another version; restore with the version that "
            "made the backup"
        ) from error


def _store(settings: Settings, name: str) -> Path:
    return settings.instances_dir if name == INSTANCES else settings.results_dir


def _kept_instances(session: Session) -> set[str]:
    return set(session.scalars(select(Instance.path).where(Instance.deleted_at.is_(None))))


def _copy_new(source: Path, target: Path, paths: Iterable[str], dump: Dump | None) -> Iterator[int]:
    """Copy what the target has not, or not whole; yield the bytes of each copy."""
    for relative in paths:
        original, copy = source / relative, target / relative
        try:
            size = original.stat().st_size
            if copy.exists() and copy.stat().st_size == size:
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_name(copy.name + ".part")
            _copy_whole(original, partial)
        except FileNotFoundError as error:
            if dump is not None and not dump.still_knows(relative):
                continue  # retention deleted it, or its patient was forgotten, since the snapshot
            raise BackupError(f"{original} is missing though the database knows it; see `worker verify`") from error
        partial.replace(copy)
        yield size


def _copy_whole(original: Path, partial: Path) -> None:
    try:
        shutil.copyfile(original, partial)
    except BaseException:  # of a full disk the rest is for others
        partial.unlink(missing_ok=True)
        raise


def _files(folder: Path) -> list[Path]:
    return sorted(all_stored_files(folder))


def _remove_others(folder: Path, known: set[str]) -> None:
    """Remove from the backup what the database does not know any more: retention and `forget` count there, too."""
    for path in _files(folder):
        if path.relative_to(folder).as_posix() not in known:
            path.unlink()


def _require_nothing_there(settings: Settings) -> None:
    for folder in (settings.instances_dir, settings.results_dir):
        if _files(folder):
            raise BackupError(f"{folder} is not empty; restore into a fresh data_dir, or move this one away first")
    require_empty(settings)


def _write(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
