"""The same report in an older SR class, for an archive that does not take the newest one."""

from __future__ import annotations

import pydicom
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.instance_store import InstanceStore
from dicom_io.report_class import older_class, report_in_class
from dicom_io.result_file import write_result
from worker.rows.database import database_now
from worker.rows.tables import Delivery, Result
from worker.sending.outbox import Parcel


def next_report_class(sop_class_uid: str) -> str | None:
    """Return the next older class the same tree may be written in (it holds no 3D coordinates), or None."""
    return older_class(sop_class_uid)


def reissue_in_class(session: Session, parcel: Parcel, sop_class_uid: str, store: InstanceStore) -> None:
    """Write the parcel's report in that class, once per run, and put it into the outbox of the same destination.

    Each class has its own SOP Instance UID: two archives may hold the report in two classes.
    """
    refused = session.get_one(Result, parcel.result_id)
    older = session.scalars(
        select(Result).where(
            Result.run_id == refused.run_id, Result.kind == refused.kind, Result.sop_class_uid == sop_class_uid
        )
    ).one_or_none()
    older = older or _rewritten(session, refused, sop_class_uid, store)
    older.deliveries.append(Delivery(destination=parcel.destination))


def _rewritten(session: Session, refused: Result, sop_class_uid: str, store: InstanceStore) -> Result:
    dataset = report_in_class(pydicom.dcmread(store.open_path(refused.path)), sop_class_uid)
    file = store.write(str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID), [write_result(dataset)])
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
