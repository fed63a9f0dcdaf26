"""Why objects are declared invalid: the titles of rejection notes (PS3.16 CID 7010, 7011; IHE IOCM)."""

from __future__ import annotations

from enum import Enum

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"


class RejectionTitle(Enum):
    """The document titles that make a Key Object Selection a rejection note."""

    QUALITY = ("113001", "Rejected for Quality Reasons")
    PATIENT_SAFETY = ("113037", "Rejected for Patient Safety Reasons")
    WRONG_WORKLIST_ENTRY = ("113038", "Incorrect Modality Worklist Entry")
    RETENTION_EXPIRED = ("113039", "Data Retention Policy Expired")

    @property
    def code_value(self) -> str:
        """Code of the title, of coding scheme DCM."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """The title in words."""
        return self.value[1]

    @classmethod
    def of_code(cls, code_value: str) -> RejectionTitle | None:
        """Return the title with this code of DCM, None where it rejects nothing."""
        return next((title for title in cls if title.code_value == code_value), None)
