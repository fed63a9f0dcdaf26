"""The life of a workitem: SCHEDULED, IN PROGRESS, then COMPLETED or CANCELED (PS3.4 CC.1.1, CC.2.5.1.1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset

from dicom_io.foundation.concepts import Code
from dicom_io.foundation.content_items import code_item
from dicom_io.foundation.uids import is_valid_uid
from dicom_io.ups.status import UpsRefusal, UpsStatus

UNSPECIFIED_REASON = Code("110513", "DCM", "Discontinued for unspecified reason")


class StepState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (StepState.COMPLETED, StepState.CANCELED)


def judge_change(present: StepState, held_by: str | None, requested: str, transaction_uid: str) -> UpsStatus:
    """Return what a request to change the state is answered with (PS3.4 table CC.1.1-2), final state aside.

    Parameters
    ----------
    present
        The state the workitem is in.
    held_by
        The Transaction UID it was claimed with; None when it never was.
    requested
        Procedure Step State of the request.
    transaction_uid
        Transaction UID of the request, ``""`` when it brought none.

    Returns
    -------
    UpsStatus
        SUCCESS when the change is to be made, a warning when it was made before.

    Raises
    ------
    UpsRefusal
        The change must not be made.
    """
    try:
        wanted = StepState(requested)
    except ValueError:
        raise UpsRefusal(UpsStatus.INVALID_ARGUMENT, "Procedure Step State is none of the four") from None
    if wanted is StepState.SCHEDULED:
        raise UpsRefusal(UpsStatus.SCHEDULED_ONLY_BY_CREATION)
    if not is_valid_uid(transaction_uid) or (held_by is not None and transaction_uid != held_by):
        raise UpsRefusal(UpsStatus.WRONG_TRANSACTION_UID)
    if held_by is None and present.final:  # canceled before anybody claimed it: no Transaction UID is correct
        raise UpsRefusal(UpsStatus.WRONG_TRANSACTION_UID)
    if wanted is StepState.IN_PROGRESS:
        return _judge_claim(present)
    return _judge_end(present, wanted)


def _judge_claim(present: StepState) -> UpsStatus:
    if present.final:
        raise UpsRefusal(UpsStatus.NO_LONGER_UPDATABLE)
    if present is StepState.IN_PROGRESS:
        raise UpsRefusal(UpsStatus.ALREADY_IN_PROGRESS)
    return UpsStatus.SUCCESS


def _judge_end(present: StepState, wanted: StepState) -> UpsStatus:
    if present is StepState.SCHEDULED:
        raise UpsRefusal(UpsStatus.NOT_IN_PROGRESS)
    if present is wanted:
        return UpsStatus.ALREADY_COMPLETED if wanted is StepState.COMPLETED else UpsStatus.ALREADY_CANCELED
    if present.final:
        raise UpsRefusal(UpsStatus.NO_LONGER_UPDATABLE)
    return UpsStatus.SUCCESS


_PERFORMED = (
    "PerformedStationNameCodeSequence",
    "PerformedProcedureStepStartDateTime",
    "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepEndDateTime",
)
"""Final state code P (PS3.4 table CC.2.5-3): needed, with a value, for COMPLETED."""
_OUTPUT = "OutputInformationSequence"
"""Needed for COMPLETED too, but may have no items."""


def missing_for_completion(workitem: Dataset) -> list[str]:
    """Return the keywords of what COMPLETED needs and the workitem lacks (PS3.4 CC.2.5.1.1)."""
    performed = workitem.get("UnifiedProcedureStepPerformedProcedureSequence")
    if not performed:
        return ["UnifiedProcedureStepPerformedProcedureSequence"]
    return list(dict.fromkeys(keyword for item in performed for keyword in _missing_of(item)))


def _missing_of(item: Dataset) -> Iterator[str]:
    yield from (keyword for keyword in _PERFORMED if not item.get(keyword))
    if _OUTPUT not in item:
        yield _OUTPUT


def fill_in_performed(workitem: Dataset, performer_ae_title: str, started: datetime, ended: datetime) -> None:
    """Write what is known here where the performer stated nothing: who it was, when, and that it did what was asked."""
    if not workitem.get("UnifiedProcedureStepPerformedProcedureSequence"):
        workitem.UnifiedProcedureStepPerformedProcedureSequence = [Dataset()]
    for item in workitem.UnifiedProcedureStepPerformedProcedureSequence:
        if not item.get("PerformedStationNameCodeSequence"):
            station = Code(performer_ae_title[:16], "99AETITLE", performer_ae_title[:64])
            item.PerformedStationNameCodeSequence = [code_item(station)]
        if not item.get("PerformedWorkitemCodeSequence"):
            item.PerformedWorkitemCodeSequence = list(workitem.get("ScheduledWorkitemCodeSequence") or ())
        if not item.get("PerformedProcedureStepStartDateTime"):
            item.PerformedProcedureStepStartDateTime = date_time(started)
        if not item.get("PerformedProcedureStepEndDateTime"):
            item.PerformedProcedureStepEndDateTime = date_time(ended)
        if _OUTPUT not in item:
            item.OutputInformationSequence = []


def fill_in_cancellation(workitem: Dataset, at: datetime, reason: str = "") -> None:
    """Write when and why the workitem was canceled, where its performer did not (final state code X)."""
    if not workitem.get("ProcedureStepProgressInformationSequence"):
        workitem.ProcedureStepProgressInformationSequence = [Dataset()]
    progress = workitem.ProcedureStepProgressInformationSequence[0]
    if not progress.get("ProcedureStepCancellationDateTime"):
        progress.ProcedureStepCancellationDateTime = date_time(at)
    if not progress.get("ProcedureStepDiscontinuationReasonCodeSequence"):
        progress.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(UNSPECIFIED_REASON)]
    if reason and not progress.get("ReasonForCancellation"):
        progress.ReasonForCancellation = reason


def date_time(moment: datetime) -> str:
    """Return an aware time as a DT value with its offset from UTC."""
    return f"{moment:%Y%m%d%H%M%S%z}"
