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
from functools import singledispatch

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import InstanceStore
from hl7_io.inbound import FinalReport, Meaning, NotForUs, PatientIdentifier, PatientMerge, PatientUpdate
from worker.arrival.correction import correct_identity
from worker.care.administration import mark_read
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


def apply_meanings(
    session: Session,
    meanings: Sequence[Meaning],
    listener: Hl7Listener,
    store: InstanceStore,
    cause: str,
    sender: str,
) -> Effect:
    """Do what a message says, in its order, in the caller's transaction; doing it twice changes nothing more.

    Parameters
    ----------
    listener
        Where it came in: which identifiers are Patient IDs at this site.
    store
        Where the images are: those of a held study are asked whose they are.
    cause
        The message's type, such as ``ADT^A08``.
    sender
        Who sent it, for the read mark.
    """
    effects = [_apply(meaning, session, listener, store, cause, sender) for meaning in meanings]
    gravest = max(effects, key=lambda effect: _GRAVITY.index(effect.state))
    return Effect(gravest.state, "; ".join(dict.fromkeys(effect.reason for effect in effects)))


@singledispatch
def _apply(
    meaning: Meaning, session: Session, listener: Hl7Listener, store: InstanceStore, cause: str, sender: str
) -> Effect:
    raise TypeError(f"no effect is defined for a {type(meaning).__name__}")


@_apply.register
def _(
    meaning: NotForUs, session: Session, listener: Hl7Listener, store: InstanceStore, cause: str, sender: str
) -> Effect:
    return Effect(InboundState.IGNORED, meaning.why)


@_apply.register
def _(
    meaning: PatientUpdate, session: Session, listener: Hl7Listener, store: InstanceStore, cause: str, sender: str
) -> Effect:
    found = studies_of(session, meaning.identifiers, listener)
    if found.doubt:
        return Effect(InboundState.UNMATCHED, found.doubt)
    locked = _locked(session, {study.study_instance_uid for study in found.studies})
    theirs = [study for study in locked if fit(*_whose(study), meaning.identifiers, listener) is Fit.YES]
    corrected = sum(_correct(session, study, meaning, _whose(study), cause) for study in theirs)
    return _told(corrected, len(theirs))


@_apply.register
def _(
    meaning: PatientMerge, session: Session, listener: Hl7Listener, store: InstanceStore, cause: str, sender: str
) -> Effect:
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
        unite(session, study, several[study], merging, cause=cause, actor=ACTOR)
        if several[study]
        else _correct(session, study, meaning, merging.target(_whose(study)), cause)
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
def _(
    meaning: FinalReport, session: Session, listener: Hl7Listener, store: InstanceStore, cause: str, sender: str
) -> Effect:
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
    for study in found.studies:
        mark_read(session, study.study_instance_uid, f"final report ({sender})" if sender else "final report")
    return Effect(InboundState.APPLIED, f"{count} studies are marked read")
