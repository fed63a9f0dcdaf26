"""Why objects are declared invalid: the titles of rejection notes (PS3.16 CID 7010, 7011; IHE IOCM)."""

from __future__ import annotations

from enum import Enum

from pydicom.sr.coding import Code

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"


class RejectionTitle(Enum):
    """The document titles that make a Key Object Selection a rejection note."""

    QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
    PATIENT_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
    WRONG_WORKLIST_ENTRY = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
    RETENTION_EXPIRED = Code("113039", "DCM", "Data Retention Policy Expired")

    @property
    def code_value(self) -> str:
        """Code of the title, of coding scheme DCM."""
        return str(self.value.value)

    @property
    def meaning(self) -> str:
        """The title in words."""
        return str(self.value.meaning)

    @classmethod
    def of_code(cls, code_value: str) -> RejectionTitle | None:
        """Return the title with this code of DCM, None where it rejects nothing."""
        return next((title for title in cls if title.code_value == code_value), None)
