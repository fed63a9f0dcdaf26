"""Earlier runs whose results lie in archives under another patient or order than the study has now are taken back.

Called when the results were made again: because HL7, an archive or a person corrected the identity, or because the
images came again with other tags. A report that is only replaced (another image, another model) stays; the new one
names it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.storing.instance_store import StoreAway, StoreError
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import Claim
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind
from worker.rows.study_tables import IdentityCorrection
from worker.runs.workplace import Workplace
from worker.sending.rejection import Why, take_back

_ANOTHER = ("PatientID", "IssuerOfPatientID", "AccessionNumber")
"""With another value here, an HL7 receiver was told of somebody else or of another order."""
_IDENTITY = (*_ANOTHER, "PatientName", "PatientBirthDate", "PatientSex")


def take_back_misfiled(
    session: Session,
    claim: Claim,
    headers: Sequence[Dataset],
    corrections: Sequence[IdentityCorrection],
    workplace: Workplace,
) -> None:
    """Take back what earlier runs of the study have sent under another identity than these images'.

    Call it before the run's own results get their rows, so that the old goes before the new. HL7 receivers are told
    only where no HL7 message said so: what comes from there they know.

    Raises
    ------
    StoreError
        The store of results is full or away.
    """
    told = any(item.run_id is None and item.cause.startswith("ADT") for item in corrections)
    now = [_identity(header) for header in headers]
    for run in _sent_runs(session, claim):
        before = _identity_of_results(run, workplace)
        if not before or before in now:
            continue
        differing = [keyword for keyword, value in now[0].items() if before[keyword] != value]
        why = Why(RejectionTitle.WRONG_WORKLIST_ENTRY, f"{', '.join(differing)} was corrected", claim.worker_name)
        another = not told and bool(set(differing) & set(_ANOTHER))
        take_back(session, [run], why, workplace.settings, messages=another)


def _sent_runs(session: Session, claim: Claim) -> Sequence[Run]:
    """Return the study's other runs that an archive has, or may have, objects of."""
    there = (
        select(Result.run_id)
        .join(Delivery, Delivery.result_id == Result.id)
        .where(Result.kind.not_in((ResultKind.HL7_MESSAGE, ResultKind.REJECTION_NOTE)))
        .where(or_(Delivery.state.in_((DeliveryState.SENT, DeliveryState.COMMITTED)), Delivery.offered))
        .where(Delivery.state.not_in((DeliveryState.REJECTED, DeliveryState.REFUSED)))
    )
    return session.scalars(
        select(Run)
        .where(Run.study_instance_uid == claim.study_instance_uid, Run.id != claim.run_id, Run.id.in_(there))
        .order_by(Run.id)
    ).all()


def _identity_of_results(run: Run, workplace: Workplace) -> dict[str, str]:
    """Return the identity that a run's objects carry; nothing where none can be read any more."""
    for result in run.results:
        if result.kind == ResultKind.HL7_MESSAGE:
            continue
        try:
            path = workplace.results.open_intact(result.path, result.sha256)
        except StoreAway:
            raise
        except StoreError:
            continue
        return _identity(pydicom.dcmread(path, stop_before_pixels=True))
    return {}


def _identity(header: Dataset) -> dict[str, str]:
    """Return what says whose it is, decoded; absent and empty are the same."""
    return {keyword: str(header.get(keyword) or "").rstrip("= ") for keyword in _IDENTITY}
