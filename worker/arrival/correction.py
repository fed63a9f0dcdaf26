"""Whose study it is, after a hospital system or a person has said that the images name the wrong patient or order.

A correction is a row beside the study. It never touches a stored image: it is laid over the header of every image that
carries the identity it replaces, when images are received and when results are built
(`worker.arrival.corrected_images`). A study with a correction that no run has carried yet is due for a run, which
repeats the findings without inference under the corrected identity and whose report names the one it replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from dicom_io.data_sets.patient_age import dicom_date
from worker.arrival.corrected_images import DEMOGRAPHICS, alike, outdates_age
from worker.arrival.identity import storable
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.outcome import supersede_pending
from worker.rows.run_tables import Result
from worker.rows.states import StudyState
from worker.rows.study_tables import IdentityCorrection, Study

_LONGEST_SEX = 16
"""Characters of a code string (PS3.5 6.2), which the column of a correction is made for."""


def correct_identity(
    session: Session,
    study: Study,
    *,
    patient_id: str,
    issuer_of_patient_id: str,
    demographics: Mapping[str, str | None],
    cause: str,
    actor: str,
    accession_number: str | None = None,
    names: Sequence[str] = (),
    reason: str = "",
) -> bool:
    """Write down whose study it is, stop what still waits to be sent under the old identity, make the study due.

    The study's next run issues the results again, and archives that have something under the old identity get a
    rejection note when it ends (`worker.runs.misfiled`), if they had none before. The caller has locked the study's
    row and commits.

    Parameters
    ----------
    demographics
        ``patient_name``, ``patient_birth_date``, ``patient_sex`` as DICOM writes them; None leaves one as it is, as a
        birth date that is no date does. The age goes when the patient or the birth date is another.
    cause, reason
        What said so, such as ``ADT^A40``, and a person's words for the audit trail; never patient data.
    accession_number
        Of the order, for the images that carry the study's present one; None leaves it as it is.
    names
        Other names that the patient is said to have or to have had: images of them are the patient's, too.

    Returns
    -------
    bool
        False when the study says all this already; nothing was written then.
    """
    held = study.state == StudyState.HELD  # its images do not all say what its row says
    said = _told(demographics)
    changed = {c: value for c, value in said.items() if held or not _says_alike(c, value, getattr(study, c))}
    if accession_number is not None and (order := storable(accession_number)) != study.accession_number:
        changed["accession_number"] = order
    patient_id, issuer = storable(patient_id), storable(issuer_of_patient_id or study.issuer_of_patient_id)
    if not changed and (patient_id, issuer) == (study.patient_id, study.issuer_of_patient_id):
        return False
    columns = {"patient_id": patient_id, "issuer_of_patient_id": issuer, **changed}
    correction = _correction(study, columns, cause, database_now(session))
    correction.names_verbatim = held
    own_name = "" if held else study.patient_name
    correction.concerned_names = telling_names([own_name, said.get("patient_name", ""), *names])
    if held and _was_said(session, correction):
        return False
    session.add(correction)
    if outdates_age(correction, changed, study.patient_birth_date):
        study.patient_age = ""
    differing = _replace(study, columns)
    noted = f"{cause} changed {', '.join(differing) or 'what images say'}; what was not sent yet is stopped and"
    noted += f" issued again{f': {reason}' if reason else ''}"
    issue_again(session, study, differing, noted, actor=actor, at=correction.at)
    return True


def _replace(study: Study, columns: Mapping[str, str]) -> list[str]:
    """Have the study's row say these; returns the columns that said something else, in the order of the alphabet."""
    differing = sorted(column for column, value in columns.items() if value != getattr(study, column))
    for column, value in columns.items():
        setattr(study, column, value)
    return differing


def issue_again(
    session: Session, study: Study, columns: Sequence[str], reason: str, *, actor: str, at: datetime
) -> None:
    """Stop what waits to be sent under the old identity and make the study due, once a correction of it is written.

    Parameters
    ----------
    columns
        Of ``study``, that are another for some of its images; for the audit trail, as the reason is.
    """
    supersede_pending(session, select(Result.id).where(Result.run_id == study.current_run_id))
    study.due_at = at
    record(
        session,
        "identity_corrected",
        actor=actor,
        study_instance_uid=study.study_instance_uid,
        run_id=study.current_run_id,
        reason=reason,
        details={"columns": list(columns)},
        at=at,
    )
    session.flush()


def agree_on(session: Session, study: Study, demographics: Mapping[str, str], *, cause: str) -> IdentityCorrection:
    """Write down the name, birth date and sex of all images under the study's Patient ID, whatever name these have.

    The caller has locked the study's row, takes the correction over into it, and commits.

    Parameters
    ----------
    demographics
        Some of ``patient_name``, ``patient_birth_date``, ``patient_sex`` as DICOM writes them.
    """
    columns = {"patient_id": study.patient_id, "issuer_of_patient_id": study.issuer_of_patient_id}
    columns |= _told(demographics)
    correction = _correction(study, columns, cause, database_now(session))
    session.add(correction)
    session.flush()
    return correction


def _told(demographics: Mapping[str, str | None]) -> dict[str, str]:
    """Return what is said of name, birth date and sex, by column, as a correction keeps it.

    Systems that answer with what old images say write dates with dots (PS3.5 6.2). What is no date, and a sex longer
    than DICOM's (VR CS), say nothing; an empty value says that there is none.
    """
    told = {column: storable(value) for column in DEMOGRAPHICS if (value := demographics.get(column)) is not None}
    if birth_date := told.get("patient_birth_date", "").strip():
        if born := dicom_date(birth_date):
            told["patient_birth_date"] = born.isoformat().replace("-", "")
        else:
            del told["patient_birth_date"]
    if len(told.get("patient_sex", "")) > _LONGEST_SEX:
        del told["patient_sex"]
    return told


def _says_alike(column: str, value: str, known: str) -> bool:
    """Whether what was told is what the study says, however that is written."""
    if column == "patient_birth_date" and (born := dicom_date(known.strip())):
        return born == dicom_date(value)
    return alike(value, known)


def _correction(study: Study, columns: Mapping[str, str], cause: str, now: datetime) -> IdentityCorrection:
    """Return the row that leads from what the study says now to these columns."""
    return IdentityCorrection(
        study_instance_uid=study.study_instance_uid,
        at=now,
        cause=cause[:64],
        prior_patient_id=study.patient_id,
        prior_issuer_of_patient_id=study.issuer_of_patient_id,
        patient_id=columns["patient_id"],
        issuer_of_patient_id=columns["issuer_of_patient_id"],
        prior_accession_number=study.accession_number,
        **{column: columns.get(column) for column in (*DEMOGRAPHICS, "accession_number")},
    )


def _was_said(session: Session, correction: IdentityCorrection) -> bool:
    """Return whether the study's last correction says the same."""
    before = corrections_of(session, correction.study_instance_uid)[-1:]
    said = ("patient_id", "issuer_of_patient_id", *DEMOGRAPHICS, "concerned_names", "names_verbatim")
    return any(all(getattr(one, column) == getattr(correction, column) for column in said) for one in before)


def telling_names(names: Iterable[str]) -> list[str]:
    """Return each of the names that can tell images apart, once and as stored: those with letters."""
    return list(dict.fromkeys(storable(name) for name in names if any(letter.isalpha() for letter in name)))


def corrections_of(session: Session, study_instance_uid: str) -> list[IdentityCorrection]:
    """Return the study's corrections, oldest first."""
    query = select(IdentityCorrection).where(IdentityCorrection.study_instance_uid == study_instance_uid)
    return list(session.scalars(query.order_by(IdentityCorrection.id)))


def is_owed(session: Session, study: Study) -> bool:
    """Return whether results exist that lack a correction of the study."""
    if study.current_run_id is None:
        return False
    return bool(session.scalar(_is_owed(), {"study": study.study_instance_uid}))


@cache
def _is_owed() -> Select[bool]:
    """Return the query whether ``study`` lacks a correction; putting it together takes longer than its answer."""
    return select(lacks_correction(bindparam("study")))


def lacks_correction(study_instance_uid: BindParameter[str] | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Return the condition that the study has a correction that no run's results carry yet."""
    return (
        select(IdentityCorrection.id)
        .where(IdentityCorrection.study_instance_uid == study_instance_uid, IdentityCorrection.run_id.is_(None))
        .exists()
    )


def note_carried(session: Session, corrections: Sequence[IdentityCorrection], run_id: int) -> None:
    """Note that the run's results carry these corrections."""
    if not corrections:
        return
    session.execute(
        update(IdentityCorrection)
        .where(IdentityCorrection.id.in_([correction.id for correction in corrections]))
        .where(IdentityCorrection.run_id.is_(None))
        .values(run_id=run_id)
    )
