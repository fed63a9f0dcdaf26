"""A person says that a study is another patient's, or answers another order: its results are issued again.

Stored images are not touched; the correction is laid over them (`worker.arrival.corrected_images`). The page may
call this as the command line does; ring for the delivery after the commit. The sweeper queues the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from worker.arrival.correction import correct_identity
from worker.care.administration import existing_study, stated
from worker.foundation.errors import WorkerError
from worker.rows.run_tables import Run
from worker.rows.states import RunState, StudyState
from worker.rows.study_tables import Study
from worker.sending.rejection import TakenBack, Why, take_back
from worker.settings.config import Settings

CAUSE = "person"


class CorrectionRefused(WorkerError):
    """The study's identity cannot be corrected as asked; the message says why."""

    def __init__(self, study_instance_uid: str, why: str) -> None:
        super().__init__(f"study {study_instance_uid} is not corrected: {why}")


@dataclass(frozen=True)
class Identity:
    """What is true of a study, as DICOM writes it; None leaves what is there."""

    patient_id: str | None = None
    issuer_of_patient_id: str | None = None
    patient_name: str | None = None
    """Such as ``Family^Given``."""
    patient_birth_date: str | None = None
    """YYYYMMDD."""
    patient_sex: str | None = None
    """M, F or O."""
    accession_number: str | None = None

    def stated(self) -> dict[str, str]:
        """Return what is not left as it is, by column of ``study``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.strip() for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Corrected:
    """What a correction set in motion."""

    study_instance_uid: str
    columns: tuple[str, ...]
    """What was changed."""
    taken_back: TakenBack

    @property
    def summary(self) -> str:
        """Return what happened, in a sentence without the patient."""
        told = f"; {self.taken_back.words}" if self.taken_back.words else ""
        changed = ", ".join(column.replace("_", " ") for column in self.columns)
        return f"study {self.study_instance_uid} is corrected ({changed}); its results are issued again{told}"


def correct_study(
    session: Session, study_instance_uid: str, identity: Identity, *, reason: str, by: str, settings: Settings
) -> Corrected:
    """Correct whose study it is, or which order it answers, in a person's name.

    Archives get a rejection note for what they have; HL7 receivers a withdrawal where another patient or order was
    named. The next run repeats the findings without inference, and its report names the one it replaces.

    Parameters
    ----------
    reason
        A sentence for the audit trail, archives and HL7 receivers; never patient data.
    by
        The person's name.

    Raises
    ------
    UnknownStudy
        The study was never received.
    CorrectionRefused
        It is held, a value is not valid in DICOM, or the study says all this already.
    NotStated
        No reason or no name.
    StoreError
        The store of results is full.
    """
    reason, by = stated("reason", reason), stated("name", by)
    study = existing_study(session, study_instance_uid)
    wanted = identity.stated()
    _require_correctable(study, wanted)
    before = {column: str(getattr(study, column)) for column in wanted}
    changed = correct_identity(
        session,
        study,
        patient_id=wanted.get("patient_id", study.patient_id),
        issuer_of_patient_id=wanted.get("issuer_of_patient_id", study.issuer_of_patient_id),
        demographics=wanted,
        accession_number=wanted.get("accession_number"),
        cause=CAUSE,
        actor=by,
        reason=reason,
    )
    if not changed:
        raise CorrectionRefused(study_instance_uid, "it says all this already")
    columns = tuple(column for column, value in before.items() if value != getattr(study, column))
    taken_back = _take_back(session, study, columns, reason, by, settings)
    return Corrected(study_instance_uid, columns, taken_back)


def _take_back(
    session: Session, study: Study, columns: tuple[str, ...], reason: str, by: str, settings: Settings
) -> TakenBack:
    runs = session.scalars(
        select(Run)
        .where(Run.study_instance_uid == study.study_instance_uid)
        .where(Run.state.in_((RunState.DONE, RunState.SUPERSEDED)))
        .order_by(Run.id)
    ).all()
    why = Why(RejectionTitle.WRONG_WORKLIST_ENTRY, f"patient or order data were wrong ({reason})", by)
    another = bool({"patient_id", "issuer_of_patient_id", "accession_number"} & set(columns))
    return take_back(session, runs, why, settings, messages=another)


def _require_correctable(study: Study, wanted: Mapping[str, str]) -> None:
    uid = study.study_instance_uid
    if study.state == StudyState.HELD:
        raise CorrectionRefused(uid, "it is held; `python -m worker release` settles whose it is first")
    if not wanted:
        raise CorrectionRefused(uid, "nothing to correct was named")
    for column, value in wanted.items():
        is_valid, rule = _RULES[column]
        if not is_valid(value):
            raise CorrectionRefused(uid, f"{column.replace('_', ' ')} must be {rule}")


def _plain(longest: int) -> Callable[[str], bool]:
    """Return whether a value is text of a DICOM LO, SH or PN: short enough, no backslash, no control character."""
    return lambda value: 0 < len(value) <= longest and "\\" not in value and value.isprintable()


def _is_name(value: str) -> bool:
    groups = value.split("=")
    return len(groups) <= 3 and all(_plain(64)(group) or not group for group in groups) and bool(groups[0])


def _is_date(value: str) -> bool:
    try:
        datetime.strptime(value, "%Y%m%d")
    except ValueError:
        return False
    return len(value) == 8


_RULES: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "patient_id": (_plain(64), "1 to 64 characters without a backslash"),
    "issuer_of_patient_id": (_plain(64), "1 to 64 characters without a backslash"),
    "patient_name": (_is_name, "a DICOM person name, such as Family^Given, of at most 64 characters"),
    "patient_birth_date": (_is_date, "a date as YYYYMMDD"),
    "patient_sex": (lambda value: value in ("M", "F", "O"), "M, F or O"),
    "accession_number": (_plain(16), "1 to 16 characters without a backslash"),
}
