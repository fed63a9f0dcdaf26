"""Sessions that a person has ended: whoever kept a copy of the signed cookie would be let in by it until it is too old.

An empty file for each, beside the key that signs them and good for all pages that use it; deleted once the cookie is
too old by itself.
"""

from __future__ import annotations

import time
from pathlib import Path

from dicom_io.storing.quarantine import still_there

FOLDER = "worklist-ended-sessions"


class EndedSessions:
    """The names of those that hold no longer.

    Parameters
    ----------
    data_dir
        The data folder.
    longest_seconds
        How long a session lasts at most.
    """

    def __init__(self, data_dir: Path, longest_seconds: float) -> None:
        self._folder = data_dir / FOLDER
        self._longest_seconds = longest_seconds

    def end(self, name: str) -> None:
        """End a session; it stays so over restarts.

        Raises
        ------
        OSError
            That cannot be written down.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / name).touch(mode=0o600)
        oldest = time.time() - self._longest_seconds
        for file, seen in still_there(self._folder.iterdir()):  # another logout takes some away meanwhile
            if seen.st_mtime < oldest:
                file.unlink(missing_ok=True)

    def has_ended(self, name: str) -> bool:
        """Whether somebody has ended it."""
        return (self._folder / name).exists()
