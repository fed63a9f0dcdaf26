"""What a received Key Object Selection rejects, if its title says that it rejects something (IHE IOCM, RAD-66)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble

from dicom_io.data_sets.dicom_file import parse_dicom
from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.data_sets.header import DEFLATED, PARSE_ERRORS, inflate_head, text
from dicom_io.data_sets.nesting import TooManyItemsError, require_few_items
from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.foundation.reasons import UndecodableError
from dicom_io.foundation.uids import is_valid_uid

MAXIMUM_NOTE_BYTES = 64 << 20
MAXIMUM_ITEMS = 100_000
"""Six for each image of a series of some thousands, and as much again."""
_META_GROUP = 2
MAXIMUM_DEPTH = 16
"""Items within items that are looked into; TID 2010 needs two."""


class UnreadableNoteError(Exception):
    """A key object selection that cannot be read; the message holds no patient data."""


@dataclass(frozen=True)
class RejectionNote:
    """What one note declares invalid."""

    title: RejectionTitle
    sop_instance_uids: frozenset[tuple[str, str]]
    """(Study Instance UID, SOP Instance UID)."""


def read_rejection_note(path: Path) -> RejectionNote | None:
    """Return what the stored Key Object Selection rejects; None when it is of another kind.

    The objects are those of the content tree; what its evidence does not place in a study is in the note's own.

    Raises
    ------
    UnreadableNoteError
        It is too large, has too many items, or is damaged.
    """
    if path.stat().st_size > MAXIMUM_NOTE_BYTES:
        raise UnreadableNoteError(f"larger than {MAXIMUM_NOTE_BYTES >> 20} MiB")
    content = path.read_bytes()
    try:
        _require_few_items(content)
        return _rejected(parse_dicom(content))
    except TooManyItemsError as error:
        raise UnreadableNoteError(str(error)) from None
    except (UndecodableError, InvalidDicomError, NotADataSetError, TruncatedDataSetError, *PARSE_ERRORS) as error:
        raise UnreadableNoteError(f"cannot be parsed ({type(error).__name__})") from None


def _require_few_items(note: bytes) -> None:
    """Count the items; how deep they are nested matters not, as nobody looks deeper than `MAXIMUM_DEPTH`."""
    file = BytesIO(note)
    read_preamble(file, False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != _META_GROUP)
    content, syntax = note[file.tell() :], text(meta, "TransferSyntaxUID")
    if syntax in DEFLATED:
        content, _whole = inflate_head(content, MAXIMUM_NOTE_BYTES)
    require_few_items(content, syntax, most_items=MAXIMUM_ITEMS, deepest=MAXIMUM_ITEMS)


def _rejected(dataset: Dataset) -> RejectionNote | None:
    title = _title(dataset)
    if title is None:
        return None
    own_study = text(dataset, "StudyInstanceUID")
    placed = dict(_evidence(dataset))
    named = set(_named(dataset, MAXIMUM_DEPTH)) or set(placed)
    found = {(placed.get(uid, own_study), uid) for uid in named}
    return RejectionNote(title, frozenset(pair for pair in found if all(is_valid_uid(uid) for uid in pair)))


def _title(dataset: Dataset) -> RejectionTitle | None:
    for item in dataset.get("ConceptNameCodeSequence") or ():
        if text(item, "CodingSchemeDesignator") == "DCM":
            return RejectionTitle.of_code(text(item, "CodeValue"))
    return None


def _evidence(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield (SOP Instance UID, Study Instance UID) of the evidence (PS3.3 table C.17.6-1)."""
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for item in series.get("ReferencedSOPSequence") or ():
                yield text(item, "ReferencedSOPInstanceUID"), text(study, "StudyInstanceUID")


def _named(item: Dataset, depth: int) -> Iterator[str]:
    """Yield the SOP Instance UIDs that the content tree refers to."""
    for child in (item.get("ContentSequence") or ()) if depth else ():
        for reference in child.get("ReferencedSOPSequence") or ():
            yield text(reference, "ReferencedSOPInstanceUID")
        yield from _named(child, depth - 1)
