"""The note that takes results of ours back: a Key Object Selection whose title rejects what it names (IHE IOCM)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, tzinfo

from pydicom import Dataset

from dicom_io.data_sets.character_set import settle_character_set
from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION, RejectionTitle
from dicom_io.foundation.concepts import DCM, Code
from dicom_io.foundation.content_items import CONTAINS, SOURCE, composite, container, image, text
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER
from dicom_io.foundation.uids import deterministic_uid
from dicom_io.results.evidence import evidence_of, observer
from dicom_io.results.identity import copy_patient_and_study
from dicom_io.results.orders import referenced_requests
from dicom_io.results.origin import add_maker
from dicom_io.results.reporting import InvalidReportError

SERIES_NUMBER = 9004
SERIES_DESCRIPTION = "AI CXR results withdrawn"


def build_rejection_note(
    rejected: Sequence[Dataset],
    title: RejectionTitle,
    why: str,
    made_at: datetime,
    *,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> Dataset:
    """Return the note that rejects these objects of ours (TID 2010), filed beside them.

    It carries the patient, study and orders the objects were stored under, right or wrong: an archive looks for them
    there. The same objects and title give the same UIDs.

    Parameters
    ----------
    rejected
        Headers of results of one study; the first one lends patient and study.
    why
        A sentence for people (113012, DCM, "Key Object Description"); never patient data. Where the objects declare no
        character set, letters beyond ASCII become question marks: nobody could read them.
    made_at
        Aware time.

    Raises
    ------
    InvalidReportError
        No object, or objects of two studies.
    """
    if len({str(header.StudyInstanceUID) for header in rejected}) != 1:
        raise InvalidReportError("a rejection note needs at least one object, and all of one study")
    if not rejected[0].get("SpecificCharacterSet"):
        why = why.encode("ascii", "replace").decode()
    sop_instance_uid = note_uid(title, [str(header.SOPInstanceUID) for header in rejected])
    note = _tree(rejected, title, why, device_serial_number)
    note.SOPClassUID = KEY_OBJECT_SELECTION
    note.SOPInstanceUID = sop_instance_uid
    copy_patient_and_study(rejected[0], note)
    version = str(rejected[0].get("SoftwareVersions", ""))
    add_maker(note, rejected[0], made_at, version, site_zone=site_zone, device_serial_number=device_serial_number)
    _add_document(note, rejected)
    settle_character_set(note, rejected[0])
    return note


def _tree(rejected: Sequence[Dataset], title: RejectionTitle, why: str, device_serial_number: str) -> Dataset:
    """Return the root container: who says it, why, and the objects (TID 2010)."""
    objects = [
        (image if "Rows" in header and "Columns" in header else composite)(SOURCE, header) for header in rejected
    ]
    description = text(DCM.KeyObjectDescription, why, CONTAINS)
    children = [*observer(device_serial_number), description, *objects]
    name = Code(title.code_value, "DCM", title.meaning)
    return container(name, children, relationship=None, template="2010")


def _add_document(note: Dataset, rejected: Sequence[Dataset]) -> None:
    """Add the Key Object Document Series and Key Object Document modules (PS3.3 C.17.6.1, C.17.6.2)."""
    note.Modality = "KO"
    note.SeriesInstanceUID = deterministic_uid(note.SOPInstanceUID, "series")
    note.SeriesNumber = SERIES_NUMBER
    note.SeriesDescription = SERIES_DESCRIPTION
    note.ReferencedPerformedProcedureStepSequence = []
    note.InstanceNumber = 1
    note.CurrentRequestedProcedureEvidenceSequence = evidence_of(rejected)
    if requests := stated_requests(rejected):
        note.ReferencedRequestSequence = requests


def note_uid(title: RejectionTitle, sop_instance_uids: Sequence[str]) -> str:
    """Return the SOP Instance UID of the note that rejects exactly these objects for this reason."""
    return deterministic_uid("rejection_note", title.code_value, *sorted(sop_instance_uids))


def stated_requests(rejected: Sequence[Dataset]) -> list[Dataset]:
    """Return the orders that results state: those of the report, which names all, else those of the pictures."""
    for header in rejected:
        if header.get("ReferencedRequestSequence"):
            return list(deepcopy(header.ReferencedRequestSequence))
    return referenced_requests(rejected)
