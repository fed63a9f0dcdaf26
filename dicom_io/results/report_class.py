"""The SOP classes a structured report is written in, and the same report in an older one for an older archive.

The tree of `dicom_io.results.structured_report` holds no three-dimensional coordinates and no relationships by
reference, so every class allows all of it (PS3.3 A.35.2, A.35.3, A.35.13) and nothing is left out on the way down.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from dicom_io.foundation.uids import deterministic_uid
from dicom_io.results.reporting import InvalidReportError

REPORT_CLASSES = (str(Comprehensive3DSRStorage), str(ComprehensiveSRStorage), str(EnhancedSRStorage))
"""SOP Class UIDs, the preferred one first; a peer that refuses one is offered the next."""


def older_class(sop_class_uid: str) -> str | None:
    """Return the next class to offer after `sop_class_uid` was refused, or None when there is no other."""
    following = REPORT_CLASSES.index(sop_class_uid) + 1 if sop_class_uid in REPORT_CLASSES else len(REPORT_CLASSES)
    return REPORT_CLASSES[following] if following < len(REPORT_CLASSES) else None


def report_in_class(document: Dataset, sop_class_uid: str) -> Dataset:
    """Return the same report in an older class; what a delivery calls when a peer refuses the context of this one.

    Everything is kept but SOP Class UID and SOP Instance UID. The new UID follows from the old one, so that every
    delivery makes the same object, and the same one that `build_structured_report` makes in that class.

    Parameters
    ----------
    document
        A report of ours in one of `REPORT_CLASSES`, as built or as read back; it is not changed.
    sop_class_uid
        The same class or one further down in `REPORT_CLASSES`.

    Raises
    ------
    InvalidReportError
        The class is not one of the three or a newer one than the document's, or the tree holds what that class does
        not allow.
    """
    own = str(document.SOPClassUID)
    if own not in REPORT_CLASSES or sop_class_uid not in REPORT_CLASSES:
        raise InvalidReportError(f"sop_class_uid must be one of {', '.join(REPORT_CLASSES)}, is {sop_class_uid}")
    steps = REPORT_CLASSES[REPORT_CLASSES.index(own) + 1 : REPORT_CLASSES.index(sop_class_uid) + 1]
    if not steps and own != sop_class_uid:
        raise InvalidReportError(f"a report in {UID(own).name} is not rewritten in the newer {UID(sop_class_uid).name}")
    if unknown := sorted(_not_in_older_classes(document)) if steps else []:
        raise InvalidReportError(f"{UID(sop_class_uid).name} does not allow {', '.join(unknown)}")
    older = Dataset(dict(document.items()))
    # new elements: setting the values would change those of `document`, which are the same objects
    older.add_new("SOPClassUID", "UI", sop_class_uid)
    older.add_new("SOPInstanceUID", "UI", _instance_uid_in_class(str(document.SOPInstanceUID), steps))
    return older


def _instance_uid_in_class(sop_instance_uid: str, steps: tuple[str, ...]) -> str:
    """Return the SOP Instance UID of a report that goes down these classes one after the other."""
    for sop_class_uid in steps:
        sop_instance_uid = deterministic_uid(sop_instance_uid, sop_class_uid)
    return sop_instance_uid


def _not_in_older_classes(item: Dataset) -> Iterator[str]:
    for child in item.get("ContentSequence") or ():
        if child.get("ValueType") == "SCOORD3D":
            yield "three-dimensional coordinates"
        if "ReferencedContentItemIdentifier" in child:
            yield "relationships by reference"
        yield from _not_in_older_classes(child)
