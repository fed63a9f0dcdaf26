"""What an HL7 message changes here: corrected identities, studies marked read; what fits nothing changes nothing.

==================  ========================================  =====================================================
message             concerns                                  effect
==================  ========================================  =====================================================
ADT^A08, ADT^A31    every study of the patient                name, birth date and sex corrected, results re-issued
ADT^A40, ADT^A47    every study under the prior identifier    the same, and the surviving identifier
ORU^R01 final       the study of the UID it names, else the   marked read
                    one study with its accession number,
                    if the patient is the same
==================  ========================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import singledispatch

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from hl7_io.inbound import FinalReport, Meaning, NotForUs, PatientIdentifier, PatientMerge, PatientUpdate
from worker.arrival.correction import correct_identity
from worker.care.administration import mark_read
from worker.rows.leases import locked_study
from worker.rows.states import InboundState
from worker.rows.study_tables import Study

ACTOR = "hl7"
_GRAVITY = (InboundState.IGNORED, InboundState.APPLIED, InboundState.WAITING, InboundState.UNMATCHED)


@dataclass(frozen=True)
class Effect:
    """What became of a message, or of one thing it says."""

    state: InboundState
    reason: str
    """For people; never patient data."""


def apply_meanings(session: Session, meanings: Sequence[Meaning], cause: str, sender: str) -> Effect:
    """Do what a message says, in its order, in the caller's transaction; doing it twice changes nothing more.

    Parameters
    ----------
    cause
        The message's type, such as ``ADT^A08``.
    sender
        Who sent it, for the read mark.
    """
    effects = [_apply(meaning, session, cause, sender) for meaning in meanings]
    gravest = max(effects, key=lambda effect: _GRAVITY.index(effect.state))
    return Effect(gravest.state, "; ".join(dict.fromkeys(effect.reason for effect in effects)))


@singledispatch
def _apply(meaning: Meaning, session: Session, cause: str, sender: str) -> Effect:
    raise TypeError(f"no effect is defined for a {type(meaning).__name__}")


@_apply.register
def _(meaning: NotForUs, session: Session, cause: str, sender: str) -> Effect:
    return Effect(InboundState.IGNORED, meaning.why)


@_apply.register
def _(meaning: PatientUpdate, session: Session, cause: str, sender: str) -> Effect:
    return _corrected(
        session, meaning.identifiers, meaning, cause, lambda study: (study.patient_id, study.issuer_of_patient_id)
    )


@_apply.register
def _(meaning: PatientMerge, session: Session, cause: str, sender: str) -> Effect:
    survivor = _survivor(meaning)
    if survivor is None:
        return Effect(InboundState.UNMATCHED, "it names several surviving identifiers, none of the prior one's domain")
    same_domain = {survivor.authority} >= {prior.authority for prior in meaning.prior}

    def identity(study: Study) -> tuple[str, str]:
        return survivor.identifier, study.issuer_of_patient_id if same_domain else survivor.authority

    return _corrected(session, meaning.prior, meaning, cause, identity)


def _survivor(merge: PatientMerge) -> PatientIdentifier | None:
    """Return the identifier that takes the prior one's place: the only one, else the only one of its domain."""
    if len(merge.identifiers) == 1:
        return merge.identifiers[0]
    domains = {prior.authority for prior in merge.prior} - {""}
    fitting = [identifier for identifier in merge.identifiers if identifier.authority in domains]
    return fitting[0] if len(fitting) == 1 else None


def _corrected(
    session: Session,
    identifiers: Sequence[PatientIdentifier],
    meaning: PatientUpdate | PatientMerge,
    cause: str,
    identity: Callable[[Study], tuple[str, str]],
) -> Effect:
    studies = _studies_of(session, identifiers, select(Study))
    if not studies:
        return Effect(InboundState.IGNORED, "no study of this patient is here")
    if _is_ambiguous(studies, identifiers):
        return Effect(InboundState.UNMATCHED, "several issuers use this Patient ID and the message names none")
    corrected = 0
    for uid in sorted(study.study_instance_uid for study in studies):
        study = locked_study(session, uid)
        if study is None or not _is_of(study, identifiers):
            continue
        patient_id, issuer = identity(study)
        corrected += correct_identity(
            session,
            study,
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            demographics=asdict(meaning.demographics),
            cause=cause,
            actor=ACTOR,
        )
    return Effect(InboundState.APPLIED, f"{corrected} of {len(studies)} studies of this patient corrected")


@_apply.register
def _(meaning: FinalReport, session: Session, cause: str, sender: str) -> Effect:
    if meaning.study_instance_uids:
        named = select(Study).where(Study.study_instance_uid.in_(meaning.study_instance_uids))
    elif meaning.accession_numbers:
        named = select(Study).where(Study.accession_number.in_(meaning.accession_numbers))
    else:
        return Effect(InboundState.UNMATCHED, "the report names neither a study nor an accession number")
    found = session.scalars(named).all()
    studies = _studies_of(session, meaning.identifiers, named)
    if not found:
        return Effect(InboundState.WAITING, "its study is not here")
    if not studies:
        return Effect(InboundState.UNMATCHED, "the study it names is another patient's")
    if _is_ambiguous(studies, meaning.identifiers):
        return Effect(InboundState.UNMATCHED, "several issuers use this Patient ID and the message names none")
    if len(studies) > 1 and not meaning.study_instance_uids:
        return Effect(InboundState.UNMATCHED, f"{len(studies)} studies have its accession number and it names none")
    for study in studies:
        mark_read(session, study.study_instance_uid, f"final report ({sender})" if sender else "final report")
    return Effect(InboundState.APPLIED, f"{len(studies)} studies are marked read")


def _studies_of(session: Session, identifiers: Sequence[PatientIdentifier], among: Select[Study]) -> list[Study]:
    """Return the patient's studies among those of a query; a missing issuer contradicts nothing."""
    ids = [identifier.identifier for identifier in identifiers]
    return [study for study in session.scalars(among.where(Study.patient_id.in_(ids))) if _is_of(study, identifiers)]


def _is_of(study: Study, identifiers: Sequence[PatientIdentifier]) -> bool:
    issuer = study.issuer_of_patient_id
    return any(
        study.patient_id == identifier.identifier and (not issuer or identifier.authority in ("", issuer))
        for identifier in identifiers
    )


def _is_ambiguous(studies: Sequence[Study], identifiers: Sequence[PatientIdentifier]) -> bool:
    """Return whether the studies may be those of two patients who share an identifier."""
    issuers = {study.issuer_of_patient_id for study in studies} - {""}
    return len(issuers) > 1 and any(not identifier.authority for identifier in identifiers)
