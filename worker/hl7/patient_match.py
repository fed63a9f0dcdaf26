"""Which studies are those of the patient a message names: only those of which that is sure.

PID-3 and MRG-1 list a patient's numbers of every kind and domain: medical record, account, visit, insurance. One of
them may be DICOM's Patient ID, and most images do not say who assigned theirs. The account number of one patient may be
the Patient ID of another.

==========================================================  ==========================================================
the study                                                   its Patient ID is
==========================================================  ==========================================================
its images name an issuer                                   the identifier of that authority
they name none, the site has a ``patient_id_authority``     the identifier of that authority
neither, or the message names no such authority             the message's only identifier, if no authority contradicts
==========================================================  ==========================================================

Only identifiers of ``patient_id_types``, and those without a type, are looked at; where there are none, those of a type
that is the site's own. Where two are left, it is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from hl7_io.inbound import PatientIdentifier
from worker.rows.study_tables import Study
from worker.settings.hl7_listener import Hl7Listener

_NEVER = frozenset({
    "AM", "AN", "ANC", "AND", "ANT", "APRN", "BA", "BC", "BR", "BRN", "CC", "CY", "DDS", "DEA", "DFN", "DI", "DL",
    "DN", "DO", "DP", "DPM", "DR", "DS", "EI", "EN", "FI", "GI", "GL", "GN", "HC", "JHN", "LACSN", "LI", "LN",
    "LR", "MA", "MB", "MC", "MCD", "MCN", "MCR", "MD", "MI", "MS", "NE", "NH", "NI", "NII", "NIIP", "NP", "NPI",
    "OD", "PA", "PC", "PCN", "PEN", "PHC", "PHE", "PHO", "PNT", "PPIN", "PPN", "PRC", "PRN", "QA", "RI", "RN",
    "RPH", "RR", "RRI", "SL", "SN", "SR", "SS", "TAX", "TN", "UPIN", "VN", "VS", "WC", "WCN", "WP", "XX",
})  # fmt: skip
"""Types of HL7 v2.5.1 table 0203 that are no Patient ID: accounts, visits, cards, licences, national numbers."""
_WHICH = "which of its identifiers is the Patient ID of a study here is in doubt"
_WHOSE = "several issuers use this Patient ID and the message names none"


class Fit(Enum):
    """Whether a study is the patient's."""

    YES = "yes"
    NO = "no"
    DOUBT = "doubt"


@dataclass(frozen=True)
class Found:
    """The patient's studies; with a `doubt`, none may be changed."""

    studies: Sequence[Study]
    doubt: str = ""
    """Why a person has to decide; never patient data."""


def patient_ids(identifiers: Sequence[PatientIdentifier], listener: Hl7Listener) -> list[PatientIdentifier]:
    """Return the identifiers that may be a Patient ID, by their type."""
    types = {"", *listener.patient_id_types}
    of_type = [identifier for identifier in identifiers if identifier.identifier_type in types]
    return of_type or [identifier for identifier in identifiers if not _is_another_number(identifier.identifier_type)]


def _is_another_number(identifier_type: str) -> bool:
    national = identifier_type.startswith("NN") and len(identifier_type) == 5  # NN and a country, such as NNESP
    return national or identifier_type in _NEVER


def fit(patient_id: str, issuer: str, identifiers: Sequence[PatientIdentifier], listener: Hl7Listener) -> Fit:
    """Return whether a study or an image with this Patient ID and issuer is the patient's with these identifiers."""
    domain = issuer or listener.patient_id_authority
    typed = patient_ids(identifiers, listener)
    listed = typed or identifiers
    of_domain = [identifier for identifier in listed if domain and identifier.authority == domain]
    possible = of_domain or [identifier for identifier in listed if not (domain and identifier.authority)]
    if patient_id not in {identifier.identifier for identifier in possible}:
        return Fit.NO
    rivals = {identifier.identifier for identifier in of_domain or typed}
    return Fit.YES if typed and len(rivals) == 1 else Fit.DOUBT


def studies_of(
    session: Session,
    identifiers: Sequence[PatientIdentifier],
    listener: Hl7Listener,
    among: Select[Study] | None = None,
) -> Found:
    """Return the patient's studies among those of a query, else among all."""
    ids = [identifier.identifier for identifier in identifiers]
    query = select(Study) if among is None else among
    fits = {
        study: fit(study.patient_id, study.issuer_of_patient_id, identifiers, listener)
        for study in session.scalars(query.where(Study.patient_id.in_(ids)))
    }
    studies = [study for study, fitting in fits.items() if fitting is Fit.YES]
    doubt = doubt_about(fits.values(), [study.issuer_of_patient_id for study in studies], identifiers, listener)
    return Found((), doubt) if doubt else Found(studies)


def doubt_about(
    fits: Iterable[Fit], issuers: Iterable[str], identifiers: Sequence[PatientIdentifier], listener: Hl7Listener
) -> str:
    """Return why it is in doubt whose those are that fit and have these issuers; empty where it is not."""
    if Fit.DOUBT in fits:
        return _WHICH
    domains = {issuer or listener.patient_id_authority for issuer in issuers} - {""}
    if len(domains) > 1 and not all(identifier.authority for identifier in patient_ids(identifiers, listener)):
        return _WHOSE
    return ""
