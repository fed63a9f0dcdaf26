"""Whether folders of the worker can be written to, and whether there is room."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from worker.care.listener_check import CheckFailed
from worker.settings.config import Settings
from worker.views.presentation import bytes_text


def require_writable(what: str, folder: Path) -> None:
    """Make the folder where it is missing, and a file in it that is gone at once.

    Raises
    ------
    CheckFailed
        This user cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CheckFailed(
            f"cannot write to {what} {folder}: {error.strerror}; give it to the user that runs the worker"
        ) from error


def room_of_disk(settings: Settings) -> str:
    """Say how much is free in ``data_dir``.

    Raises
    ------
    CheckFailed
        It cannot be written to, or less is free than ``minimum_free_bytes``.
    """
    folder = settings.data_dir
    require_writable("data_dir", folder)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < settings.minimum_free_bytes:
        raise CheckFailed(
            f"{bytes_text(free_bytes)} free in {folder}, minimum_free_bytes asks for "
            f"{bytes_text(settings.minimum_free_bytes)}; senders are refused until there is room"
        )
    return f"{bytes_text(free_bytes)} free in {folder}, writable"
