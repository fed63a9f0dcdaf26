"""Stored files without a row: left by a listener that died between file and row, whose sender was never told 0x0000.

A repeated send of the same bytes writes to the same name at any moment, so a file is moved aside first and looked at
again there: what was renewed meanwhile, or has got its row, is moved back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import select

from dicom_io.instance_store import InstanceStore
from worker.rows.database import SessionFactory
from worker.rows.tables import Instance

logger = logging.getLogger(__name__)

ORPHAN_AFTER_SECONDS = 3600.0
"""Younger files may belong to a transaction under way."""
_ASIDE = ".orphan"


def remove_orphans(
    store: InstanceStore,
    sessions: SessionFactory,
    between_studies: Callable[[], None] = lambda: None,
    older_than_seconds: float = ORPHAN_AFTER_SECONDS,
) -> int:
    """Delete received files that no row knows and return their number.

    Parameters
    ----------
    between_studies
        Called after each study's folder; renews a lease, say.
    """
    removed = 0
    for folder in _study_folders(store.root):
        known = _known_paths(sessions, folder.name)
        for path in sorted(folder.glob("*/*.dcm")):
            relative = path.relative_to(store.root).as_posix()
            if relative in known or not _is_old(path, older_than_seconds):
                continue
            removed += _remove(path, relative, sessions, older_than_seconds)
        between_studies()
    return removed


def _study_folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir() and path.name[0].isdigit())


def _known_paths(sessions: SessionFactory, study_instance_uid: str) -> set[str]:
    with sessions() as session:
        rows = session.scalars(select(Instance.path).where(Instance.study_instance_uid == study_instance_uid))
        return set(rows.all())


def _is_old(path: Path, older_than_seconds: float) -> bool:
    return time.time() - path.stat().st_mtime >= older_than_seconds


def _remove(path: Path, relative: str, sessions: SessionFactory, older_than_seconds: float) -> int:
    aside = path.with_suffix(_ASIDE)
    path.rename(aside)
    study_instance_uid = relative.partition("/")[0]
    if relative in _known_paths(sessions, study_instance_uid) or not _is_old(aside, older_than_seconds):
        aside.rename(path)
        return 0
    aside.unlink()
    logger.warning("study=%s removed a stored file without a row", study_instance_uid)
    return 1
