"""What an HL7 message changes here: corrected identities, studies marked read; what fits nothing changes nothing.

==================  ========================================  =====================================================
message             concerns                                  effect
==================  ========================================  =====================================================
ADT^A08, ADT^A31    every study of the patient                name, birth date and sex corrected, results re-issued;
                                                              a held one goes on where that settles whose it is
ADT^A40, ADT^A47    every study under the prior identifier,   the same, and the surviving identifier
                    every held one with images under it
ORU^R01 final       the study of the UID it names, else the   marked read
                    one study with its accession number,
                    if the patient is the same
==================  ========================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import singledispatch
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import InstanceStore
from hl7_io.inbound import FinalReport, Meaning, NotForUs, PatientIdentifier, PatientMerge, PatientUpdate
from hl7_io.observation_report import stated_moment
from worker.arrival.correction import correct_identity
from worker.care.administration import mark_read
from worker.foundation.wall_clock import latest
from worker.hl7.held_merge import Columns, Merging, Whose, divided, held_with_images_of, unite, whose
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


def apply_meanings(
    session: Session, meanings: Sequence[Meaning], listener: Hl7Listener, store: InstanceStore, origin: Origin
) -> Effect:
    """Do what a message says, in its order, in the caller's transaction; doing it twice changes nothing more.

    Parameters
    ----------
    listener
        Where it came in: which identifiers are Patient IDs at this site.
    store
        Where the images are: those of a held study are asked whose they are.
    """
    effects = [_apply(meaning, session, listener, store, origin) for meaning in meanings]
    gravest = max(effects, key=lambda effect: _GRAVITY.index(effect.state))
    return Effect(gravest.state, "; ".join(dict.fromkeys(effect.reason for effect in effects)))


@singledispatch
def _apply(meaning: Meaning, session: Session, listener: Hl7Listener, store: InstanceStore, origin: Origin) -> Effect:
    raise TypeError(f"no effect is defined for a {type(meaning).__name__}")


@_apply.register
def _(meaning: NotForUs, session: Session, listener: Hl7Listener, store: InstanceStore, origin: Origin) -> Effect:
    return Effect(InboundState.IGNORED, meaning.why)


@_apply.register
def _(meaning: PatientUpdate, session: Session, listener: Hl7Listener, store: InstanceStore, origin: Origin) -> Effect:
    found = studies_of(session, meaning.identifiers, listener)
    if found.doubt:
        return Effect(InboundState.UNMATCHED, found.doubt)
    locked = _locked(session, {study.study_instance_uid for study in found.studies})
    theirs = [study for study in locked if fit(*_whose(study), meaning.identifiers, listener) is Fit.YES]
    corrected = sum(_correct(session, study, meaning, _whose(study), origin.cause) for study in theirs)
    return _told(corrected, len(theirs))


@_apply.register
def _(meaning: PatientMerge, session: Session, listener: Hl7Listener, store: InstanceStore, origin: Origin) -> Effect:
    survivor = _survivor(meaning, listener)
    if survivor is None:
        return Effect(
            InboundState.UNMATCHED, "which identifier survives is in doubt: none, or several, of the prior one's domain"
        )
    merging = Merging(meaning, survivor, listener)
    found = studies_of(session, meaning.prior, listener)
    uids = {study.study_instance_uid for study in found.studies} | set(held_with_images_of(session, meaning.prior))
    stated: dict[Study, list[Whose]] = {}
    several: dict[Study, list[Columns]] = {}
    for study in _locked(session, uids):
        several[study] = divided(session, study, store)
        stated[study] = [whose(image) for image in several[study]] or [_whose(study)]
    if doubt := found.doubt or merging.doubt(each for of_study in stated.values() for each in of_study):
        return Effect(InboundState.UNMATCHED, doubt)
    theirs = [study for study, each in stated.items() if Fit.YES in map(merging.concerns, each)]
    corrected = sum(
        unite(session, study, several[study], merging, cause=origin.cause, actor=ACTOR)
        if several[study]
        else _correct(session, study, meaning, merging.target(_whose(study)), origin.cause)
        for study in theirs
    )
    return _told(corrected, len(theirs))


def _survivor(merge: PatientMerge, listener: Hl7Listener) -> PatientIdentifier | None:
    """Return the identifier that takes the prior one's place: the only one, else the only one of its domain."""
    survivors = patient_ids(merge.identifiers, listener)
    if len(survivors) != 1:
        prior = patient_ids(merge.prior, listener)
        domains = {identifier.authority or listener.patient_id_authority for identifier in prior} - {""}
        survivors = [identifier for identifier in survivors if identifier.authority in domains]
    return survivors[0] if len(survivors) == 1 else None


def _locked(session: Session, uids: Iterable[str]) -> list[Study]:
    """Return the studies, locked in an order that is the same for everybody."""
    return [study for uid in sorted(uids) if (study := locked_study(session, uid)) is not None]


def _whose(study: Study) -> Whose:
    return study.patient_id, study.issuer_of_patient_id


def _correct(session: Session, study: Study, meaning: PatientUpdate | PatientMerge, now: Whose, cause: str) -> bool:
    """Say of the study what the message does; `now` is the Patient ID that it goes by from now on, and its issuer."""
    return correct_identity(
        session,
        study,
        patient_id=now[0],
        issuer_of_patient_id=now[1],
        demographics=asdict(meaning.demographics),
        names=meaning.names,
        cause=cause,
        actor=ACTOR,
    )


def _told(corrected: int, studies: int) -> Effect:
    if not studies:
        return Effect(InboundState.IGNORED, "no study of this patient is here")
    return Effect(InboundState.APPLIED, f"{corrected} of {studies} studies of this patient corrected")


@_apply.register
def _(meaning: FinalReport, session: Session, listener: Hl7Listener, store: InstanceStore, origin: Origin) -> Effect:
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
    at_the_latest = stated + "235959"[len(stated) - len("YYYYMMDD") :]
    return latest(datetime.strptime(at_the_latest, "%Y%m%d%H%M%S"), origin.zone) > origin.received_at
