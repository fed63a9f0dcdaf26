"""What images say of patient and order once the corrections of their study are laid over them, in memory only.

Name, birth date and sex are corrected in the images of the name that the study went by, or that the correction itself
gives, and in those without one: any other name under the Patient ID may be another patient's, and stays. A correction
of a held study concerns only images whose name is written as it writes one: a spelling there may stand for two.

Another Patient ID is another patient: what the images say of the old one and the correction does not say goes, such as
the age, other Patient IDs or the weight. Name, birth date and sex alone stay where a correction leaves them open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_io.data_sets.character_set import UTF_8
from dicom_io.data_sets.header import text
from dicom_io.data_sets.person_names import names_agree
from worker.arrival.identity import storable
from worker.rows.study_tables import IdentityCorrection

DEMOGRAPHICS = {
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
}
"""Column of ``study`` and of a correction -> keyword of the attribute."""
_PATIENT_GROUP = 0x0010
"""Whatever describes a patient has tags of this group (PS3.6), down to weight and comments."""
_LEFT_TO_THE_CORRECTION = [Tag(keyword) for keyword in ("PatientID", "IssuerOfPatientID", *DEMOGRAPHICS.values())]


def corrected_columns(columns: Mapping[str, str], corrections: Sequence[IdentityCorrection]) -> dict[str, str]:
    """Return the columns of ``study`` that an image states, as the corrections would have it state them."""
    corrected = dict(columns)
    for correction in corrections:
        if _applies(correction, corrected["patient_id"], corrected["issuer_of_patient_id"]):
            demographics = _demographics(correction, corrected["patient_name"])
            if outdates_age(correction, demographics, corrected["patient_birth_date"]):
                corrected["patient_age"] = ""
            corrected |= {"patient_id": correction.patient_id, "issuer_of_patient_id": correction.issuer_of_patient_id}
            corrected |= {column: value for column, value in demographics.items() if value}
            if _is_of_order(correction, corrected["accession_number"]):
                corrected["accession_number"] = correction.accession_number or ""
    return corrected


def lay_over(header: Dataset, corrections: Sequence[IdentityCorrection]) -> None:
    """Make the header in memory name the patient as corrected, where it names the one that was corrected."""
    for correction in corrections:
        if not _applies(correction, storable(text(header, "PatientID")), storable(text(header, "IssuerOfPatientID"))):
            continue
        _declare_character_set(header, correction)
        demographics = _demographics(correction, storable(text(header, "PatientName")))
        _forget_patient(header, correction, demographics)
        header.PatientID = correction.patient_id
        if correction.issuer_of_patient_id != text(header, "IssuerOfPatientID"):
            header.IssuerOfPatientID = correction.issuer_of_patient_id
            if "IssuerOfPatientIDQualifiersSequence" in header:  # says more about the old issuer
                del header.IssuerOfPatientIDQualifiersSequence
        for column, value in demographics.items():
            setattr(header, DEMOGRAPHICS[column], value)
        _lay_over_order(header, correction)


def _demographics(correction: IdentityCorrection, patient_name: str) -> dict[str, str]:
    """Return what the correction says of the name, birth date and sex of an image with this name; nothing of others."""
    names, concerned = correction.concerned_names, alike if correction.names_verbatim else names_agree
    if patient_name and names is not None and not any(concerned(patient_name, name) for name in names):
        return {}
    stated = {column: getattr(correction, column) for column in DEMOGRAPHICS}
    return {column: value for column, value in stated.items() if value is not None}


def _forget_patient(header: Dataset, correction: IdentityCorrection, demographics: Mapping[str, str]) -> None:
    """Take out what is true of the old patient, or of the old birth date, only."""
    if _names_another(correction):
        of_patient = header.group_dataset(_PATIENT_GROUP).keys()
        gone = [tag for tag in of_patient if tag not in _LEFT_TO_THE_CORRECTION]
        gone.append(Tag("ReferencedPatientSequence"))
    elif outdates_age(correction, demographics, storable(text(header, "PatientBirthDate"))):
        gone = [Tag("PatientAge")]
    else:
        return
    for tag in gone:
        header.pop(tag, None)


def _names_another(correction: IdentityCorrection) -> bool:
    """Whether it leads to another patient; an issuer named for the first time makes nobody another."""
    issuer, before = correction.issuer_of_patient_id, correction.prior_issuer_of_patient_id
    return correction.patient_id != correction.prior_patient_id or bool(before and issuer != before)


def outdates_age(correction: IdentityCorrection, demographics: Mapping[str, str], patient_birth_date: str) -> bool:
    """Whether the age that stands beside this birth date is true no longer."""
    return _names_another(correction) or demographics.get("patient_birth_date") not in (None, patient_birth_date)


def _lay_over_order(header: Dataset, correction: IdentityCorrection) -> None:
    """Name the order as corrected in the study and in the request that has the study's accession number."""
    if not _is_of_order(correction, storable(text(header, "AccessionNumber"))):
        return
    for item in (header, *(header.get("RequestAttributesSequence") or ())):
        if item is header or text(item, "AccessionNumber") == correction.prior_accession_number:
            item.AccessionNumber = correction.accession_number


def _is_of_order(correction: IdentityCorrection, accession_number: str) -> bool:
    return correction.accession_number is not None and accession_number in ("", correction.prior_accession_number)


def _declare_character_set(header: Dataset, correction: IdentityCorrection) -> None:
    """Let a header that declares no character set hold letters beyond ASCII."""
    texts = (
        correction.patient_id,
        correction.issuer_of_patient_id,
        correction.patient_name or "",
        correction.accession_number or "",
    )
    if not header.get("SpecificCharacterSet") and not all(value.isascii() for value in texts):
        header.decode()
        header.SpecificCharacterSet = UTF_8


def _applies(correction: IdentityCorrection, patient_id: str, issuer: str) -> bool:
    same_issuer = not issuer or issuer in (correction.prior_issuer_of_patient_id, correction.issuer_of_patient_id)
    return patient_id == correction.prior_patient_id and (same_issuer or not correction.prior_issuer_of_patient_id)


def alike(value: str, known: str) -> bool:
    """Whether two names differ in nothing but letter case and empty parts, as between two systems they often do."""
    return _folded(value) == _folded(known)


def _folded(value: str) -> list[str]:
    return [group.rstrip("^ ").casefold() for group in value.rstrip("= ").split("=")]
