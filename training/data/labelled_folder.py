"""Reader of a hospital's own studies: DICOM files (or pictures) and one table of what they show, ``labels.csv``.

``python -m worker export`` writes such a folder. Columns, found by name, in any order:

========================  ============================================================================================
file                      path of the file, relative to the folder or absolute
labels                    findings such as ``Effusion|Mass``, or ``No Finding``
patient_id                who it is, or a pseudonym; parts are cut by it
sop_instance_uid          optional: the picture's name in every list; else ``file`` is
confirmed_by              optional: who decided the labels. Where the column is there, rows without are not used, so
                          that no model is ever taught its own findings
part                      optional: ``train_val`` or ``test``, the same for all of a patient's rows
age_years, sex, view      optional, for the audit
========================  ============================================================================================

Without ``part`` a patient's part follows from the patient's identifier alone, so that a later, larger export never
moves a patient who was tested on into training.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from training.data.label_cells import age_years, known_labels
from training.data.problems import ProblemKind, ProblemLog
from training.data.radiographs import Entry, LabelledRadiographs, LayoutError
from training.data.tables import column_places, plain_or_gzipped, table_rows

LABELS_FILE = "labels.csv"
TEST_SHARE = 0.2
"""Share of the patients that are tested on and never trained on."""
TRAIN_VAL, TEST = "train_val", "test"
_REQUIRED = ("file", "labels", "patient_id")


def read_labelled_folder(root: Path, log: ProblemLog) -> LabelledRadiographs:
    """Read the table as far as it goes and note everything that is wrong with it.

    Raises
    ------
    LayoutError
        There is no table, or a column is absent.
    """
    table = plain_or_gzipped(root / LABELS_FILE)
    if table is None:
        raise LayoutError(f"{root}: no {LABELS_FILE}")
    rows = _read_rows(table, log)
    parts = _parts(rows, log)
    return LabelledRadiographs(
        root=root,
        entries={name: row.entry for name, row in rows.items()},
        boxes={},
        train_val=tuple(name for name in rows if parts[name] == TRAIN_VAL),
        test=tuple(name for name in rows if parts[name] == TEST),
        paths={name: path for name, row in rows.items() if _is_there(path := root / row.file)},
        phantom=None,
        source="a labelled folder, cut by patient",
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the system, a folder that may not be entered
        return False


def part_of(patient_id: str) -> str:
    """Return the part that a patient is in wherever no table says otherwise."""
    place = int.from_bytes(hashlib.sha256(f"part of {patient_id}".encode()).digest()[:8], "big") / 2**64
    return TEST if place < TEST_SHARE else TRAIN_VAL


@dataclass(frozen=True)
class _Row:
    entry: Entry
    file: str
    part: str


def _read_rows(table: Path, log: ProblemLog) -> dict[str, _Row]:
    lines = table_rows(table)
    _, header = next(lines, (1, []))
    column_places(table, header, _REQUIRED)
    rows: dict[str, _Row] = {}
    for number, cells in lines:
        where = f"{table.name}, line {number}"
        if len(cells) != len(header):
            log.add(ProblemKind.BROKEN_ROW, where, f"{len(cells)} columns, the header has {len(header)}")
            continue
        values = dict(zip(header, cells, strict=True))
        row = _row(values, where, log)
        if row is None:
            continue
        earlier = rows.get(row.entry.image_index)
        if earlier is None:
            rows[row.entry.image_index] = row
        else:
            kind = ProblemKind.REPEATED_ROW if earlier == row else ProblemKind.CONTRADICTING_ROWS
            log.add(kind, where, f"{row.entry.image_index} is listed a second time")
    return rows


def _row(values: dict[str, str], where: str, log: ProblemLog) -> _Row | None:
    """Return one row, or None where it is not to be used, which is noted."""
    name = values.get("sop_instance_uid") or values["file"]
    part = values.get("part", "")
    if not values["file"] or part not in ("", TRAIN_VAL, TEST):
        log.add(ProblemKind.BROKEN_ROW, where, f"file {values['file']!r}, part {part!r}: expected a path and a part")
    elif "confirmed_by" in values and not values["confirmed_by"]:
        log.add(ProblemKind.UNDECIDED, name)
    elif not values["labels"]:
        log.add(ProblemKind.BROKEN_ROW, where, "no labels; write 'No Finding' where there is none")
    elif not values["patient_id"]:
        log.add(ProblemKind.NO_PATIENT, name)
    else:
        labels = known_labels(values["labels"], where, log)
        age, sex, view = (values.get(column, "") for column in ("age_years", "sex", "view"))
        entry = Entry(name, labels, values["patient_id"], age_years(age), sex, view)
        return _Row(entry, values["file"], part)
    return None


def _parts(rows: dict[str, _Row], log: ProblemLog) -> dict[str, str]:
    """Return the part of each picture; a patient whose rows say both is noted."""
    said: dict[str, set[str]] = {}
    for row in rows.values():
        said.setdefault(row.entry.patient_id, set()).update({row.part} - {""})
    for patient, parts in said.items():
        if len(parts) > 1:
            log.add(ProblemKind.PATIENT_OVERLAP, f"patient {patient}", "has rows with part train_val and part test")
    chosen = {patient: min(parts, default=part_of(patient)) for patient, parts in said.items()}
    return {name: chosen[row.entry.patient_id] for name, row in rows.items()}
