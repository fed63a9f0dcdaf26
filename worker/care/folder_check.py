"""Whether folders of the worker can be written to, whether there is room, and whether they are the right ones."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from sqlalchemy import select

from dicom_io.storing.instance_store import INCOMING_FOLDER
from worker.care.listener_check import CheckFailed
from worker.rows.database import migrated_engine, session_factory
from worker.rows.study_tables import Instance
from worker.settings.config import Settings
from worker.views.presentation import bytes_text

LOOKED_FOR_IMAGES = 3
"""One alone may be lost, which is no sign of another folder."""


def require_writable(what: str, folder: Path) -> None:
    """Make a file in the folder, or where it is still to be made, that is gone at once.

    Raises
    ------
    CheckFailed
        This user cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=_there(folder)):
            pass
    except OSError as error:
        raise CheckFailed(
            f"cannot write to {what} {folder}: {error.strerror}; give it to the user that runs the worker"
        ) from error


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest above it where it is still to be made."""
    return next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))


def room_of_disk(settings: Settings) -> str:
    """Say how much is free in ``data_dir``.

    Raises
    ------
    CheckFailed
        It, or a folder in it, cannot be written to, or less is free than ``minimum_free_bytes``.
    """
    folder = settings.data_dir
    require_writable("data_dir", folder)
    stores = (settings.instances_dir, settings.results_dir)
    for inner in (*stores, *(store / INCOMING_FOLDER for store in stores), settings.cache_dir):
        if inner.is_dir():  # it is not made here, for then it would be whoever checks who owns it
            require_writable("the folder", inner)
    free_bytes = shutil.disk_usage(_there(folder)).free
    if free_bytes < settings.minimum_free_bytes:
        raise CheckFailed(
            f"{bytes_text(free_bytes)} free in {folder}, minimum_free_bytes asks for "
            f"{bytes_text(settings.minimum_free_bytes)}; senders are refused until there is room"
        )
    return f"{bytes_text(free_bytes)} free in {folder}, writable"


def holds_what_was_received(settings: Settings) -> str:
    """Say whether the images that came last lie in ``data_dir``; on another host it may be another folder.

    Raises
    ------
    CheckFailed
        None of them is there.
    StartError
        The database does not answer or is not migrated.
    """
    latest = (
        select(Instance.path).where(Instance.deleted_at.is_(None)).order_by(Instance.id.desc()).limit(LOOKED_FOR_IMAGES)
    )
    with (
        migrated_engine(settings.effective_database_url) as engine,
        session_factory(engine, read_only=True)() as session,
    ):
        paths = session.scalars(latest).all()
    if not paths:
        return "none were received yet"
    if not any((settings.instances_dir / path).is_file() for path in paths):
        raise CheckFailed(
            f"{settings.data_dir} holds none of the {len(paths)} images that came last: every host needs the same data"
            " folder (data_dir), else what one receives fails on another"
        )
    return f"those that came last lie in {settings.data_dir}"
