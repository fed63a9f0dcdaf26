"""On which grounds a person declares images or results invalid, in words that a command line and a page can offer."""

from __future__ import annotations

from enum import StrEnum

from dicom_io.data_sets.rejection_title import RejectionTitle


class Grounds(StrEnum):
    """What rejection notes to archives say; that data are too old is for an archive to say."""

    QUALITY = "quality"
    PATIENT_SAFETY = "patient-safety"
    WRONG_WORKLIST_ENTRY = "wrong-worklist-entry"

    @property
    def note_title(self) -> RejectionTitle:
        """The title of the note."""
        return RejectionTitle[self.name]
