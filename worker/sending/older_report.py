"""The same report in an older SR class, for an archive that does not take the newest one."""

from __future__ import annotations

import pydicom
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.results.identity_guard import require_identity
from dicom_io.results.report_class import older_class, report_in_class
from dicom_io.results.reporting import InvalidReportError
from dicom_io.results.result_file import write_result
from dicom_io.storing.instance_store import InstanceStore
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result
from worker.sending.outbox import Parcel


def next_report_class(sop_class_uid: str) -> str | None:
    """Return the next older class the same tree may be written in (it holds no 3D coordinates), or None."""
    return older_class(sop_class_uid)


def reissue_in_class(session: Session, parcel: Parcel, sop_class_uid: str, store: InstanceStore) -> str:
    """Write the parcel's report in that class, once per run, and put it into the outbox of the same destination.

    Each class has its own SOP Instance UID: two archives may hold the report in two classes.

    Returns
    -------
    str
        Why it was not done: what was written differs from the report in patient, study or orders. Empty when done.

    Raises
    ------
    StoreError
        The store of results is full or not writable, or the report's file is gone or damaged; nothing was changed.
    """
    refused = session.get_one(Result, parcel.result_id)
    older = session.scalars(
        select(Result).where(
            Result.run_id == refused.run_id, Result.kind == refused.kind, Result.sop_class_uid == sop_class_uid
        )
    ).one_or_none()
    try:
        older = older or _rewritten(session, refused, sop_class_uid, store)
    except InvalidReportError as error:
        return str(error)
    older.deliveries.append(Delivery(destination=parcel.destination))
    return ""


def _rewritten(session: Session, refused: Result, sop_class_uid: str, store: InstanceStore) -> Result:
    report = pydicom.dcmread(store.open_intact(refused.path, refused.sha256))
    dataset = report_in_class(report, sop_class_uid)
    content = write_result(dataset)
    require_identity(content, report)
    file = store.write(str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID), [content])
    older = Result(
        run_id=refused.run_id,
        kind=refused.kind,
        finding=None,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=refused.series_instance_uid,
        path=file.path,
        bytes=file.bytes,
        sha256=file.sha256,
        created_at=database_now(session),
    )
    session.add(older)
    return older
