"""The objects of a study that others sent, with their headers, and what the study's row says after them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset
from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.instance_store import InstanceStore, StoreError
from worker.arrival.corrected_images import corrected_columns
from worker.arrival.identity import COLUMN_KEYWORDS, identity_columns, take_over
from worker.foundation.errors import WorkerError
from worker.rows.study_tables import IdentityCorrection, Instance, Study
from worker.runs.reading import read_header

Headed = tuple[Instance, Dataset]
"""An object of the study and its header."""


class ObjectUnreadable(WorkerError):
    """A stored object cannot be read back; the message says which."""


def objects_in_force(session: Session, study_instance_uid: str) -> list[Instance]:
    """Return the current objects that others sent and nobody rejected, oldest first."""
    return list(session.scalars(select(Instance).where(is_in_force(study_instance_uid)).order_by(Instance.id)))


def is_in_force(study_instance_uid: str) -> ColumnElement[bool]:
    """Return the condition for an instance that is one of `objects_in_force`."""
    return and_(
        Instance.study_instance_uid == study_instance_uid,
        Instance.current,
        Instance.reason_code.is_distinct_from(ReasonCode.OWN_RESULT),
        Instance.reason_code.is_distinct_from(ReasonCode.REJECTED),
    )


def with_headers(instances: Iterable[Instance], store: InstanceStore) -> list[Headed]:
    """Return the objects with their headers, as received.

    Raises
    ------
    ObjectUnreadable
        The file of one is gone or damaged.
    """
    found = []
    for instance in instances:
        try:
            found.append((instance, read_header(instance, store)))
        except (StoreError, OSError) as error:
            raise ObjectUnreadable(
                f"instance {instance.sop_instance_uid} cannot be read back ({type(error).__name__}); check data_dir"
            ) from error
    return found


def adopt(study: Study, headers: Iterable[Dataset], corrections: Sequence[IdentityCorrection]) -> None:
    """Make the study's row say what these objects say as corrected, and nothing that only others said."""
    for column in COLUMN_KEYWORDS:
        setattr(study, column, "")
    for header in headers:
        take_over(study, corrected_columns(identity_columns(header), corrections), corrected=False)
    study.patient_id_missing = not study.patient_id
