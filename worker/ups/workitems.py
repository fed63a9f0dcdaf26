"""Rows of workitems: their data sets, and changes that are written only over the version they were decided on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.ups.service import WELL_KNOWN
from dicom_io.ups.states import StepState, date_time
from dicom_io.ups.status import UpsRefusal, UpsStatus
from worker.rows.workitem_tables import Workitem

_NEVER_KEPT = ("TransactionUID", "SpecificCharacterSet")


class ChangedMeanwhile(Exception):
    """Somebody else changed the workitem first; decide again on what it is now."""


def encoded(dataset: Dataset) -> dict[str, Any]:
    """Return the data set in the DICOM JSON model.

    Raises
    ------
    UpsRefusal
        A value is none its attribute can have.
    """
    kept = Dataset()
    kept.update({element.tag: element for element in dataset if element.keyword not in _NEVER_KEPT})
    try:
        model: dict[str, Any] = kept.to_json_dict()
        _refuse_nul(model)
        Dataset.from_json(model)
    except PARSE_ERRORS as error:
        raise UpsRefusal(
            UpsStatus.INVALID_ATTRIBUTE_VALUE, f"a value cannot be kept ({type(error).__name__})"
        ) from None
    return model


def decoded(model: dict[str, Any]) -> Dataset:
    """Return the data set of a DICOM JSON model."""
    dataset: Dataset = Dataset.from_json(model)
    return dataset


def _refuse_nul(value: object) -> None:
    """Refuse what PostgreSQL's JSON cannot hold."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a text with a NUL character")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_nul(part)


def existing_workitem(session: Session, sop_instance_uid: str) -> Workitem:
    """Return the row as it is now.

    Raises
    ------
    UpsRefusal
        There is no such workitem.
    """
    row = session.get(Workitem, sop_instance_uid, populate_existing=True)
    if row is None or sop_instance_uid in WELL_KNOWN:
        raise UpsRefusal(UpsStatus.UNKNOWN_INSTANCE)
    return row


def current_workitem(session: Session, study_instance_uid: str) -> Workitem | None:
    """Return the study's newest workitem, or None."""
    return session.scalars(
        select(Workitem)
        .where(Workitem.study_instance_uid == study_instance_uid, Workitem.current)
        .execution_options(populate_existing=True)
    ).one_or_none()


def write_change(session: Session, row: Workitem, dataset: Dataset, now: datetime, **columns: Any) -> None:
    """Write a change of the workitem, if it is still the one that was read.

    Parameters
    ----------
    dataset
        All its attributes, changed; its state and priority become columns.

    Raises
    ------
    ChangedMeanwhile
        Another process was first; nothing was written.
    """
    dataset.ScheduledProcedureStepModificationDateTime = date_time(now)
    values = {
        "version": row.version + 1,
        "state": str(dataset.ProcedureStepState),
        "priority": str(dataset.ScheduledProcedureStepPriority),
        "attributes": encoded(dataset),
        **columns,
    }
    if StepState(values["state"]).final and row.closed_at is None:
        values["closed_at"] = now
    written = session.execute(
        update(Workitem)
        .where(Workitem.sop_instance_uid == row.sop_instance_uid, Workitem.version == row.version)
        .values(**values)
        .returning(Workitem.sop_instance_uid),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    if written is None:
        raise ChangedMeanwhile
    session.refresh(row)


def reading_order(session: Session, *conditions: ColumnElement[bool]) -> list[str]:
    """Return the UIDs of the rows that fulfil SQL conditions: HIGH first, LOW last, within each the oldest first."""
    urgent_first = (Workitem.priority != "HIGH", Workitem.priority == "LOW", Workitem.created_at)
    found = select(Workitem.sop_instance_uid).where(*conditions).order_by(*urgent_first, Workitem.sop_instance_uid)
    return list(session.scalars(found))


def rows_of(session: Session, uids: Sequence[str]) -> list[Workitem]:
    """Return the rows of these UIDs in their order; those that are gone are left out."""
    rows = session.scalars(select(Workitem).where(Workitem.sop_instance_uid.in_(uids)))
    return sorted(rows, key=lambda row: uids.index(row.sop_instance_uid))
