"""What an HL7 message changes here: corrected identities, studies marked read; what fits nothing changes nothing.

==================  ========================================  =====================================================
message             concerns                                  effect
==================  ========================================  =====================================================
ADT^A08, ADT^A31    every study of the patient                name, birth date and sex corrected, results re-issued;
                                                              a held one goes on where that settles whose it is
ADT^A40, ADT^A47    every study under the prior identifier    the same, and the surviving identifier
ORU^R01 final       the study of the UID it names, else the   marked read
                    one study with its accession number,
                    if the patient is the same
==================  ========================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import singledispatch
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from hl7_io.inbound import FinalReport, Meaning, NotForUs, PatientIdentifier, PatientMerge, PatientUpdate
from hl7_io.observation_report import stated_moment
from worker.arrival.correction import correct_identity
from worker.care.administration import mark_read
from worker.hl7.patient_match import Fit, fit, patient_ids, studies_of
from worker.rows.leases import locked_study
from worker.rows.states import InboundState
from worker.rows.study_tables import Study
from worker.settings.hl7_listener import Hl7Listener

ACTOR = "hl7"
_GRAVITY = (InboundState.IGNORED, InboundState.APPLIED, InboundState.WAITING, InboundState.UNMATCHED)


@dataclass(frozen=True)
class Effect:
    """What became of a message, or of one thing it says."""

    state: InboundState
    reason: str
    """For people; never patient data."""


@dataclass(frozen=True)
class Origin:
    """Where a message came from."""

    cause: str
    """Its type, such as ``ADT^A08``."""
    sender: str
    """For the read mark."""
    received_at: datetime
    """Aware; it reports on nothing that was taken later."""
    zone: ZoneInfo
    """Of the site: that of Study Dates and Times."""


def apply_meanings(session: Session, meanings: Sequence[Meaning], listener: Hl7Listener, origin: Origin) -> Effect:
    """Do what a message says, in its order, in the caller's transaction; doing it twice changes nothing more.

    Parameters
    ----------
    listener
        Where it came in: which identifiers are Patient IDs at this site.
    """
    effects = [_apply(meaning, session, listener, origin) for meaning in meanings]
    gravest = max(effects, key=lambda effect: _GRAVITY.index(effect.state))
    return Effect(gravest.state, "; ".join(dict.fromkeys(effect.reason for effect in effects)))


@singledispatch
def _apply(meaning: Meaning, session: Session, listener: Hl7Listener, origin: Origin) -> Effect:
    raise TypeError(f"no effect is defined for a {type(meaning).__name__}")


@_apply.register
def _(meaning: NotForUs, session: Session, listener: Hl7Listener, origin: Origin) -> Effect:
    return Effect(InboundState.IGNORED, meaning.why)


@_apply.register
def _(meaning: PatientUpdate, session: Session, listener: Hl7Listener, origin: Origin) -> Effect:
    def identity(study: Study) -> tuple[str, str]:
        return study.patient_id, study.issuer_of_patient_id

    return _corrected(session, meaning.identifiers, meaning, listener, origin.cause, identity)


@_apply.register
def _(meaning: PatientMerge, session: Session, listener: Hl7Listener, origin: Origin) -> Effect:
    survivor = _survivor(meaning, listener)
    if survivor is None:
        return Effect(
            InboundState.UNMATCHED, "which identifier survives is in doubt: none, or several, of the prior one's domain"
        )
    same_domain = {survivor.authority} >= {prior.authority for prior in patient_ids(meaning.prior, listener)}

    def identity(study: Study) -> tuple[str, str]:
        return survivor.identifier, study.issuer_of_patient_id if same_domain else survivor.authority

    return _corrected(session, meaning.prior, meaning, listener, origin.cause, identity)


def _survivor(merge: PatientMerge, listener: Hl7Listener) -> PatientIdentifier | None:
    """Return the identifier that takes the prior one's place: the only one, else the only one of its domain."""
    survivors = patient_ids(merge.identifiers, listener)
    if len(survivors) != 1:
        prior = patient_ids(merge.prior, listener)
        domains = {identifier.authority or listener.patient_id_authority for identifier in prior} - {""}
        survivors = [identifier for identifier in survivors if identifier.authority in domains]
    return survivors[0] if len(survivors) == 1 else None


def _corrected(
    session: Session,
    identifiers: Sequence[PatientIdentifier],
    meaning: PatientUpdate | PatientMerge,
    listener: Hl7Listener,
    cause: str,
    identity: Callable[[Study], tuple[str, str]],
) -> Effect:
    found = studies_of(session, identifiers, listener)
    if found.doubt:
        return Effect(InboundState.UNMATCHED, found.doubt)
    if not found.studies:
        return Effect(InboundState.IGNORED, "no study of this patient is here")
    corrected = 0
    for uid in sorted(study.study_instance_uid for study in found.studies):
        study = locked_study(session, uid)
        if study is None or fit(study, identifiers, listener) is not Fit.YES:
            continue
        patient_id, issuer = identity(study)
        corrected += correct_identity(
            session,
            study,
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            demographics=asdict(meaning.demographics),
            names=meaning.names,
            cause=cause,
            actor=ACTOR,
        )
    return Effect(InboundState.APPLIED, f"{corrected} of {len(found.studies)} studies of this patient corrected")


@_apply.register
def _(meaning: FinalReport, session: Session, listener: Hl7Listener, origin: Origin) -> Effect:
    if meaning.study_instance_uids:
        named = select(Study).where(Study.study_instance_uid.in_(meaning.study_instance_uids))
    elif meaning.accession_numbers:
        named = select(Study).where(Study.accession_number.in_(meaning.accession_numbers))
    else:
        return Effect(InboundState.UNMATCHED, "the report names neither a study nor an accession number")
    if session.scalar(named.limit(1)) is None:
        return Effect(InboundState.WAITING, "its study is not here")
    found = studies_of(session, meaning.identifiers, listener, named)
    if found.doubt:
        return Effect(InboundState.UNMATCHED, found.doubt)
    if not found.studies:
        return Effect(InboundState.UNMATCHED, "the study it names is another patient's")
    count = len(found.studies)
    if count > 1 and not meaning.study_instance_uids:
        return Effect(InboundState.UNMATCHED, f"{count} studies have its accession number and it names none")
    if not meaning.study_instance_uids and _may_be_later(found.studies[0], origin):
        return Effect(InboundState.UNMATCHED, "the study with its accession number may have been taken after it")
    reader = f"final report ({origin.sender})" if origin.sender else "final report"
    for study in found.studies:
        mark_read(session, study.study_instance_uid, reader)
    return Effect(InboundState.APPLIED, f"{count} studies are marked read")


def _may_be_later(study: Study, origin: Origin) -> bool:
    """Say whether the study came after the report and no Study Date and Time says that it was taken before.

    An order may have several films: a report on the first one must not take the flag of the next.
    """
    if study.first_received_at <= origin.received_at:
        return False
    stated = stated_moment(study.study_date, study.study_time)
    if not stated:
        return True
    latest = stated + "235959"[len(stated) - len("YYYYMMDD") :]
    taken = datetime.strptime(latest, "%Y%m%d%H%M%S").replace(tzinfo=origin.zone)
    return taken.astimezone(UTC) > origin.received_at
