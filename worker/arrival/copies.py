"""The specially processed copies of a study that were left out, and what is said where there is nothing else."""

from __future__ import annotations

from sqlalchemy import BindParameter, ColumnElement, and_, select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.rows.study_tables import Instance

ALONE = (
    "Only a specially processed copy (bone, soft tissue, tube or edge view) of this exposure was received, no standard"
    " image; a person must look."
)


def is_copy(study_instance_uid: str | BindParameter[str]) -> ColumnElement[bool]:
    """Return the condition on ``Instance`` for the current versions of this study left out as processed copies."""
    return and_(
        Instance.study_instance_uid == study_instance_uid,
        Instance.current,
        Instance.reason_code == ReasonCode.PROCESSED_COPY,
    )


def load_copies(session: Session, study_instance_uid: str) -> list[Instance]:
    """Return the instances of the study that were left out as processed copies; oldest first."""
    return list(session.scalars(select(Instance).where(is_copy(study_instance_uid)).order_by(Instance.id)))
