"""Which instances of a study a run looks at, and which its report has to say were not analysed.

It looks at those fit for analysis, and at those a further look may judge otherwise.
"""

from __future__ import annotations

from sqlalchemy import BindParameter, ColumnElement, and_, or_

from dicom_io.foundation.reasons import ReasonCode
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance

WORTH_ANOTHER_TRY = (ReasonCode.UNDECODABLE, ReasonCode.BLANK, ReasonCode.TOO_SMALL)
"""Reasons that a newer decoder, better bytes or another bundle may have cured when a study is run again."""

NOT_OF_THIS_STUDY = (ReasonCode.IDENTITY_CONFLICT, ReasonCode.REJECTED)
"""Reasons that no run may overlook, whatever an earlier one saw in the picture: another patient's, or invalid."""

NOT_MISSED = (*NOT_OF_THIS_STUDY, ReasonCode.NOT_FRONTAL)
"""Reasons of images that a report does not lack: no part of the study, or the lateral view that nearly every frontal
one comes with, of which nobody expects a word."""


def is_missed(disposition: str, reason_code: str | None) -> bool:
    """Say whether a report without this image says less than its readers may think."""
    return disposition == Disposition.NOT_ANALYSED and reason_code not in NOT_MISSED


def has_missed(study_instance_uid: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition on ``Instance`` for the current versions of this study that are missed, as `is_missed`."""
    return and_(
        Instance.study_instance_uid == study_instance_uid,
        Instance.current,
        Instance.disposition == Disposition.NOT_ANALYSED,
        or_(Instance.reason_code.is_(None), Instance.reason_code.not_in(NOT_MISSED)),
    )


def is_analysable(study_instance_uid: str | BindParameter[str]) -> ColumnElement[bool]:
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
