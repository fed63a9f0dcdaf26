"""Reader of a folder laid out like the NIH ChestX-ray14 download (Wang et al., CVPR 2017).

The layout: pictures anywhere below the folder (``images/``, ``images_001/images/`` ...), ``Data_Entry_2017.csv`` or
``Data_Entry_2017_v2020.csv``, ``BBox_List_2017.csv`` (optional), ``train_val_list.txt`` and ``test_list.txt``. Tables
may be gzipped; anything may be a link, so a partial or resized copy of the download is a folder of links.

Traps of the real files, all handled here: header cells that contain commas split into more columns than the rows have
(so columns are found by name up to there and boxes by position); ages written ``058Y`` in the first release; a trailing
comma in its header; the box list's ``Infiltrate``; ``Pleural_Thickening`` against ``Pleural Thickening``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from model.labels import LABELS
from training.data.cache_index import read_json
from training.data.label_cells import age_years, known_label, known_labels
from training.data.picture_files import find_pictures
from training.data.problems import ProblemKind, ProblemLog
from training.data.radiographs import (
    BOX_FRAME_PX,
    NO_FINDING,
    Box,
    Entry,
    LabelledRadiographs,
    LayoutError,
    list_hash,
)
from training.data.tables import column_places, file_text, plain_or_gzipped, table_rows

__all__ = [
    "BOX_FRAME_PX",
    "CHESTXRAY14",
    "NO_FINDING",
    "PHANTOMS",
    "Box",
    "Entry",
    "LayoutError",
    "Release",
    "list_hash",
    "read_layout",
]

Release = Literal["v2020", "2017"]
"""Which release of the labels; 181 rows differ."""
CHESTXRAY14 = "ChestX-ray14, official lists"
"""Source of real pictures in this layout."""
PHANTOMS = "drawn chests, no radiographs of people"
"""Source of drawn ones."""
TRAIN_VAL_LIST, TEST_LIST, BOX_LIST = "train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"
PHANTOM_FILE = "PHANTOM.json"
"""Says that all pictures are drawings (`training.phantoms.dataset`)."""
DRAWN_FILE = "DRAWN_ON_FILMS.json"
"""Names the pictures that are real films with findings drawn on them (`training.phantoms.film_dataset`)."""
ENTRY_FILES: dict[Release, str] = {"v2020": "Data_Entry_2017_v2020.csv", "2017": "Data_Entry_2017.csv"}
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")


def read_layout(root: Path, release: Release | None = None) -> LabelledRadiographs:
    """Read the lists of a folder.

    Raises
    ------
    LayoutError
        A list is missing or does not fit the others, a label is unknown, or a patient is in both parts.
    """
    log = ProblemLog()
    radiographs = inspect_layout(root, log, release)
    log.refuse_errors(root)
    return radiographs


def inspect_layout(root: Path, log: ProblemLog, release: Release | None = None) -> LabelledRadiographs:
    """Read the lists of a folder as far as they go and note everything that is wrong with them.

    Parameters
    ----------
    release
        Which table of labels to read; None: the newest there is.

    Raises
    ------
    LayoutError
        The table of labels is missing or has not the columns it must have, so that there is nothing to go on with.
    """
    entries = _read_entries(_entry_file(root, release), log)
    boxes = _read_boxes(plain_or_gzipped(root / BOX_LIST), entries, log)
    train_val = _read_list(root / TRAIN_VAL_LIST, entries, log)
    test = _read_list(root / TEST_LIST, entries, log)
    note_patient_overlap(entries, train_val, test, log)
    paths = find_pictures(root, entries, log)
    phantom = read_phantom_note(root)
    source = CHESTXRAY14 if phantom is None else PHANTOMS
    return LabelledRadiographs(root, entries, boxes, train_val, test, paths, phantom, source, read_drawn_names(root))


def note_patient_overlap(
    entries: dict[str, Entry], train_val: tuple[str, ...], test: tuple[str, ...], log: ProblemLog
) -> None:
    """Note each patient of whom both parts have pictures."""
    shared = {entries[name].patient_id for name in train_val} & {entries[name].patient_id for name in test}
    for patient in sorted(shared):
        log.add(ProblemKind.PATIENT_OVERLAP, f"patient {patient}", f"is in {TRAIN_VAL_LIST} and in {TEST_LIST}")


def read_phantom_note(root: Path) -> dict[str, Any] | None:
    """Return what ``PHANTOM.json`` says of drawn pictures, None where there is none.

    Raises
    ------
    LayoutError
        It is damaged.
    """
    return _read_note(root / PHANTOM_FILE, "drawn_findings")


def read_drawn_names(root: Path) -> frozenset[str]:
    """Return the pictures that are films with drawn findings, none where no file says so.

    Raises
    ------
    LayoutError
        The file is damaged.
    """
    note = _read_note(root / DRAWN_FILE, "pictures")
    return frozenset() if note is None else frozenset(note["pictures"])


def _read_note(file: Path, key: str) -> dict[str, Any] | None:
    """Return what a note on drawings says. A damaged one stops: without it drawings would pass for radiographs."""
    if not file.exists():
        return None
    note = read_json(file)
    if note is None or not isinstance(names := note.get(key), list) or not all(isinstance(n, str) for n in names):
        raise LayoutError(f"{file}: damaged, no list {key!r}; draw the folder again: `python -m training phantom`")
    return note


def _entry_file(root: Path, release: Release | None) -> Path:
    wanted = list(ENTRY_FILES.values()) if release is None else [ENTRY_FILES[release]]
    found = [path for name in wanted if (path := plain_or_gzipped(root / name))]
    if found:
        return found[0]
    raise LayoutError(
        f"{root}: no {' or '.join(wanted)}; --data takes the folder of the NIH download, "
        "or one made by `python -m training phantom`"
    )


def _read_entries(path: Path, log: ProblemLog) -> dict[str, Entry]:
    rows = table_rows(path)
    _, header = next(rows, (1, []))
    places = column_places(path, header, _COLUMNS)
    entries: dict[str, Entry] = {}
    for number, row in rows:
        where = f"{path.name}, line {number}"
        if len(row) <= max(places):
            log.add(ProblemKind.BROKEN_ROW, where, f"{len(row)} columns, expected at least {max(places) + 1}")
            continue
        name, labels, patient, age, sex, view = (row[place] for place in places)
        if not labels:
            log.add(ProblemKind.BROKEN_ROW, where, "no labels; write 'No Finding' where there is none")
        if not patient:
            log.add(ProblemKind.BROKEN_ROW, where, "no patient, by whom the parts are cut")
        entry = Entry(name, known_labels(labels, where, log), patient, age_years(age), sex, view)
        if name not in entries:
            entries[name] = entry
        elif entries[name] == entry:
            log.add(ProblemKind.REPEATED_ROW, where, f"{name} is listed a second time")
        else:
            log.add(ProblemKind.CONTRADICTING_ROWS, where, f"{name} is listed a second time, with other values")
    return entries


def _read_boxes(path: Path | None, entries: dict[str, Entry], log: ProblemLog) -> dict[str, tuple[Box, ...]]:
    boxes: dict[str, list[Box]] = {}
    if path is None:
        return {}
    rows = table_rows(path)
    next(rows, None)
    for number, row in rows:
        where = f"{path.name}, line {number}"
        box = _box(row)
        if box is None:
            log.add(ProblemKind.BROKEN_ROW, where, "expected picture, finding, x, y, width, height")
        elif row[0] not in entries:
            log.add(ProblemKind.UNKNOWN_BOX, where, f"{row[0]} has no row in the table of labels")
        else:
            boxes.setdefault(row[0], []).append(box)
    return {name: tuple(found) for name, found in boxes.items()}


def _box(row: list[str]) -> Box | None:
    if len(row) < 6 or known_label(row[1]) not in LABELS:
        return None
    try:
        return Box(known_label(row[1]), *(float(cell) for cell in row[2:6]))
    except ValueError:
        return None


def _read_list(path: Path, entries: dict[str, Entry], log: ProblemLog) -> tuple[str, ...]:
    if not path.exists():
        log.add(ProblemKind.UNUSABLE_TABLE, path.name, "is missing; it is part of the NIH download and makes the parts")
        return ()
    names: dict[str, None] = {}
    for line in file_text(path).splitlines():
        name = line.strip()
        if name in names:
            log.add(ProblemKind.LISTED_TWICE, name, f"{name} is listed twice in {path.name}")
        elif name and name not in entries:
            log.add(ProblemKind.LISTED_WITHOUT_ROW, name, f"{path.name}: no row in the data entry file")
        elif name:
            names[name] = None
    return tuple(names)
