"""What does not stop a run but a person should know: lists, boxes and values that look odd, findings without cases."""

from __future__ import annotations

from collections import Counter

import numpy as np

from model.labels import LABELS
from training.data.cache_index import CacheIndex
from training.data.pictures import is_dicom
from training.data.problems import ProblemKind, ProblemLog
from training.data.radiographs import BOX_FRAME_PX, Box, LabelledRadiographs

OLDEST_AGE_YEARS = 120
"""The first release of ChestX-ray14 has ages up to 414."""
_FRAME_TOLERANCE_PX = 1.0


def note_oddities(radiographs: LabelledRadiographs, log: ProblemLog) -> None:
    """Note what is odd in the lists, before any picture is opened."""
    listed = set(radiographs.listed)
    for name in radiographs.entries:
        if name not in listed:
            log.add(ProblemKind.UNLISTED_ROW, name)
    for part, names in (("train_val", radiographs.train_val), ("test", radiographs.test)):
        note_classes(radiographs, part, names, log)
    _note_boxes(radiographs, log)
    _note_values(radiographs, log)


def note_missing(radiographs: LabelledRadiographs, log: ProblemLog) -> None:
    """Note listed pictures that have no file."""
    for name in radiographs.missing():
        log.add(ProblemKind.MISSING_PICTURE, name)


def note_pictures(radiographs: LabelledRadiographs, index: CacheIndex, log: ProblemLog) -> None:
    """Note what decoding the listed pictures showed; DICOM files may differ in size, those of one download may not."""
    listed = set(radiographs.listed) & set(radiographs.paths)
    for name, reason in index.unreadable.items():
        if name in listed:
            log.add(ProblemKind.UNREADABLE_PICTURE, name, reason)
    same_size = not any(is_dicom(path) for path in radiographs.paths.values())
    readable = [row for row in np.flatnonzero(index.records["done"]) if index.names[row] in listed]
    sizes = Counter((int(index.records[row]["width_px"]), int(index.records[row]["height_px"])) for row in readable)
    usual = sizes.most_common(1)[0][0] if sizes else (0, 0)
    for row in readable:
        record, name = index.records[row], index.names[row]
        size = (int(record["width_px"]), int(record["height_px"]))
        if same_size and size != usual:
            log.add(ProblemKind.ODD_SIZE, name, f"{size[0]} x {size[1]} px, most are {usual[0]} x {usual[1]}")
        if record["coloured"]:
            log.add(ProblemKind.COLOURED, name)
        elif record["channels"] > 1:
            log.add(ProblemKind.EXTRA_CHANNELS, name, f"{record['channels']} channels")
        if record["blank"]:
            log.add(ProblemKind.BLANK, name)


def note_classes(radiographs: LabelledRadiographs, part: str, names: tuple[str, ...], log: ProblemLog) -> None:
    """Note a part without pictures, and findings that all or none of its pictures have."""
    if not names:
        log.add(ProblemKind.EMPTY_PART, part, f"no picture is in {part}")
        return
    positives = radiographs.targets(names).sum(0)
    taught = set(LABELS) if radiographs.phantom is None else set(radiographs.phantom["drawn_findings"])
    for label, count in zip(LABELS, positives.tolist(), strict=True):
        if label in taught and count == 0:
            log.add(ProblemKind.NO_POSITIVES, f"{label} in {part}", f"none of {len(names)} pictures")
        elif label in taught and count == len(names):
            log.add(ProblemKind.NO_NEGATIVES, f"{label} in {part}", f"all of {len(names)} pictures")


def _note_boxes(radiographs: LabelledRadiographs, log: ProblemLog) -> None:
    for name, boxes in radiographs.boxes.items():
        for box in boxes:
            if box.label not in radiographs.entries[name].labels:
                log.add(ProblemKind.BAD_BOX, name, f"a box of {box.label}, which is not among the picture's findings")
            if not _inside_frame(box):
                log.add(ProblemKind.BAD_BOX, name, f"the box of {box.label} leaves the {BOX_FRAME_PX} px frame")


def _inside_frame(box: Box) -> bool:
    right, bottom = box.x_px + box.width_px, box.y_px + box.height_px
    lowest, highest = -_FRAME_TOLERANCE_PX, BOX_FRAME_PX + _FRAME_TOLERANCE_PX
    return min(box.x_px, box.y_px) >= lowest and max(right, bottom) <= highest and min(box.width_px, box.height_px) > 0


def _note_values(radiographs: LabelledRadiographs, log: ProblemLog) -> None:
    for name, entry in radiographs.entries.items():
        if entry.age_years is None or entry.age_years > OLDEST_AGE_YEARS:
            log.add(ProblemKind.ODD_VALUE, name, f"age {entry.age_years}")
        if entry.sex not in ("M", "F"):
            log.add(ProblemKind.ODD_VALUE, name, f"sex {entry.sex!r}")
        if entry.view not in ("PA", "AP"):
            log.add(ProblemKind.ODD_VALUE, name, f"view {entry.view!r}")
