"""Stored files without a row: left by a listener or a worker that died between file and row.

The sender of such an object was never told 0x0000; another attempt of such a run has written results of its own. A
repeated send of the same bytes writes to the same name at any moment, so a file is moved aside first and looked at
again there: what was renewed meanwhile, or has got its row, is moved back. That a file is old is what two clocks say,
of which one may just have been stepped forward: only what the cleaning before has met as well is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from dicom_io.storing.file_clock import now_by_files
from dicom_io.storing.instance_store import InstanceStore, stored_files, took_name
from worker.rows.database import SessionFactory
from worker.rows.run_tables import Result, Run
from worker.rows.study_tables import Instance

logger = logging.getLogger(__name__)

ORPHAN_AFTER_SECONDS = 3600.0
"""Younger files may belong to a transaction under way."""
_ASIDE = ".orphan"
_SUFFIXES = (".dcm", ".hl7")


class Orphans:
    """The files of one store that no row knows, as its cleanings meet them one after the other.

    Parameters
    ----------
    rows
        Which rows know the files of this store.
    between_studies
        Called after each study's folder; renews a lease, say.
    """

    def __init__(
        self,
        store: InstanceStore,
        sessions: SessionFactory,
        rows: type[Instance] | type[Result],
        between_studies: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._rows = rows
        self._between_studies = between_studies
        self._met: dict[str, int] = {}
        """What the cleaning before met, with the ``st_mtime_ns`` of each: what was written again is met anew."""

    def remove(self) -> int:
        """Delete what the cleaning before has met as well, and return how many files that were.

        Between two calls must lie longer than from a file to its row.
        """
        removed, now = 0, now_by_files(self._store.root)
        met: dict[str, int] = {}
        for folder in _study_folders(self._store.root):
            with suppress(FileNotFoundError):  # the study is being forgotten, or deleted by hand
                for path, relative, written in self._old_without_row(folder, now):
                    if self._met.get(relative) != written:
                        met[relative] = written
                    elif _remove(path, relative, self._sessions, self._rows, written):
                        logger.warning("study=%s removed a stored file without a row", folder.name)
                        removed += 1
            self._between_studies()
        self._met = met
        return removed

    def _old_without_row(self, folder: Path, now: float) -> Iterator[tuple[Path, str, int]]:
        _put_back(folder)
        known = _known_paths(self._sessions, self._rows, folder.name)
        for path in sorted(path for path in stored_files(folder) if path.suffix in _SUFFIXES):
            relative, written = path.relative_to(self._store.root).as_posix(), path.stat().st_mtime_ns
            if relative not in known and _is_old(written, now):
                yield path, relative, written


def remove_deleted(store: InstanceStore, sessions: SessionFactory, paths: Iterable[str]) -> int:
    """Remove files whose rows say that they are deleted, unless they were sent again meanwhile; return their number."""
    removed, now = 0, now_by_files(store.root)
    for relative in paths:
        path = store.root / relative
        with suppress(FileNotFoundError):  # of an earlier attempt, or the study is being forgotten
            written = path.stat().st_mtime_ns
            removed += _is_old(written, now) and _remove(path, relative, sessions, Instance, written)
    return removed


def _study_folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir() and path.name[0].isdigit())


def _put_back(folder: Path) -> None:
    """Undo what a sweeper that was killed had begun; a file that was written again meanwhile stays as it is."""
    for aside in [path for path in stored_files(folder) if path.suffix == _ASIDE]:
        path = aside.with_suffix("")
        if took_name(aside, str(path)) or path.exists():
            aside.unlink()
        else:  # no second names on this file system; who writes it again meanwhile writes the same bytes
            aside.rename(path)


def _known_paths(sessions: SessionFactory, rows: type[Instance] | type[Result], study_instance_uid: str) -> set[str]:
    query = select(rows.path)
    if rows is Result:
        query = query.join(Run, Run.id == Result.run_id).where(Run.study_instance_uid == study_instance_uid)
    else:
        query = query.where(Instance.study_instance_uid == study_instance_uid, Instance.deleted_at.is_(None))
    with sessions() as session:
        return set(session.scalars(query).all())


def _is_old(written_ns: int, now: float) -> bool:
    return now - written_ns / 1e9 >= ORPHAN_AFTER_SECONDS


def _remove(
    path: Path, relative: str, sessions: SessionFactory, rows: type[Instance] | type[Result], written_ns: int
) -> bool:
    """Delete the file, unless it was written again since or has got its row.

    Raises
    ------
    FileNotFoundError
        Somebody else has deleted it.
    """
    aside = path.with_name(path.name + _ASIDE)
    path.rename(aside)
    study_instance_uid = relative.partition("/")[0]
    if relative in _known_paths(sessions, rows, study_instance_uid) or aside.stat().st_mtime_ns != written_ns:
        aside.rename(path)
        return False
    aside.unlink()
    return True
