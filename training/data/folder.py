"""Any folder that ``--data`` takes: the NIH download, phantoms, or a hospital's own studies with their table."""

from __future__ import annotations

from pathlib import Path

from training.data.chestxray14 import ENTRY_FILES, Release, inspect_layout
from training.data.labelled_folder import LABELS_FILE, read_labelled_folder
from training.data.problems import ProblemLog
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.data.tables import plain_or_gzipped


def read_folder(root: Path, release: Release | None = None) -> LabelledRadiographs:
    """Read what a folder says.

    Raises
    ------
    LayoutError
        It is no data set, or its tables do not fit each other.
    """
    log = ProblemLog()
    radiographs = inspect_folder(root, log, release)
    log.refuse_errors(root)
    return radiographs


def inspect_folder(root: Path, log: ProblemLog, release: Release | None = None) -> LabelledRadiographs:
    """Read what a folder says as far as it goes and note everything that is wrong with it.

    Raises
    ------
    LayoutError
        There is nothing to go on with.
    """
    if any(plain_or_gzipped(root / name) for name in ENTRY_FILES.values()):
        return inspect_layout(root, log, release)
    if plain_or_gzipped(root / LABELS_FILE):
        return read_labelled_folder(root, log)
    raise LayoutError(
        f"{root}: no {' or '.join(ENTRY_FILES.values())}, and no {LABELS_FILE}; --data takes the folder of the NIH "
        "download, one made by `python -m training phantom`, or one made by `python -m worker export`"
    )
