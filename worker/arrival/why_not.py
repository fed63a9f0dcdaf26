"""Why nothing of a study can be analysed, by what is known of its images."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.decision import Verdict, study_reason
from worker.arrival.copies import ALONE, load_copies
from worker.rows.states import Disposition, StudyState
from worker.rows.study_tables import Instance


@dataclass(frozen=True)
class WhyNot:
    """The state a study ends in without an analysis, and why."""

    state: StudyState
    reason_code: ReasonCode
    reason: str
    images: int
    """How many objects were judged."""


def why_not_analysed(session: Session, study_instance_uid: str) -> WhyNot:
    """Return what the current versions of a study's images say together; call it where none of them may be analysed.

    Processed copies, where they are all that came, are left for a person instead of ignored.
    """
    judged = session.execute(
        select(Instance.disposition, Instance.reason_code, Instance.reason)
        .where(Instance.study_instance_uid == study_instance_uid, Instance.current)
        .where(Instance.disposition != Disposition.CANDIDATE)  # come while this was found out; another run's matter
        .order_by(Instance.id)
    ).all()
    disposition, code = study_reason(
        [Verdict(row.disposition, ReasonCode(row.reason_code) if row.reason_code else None) for row in judged]
    )
    code = code or ReasonCode.NO_IMAGE
    reason = code.sentence
    if code == ReasonCode.REJECTED:  # by whom and why
        reason = next(row.reason for row in judged if row.reason_code == code)
    if code == ReasonCode.PROCESSED_COPY:
        reason = ALONE
        for copy in load_copies(session, study_instance_uid):
            copy.disposition, copy.reason = Disposition.NOT_ANALYSED, ALONE
    return WhyNot(StudyState(disposition), code, reason, len(judged))
