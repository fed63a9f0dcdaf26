"""Rows and files compared, from both sides: what a row promises and is not there, what is there and no row knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import all_stored_files
from worker.rows.run_tables import Result
from worker.rows.study_tables import Instance
from worker.settings.config import Settings


@dataclass
class Verification:
    """What was compared, and each difference; paths are those of the rows, with the name of their store before them."""

    rows: int = 0
    missing: list[str] = field(default_factory=list)
    """A row promises it, and there is no such file."""
    changed: list[str] = field(default_factory=list)
    """It has another size, or other bytes, than it had when it was stored, or the disk does not give it back."""
    stray: list[str] = field(default_factory=list)
    """No row knows it: left by a killed process, or being stored now. The hourly cleaning removes such files."""

    @property
    def whole(self) -> bool:
        """Say whether everything that the rows promise is there, as it was stored."""
        return not self.missing and not self.changed


def verify(session: Session, settings: Settings, *, hashes: bool = False) -> Verification:
    """Compare every row with its file.

    Parameters
    ----------
    hashes
        True reads every file and compares its SHA-256; False compares sizes.

    Raises
    ------
    PermissionError
        Files are another user's.
    """
    found = Verification()
    for store, rows in ((settings.instances_dir, Instance), (settings.results_dir, Result)):
        known: set[str] = set()
        for path, size, sha256 in _promised(session, rows):
            known.add(path)
            found.rows += 1
            _compare(found, store, path, size, sha256 if hashes else None)
        strays = sorted({path.relative_to(store).as_posix() for path in all_stored_files(store)} - known)
        found.stray += [f"{store.name}/{path}" for path in strays]
    return found


def _promised(session: Session, rows: type[Instance] | type[Result]) -> Iterator[tuple[str, int, str]]:
    query = select(rows.path, rows.bytes, rows.sha256).order_by(rows.id)
    if rows is Instance:
        query = query.where(Instance.deleted_at.is_(None))
    for row in session.execute(query.execution_options(yield_per=1000)):
        yield row.path, row.bytes, row.sha256


def _compare(found: Verification, store: Path, path: str, size: int, sha256: str | None) -> None:
    file = store / path
    try:
        if file.stat().st_size != size or (sha256 is not None and _sha256(file) != sha256):
            found.changed.append(f"{store.name}/{path}")
    except FileNotFoundError:
        found.missing.append(f"{store.name}/{path}")
    except PermissionError:  # says nothing of the file; whoever runs the worker may compare it
        raise
    except OSError:
        found.changed.append(f"{store.name}/{path}")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
