"""The clock that stamps files: on a share it is the server's, which may go hours behind or before this machine's."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def now_by_files(folder: Path) -> float:
    """Return what a file written in the folder now has as its ``st_mtime`` (seconds); this machine's clock if none can.

    The age of a file is what this differs from its own ``st_mtime``, whatever the two clocks say of each other.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:  # no folder yet, or no room for one more file
        return time.time()
