"""Rejection notes as an archive or a modality sends them, made without any code of ours."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import ObserverContext, PersonObserverIdentifyingAttributes
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

TITLES = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
    "113000": "Of Interest",
}


def archive_note(named: Sequence[Dataset], title: str = "113001") -> Dataset:
    """Return the Key Object Selection of an archive that names these objects of one study.

    Parameters
    ----------
    title
        Code of DCM; 113000 rejects nothing.
    """
    person = PersonObserverIdentifyingAttributes(name="Quality^Control")
    note = KeyObjectSelectionDocument(
        evidence=list(named),
        content=KeyObjectSelection(
            Code(title, "DCM", TITLES[title]),
            list(named),
            observer_person_context=ObserverContext(codes.DCM.Person, person),
        ),
        series_instance_uid=generate_uid(),
        series_number=99,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Archive",
    )
    for keyword in ("AccessionNumber", "PatientID", "PatientName", "StudyID", "StudyDate", "StudyTime"):
        if keyword in named[0]:
            setattr(note, keyword, named[0][keyword].value)
    return note


def named(note: Dataset) -> set[str]:
    """Return the SOP Instance UIDs in the evidence of a note about one study."""
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    return {
        str(item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
