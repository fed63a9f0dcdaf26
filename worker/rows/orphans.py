"""Stored files without a row: left by a listener or a worker that died between file and row.

The sender of such an object was never told 0x0000; another attempt of such a run has written results of its own. A
repeated send of the same bytes writes to the same name at any moment, so a file is moved aside first and looked at
again there: what was renewed meanwhile, or has got its row, is moved back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
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


def remove_orphans(
    store: InstanceStore,
    sessions: SessionFactory,
    rows: type[Instance] | type[Result],
    between_studies: Callable[[], None] = lambda: None,
) -> int:
    """Delete files that no row knows and return their number.

    Parameters
    ----------
    rows
        Which rows know the files of this store.
    between_studies
        Called after each study's folder; renews a lease, say.
    """
    removed, now = 0, now_by_files(store.root)
    for folder in _study_folders(store.root):
        _put_back(folder)
        known = _known_paths(sessions, rows, folder.name)
        for path in sorted(path for path in stored_files(folder) if path.suffix in _SUFFIXES):
            relative = path.relative_to(store.root).as_posix()
            if relative in known or not _is_old(path, now):
                continue
            if _remove(path, relative, sessions, rows, now):
                logger.warning("study=%s removed a stored file without a row", folder.name)
                removed += 1
        between_studies()
    return removed


def remove_deleted(store: InstanceStore, sessions: SessionFactory, paths: Iterable[str]) -> int:
    """Remove files whose rows say that they are deleted, unless they were sent again meanwhile; return their number."""
    existing = [(store.root / relative, relative) for relative in paths if (store.root / relative).exists()]
    now = now_by_files(store.root)
    return sum(_remove(path, relative, sessions, Instance, now) for path, relative in existing)


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


def _is_old(path: Path, now: float) -> bool:
    return now - path.stat().st_mtime >= ORPHAN_AFTER_SECONDS


def _remove(
    path: Path, relative: str, sessions: SessionFactory, rows: type[Instance] | type[Result], now: float
) -> bool:
    aside = path.with_name(path.name + _ASIDE)
    path.rename(aside)
    study_instance_uid = relative.partition("/")[0]
    if relative in _known_paths(sessions, rows, study_instance_uid) or not _is_old(aside, now):
        aside.rename(path)
        return False
    aside.unlink()
    return True
