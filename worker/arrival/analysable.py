"""Which instances of a study a run looks at: those fit for analysis, and those a further look may judge otherwise."""

from __future__ import annotations

from sqlalchemy import BindParameter, ColumnElement, and_, or_

from dicom_io.reasons import ReasonCode
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance

WORTH_ANOTHER_TRY = (ReasonCode.UNDECODABLE, ReasonCode.BLANK)
"""Reasons that a newer decoder or better bytes may have cured when a study is run again."""

NOT_OF_THIS_STUDY = (ReasonCode.IDENTITY_CONFLICT, ReasonCode.REJECTED)
"""Reasons that no run may overlook, whatever an earlier one saw in the picture: another patient's, or invalid."""


def is_analysable(study_instance_uid: str) -> ColumnElement[bool]:
    """Return the condition on ``Instance`` for the current versions that a run of this study looks at."""
    return (Instance.study_instance_uid == study_instance_uid) & is_fit()


def is_waiting(study_instance_uid: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition on ``Instance`` for the current versions that no run of this study has judged yet."""
    return and_(
        Instance.study_instance_uid == study_instance_uid,
        Instance.current,
        Instance.disposition == Disposition.CANDIDATE,
    )


def is_fit() -> ColumnElement[bool]:
    """Return the condition on ``Instance`` for what a run of its study looks at, whatever study that is."""
    unread = and_(Instance.disposition == Disposition.NOT_ANALYSED, Instance.reason_code.in_(WORTH_ANOTHER_TRY))
    return and_(
        Instance.current,
        or_(Instance.reason_code.is_(None), Instance.reason_code.not_in(NOT_OF_THIS_STUDY)),
        or_(
            Instance.disposition.in_((Disposition.CANDIDATE, Disposition.ANALYSED)),
            unread,
            Instance.image_verdict.is_not(None),  # another bundle's check may say otherwise
        ),
    )
