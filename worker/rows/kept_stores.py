"""Whether the stores of files that the database knows are there, so that no process begins new ones in their place.

Where the disk of ``data_dir`` is not mounted there is an empty folder on another disk: what was received into it would
be hidden by the mount, although its sender was told that it is kept.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from dicom_io.storing.instance_store import INCOMING_FOLDER, InstanceStore
from worker.foundation.errors import StartError
from worker.rows.database import migrated_engine, session_factory
from worker.rows.run_tables import Result
from worker.rows.study_tables import Instance
from worker.settings.config import Settings


class StoreNotThere(StartError):
    """The database knows files of a store, and there is none."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"there is nothing in {folder}, where the database knows files: mount the disk of data_dir, or restore it"
            f" from a backup; if they are lost for good, make the folder {folder / INCOMING_FOLDER} and start again"
        )


def require_kept_stores(settings: Settings) -> None:
    """Refuse to begin a store anew of which the database knows files.

    Raises
    ------
    StoreNotThere
        Nothing is where they should lie.
    StartError
        The database does not answer or is not migrated.
    """
    kept = (
        (settings.instances_dir, select(Instance.id).where(Instance.deleted_at.is_(None))),
        (settings.results_dir, select(Result.id)),
    )
    with (
        migrated_engine(settings.effective_database_url) as engine,
        session_factory(engine, read_only=True)() as session,
    ):
        for folder, known in kept:
            if InstanceStore(folder).is_away() and session.scalar(known.limit(1)) is not None:
                raise StoreNotThere(folder)
