"""What subscribers are told about workitems, and telling it over an association of ours (PS3.4 CC.2.4)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.association import Association

from dicom_io.associations.client import ScuSettings, associate, end
from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.foundation.peer import Peer
from dicom_io.ups.attributes import ASSIGNING, PROGRESS
from dicom_io.ups.matching import declare_character_set
from dicom_io.ups.workitem import UPS_PUSH

LOGGER = logging.getLogger(__name__)
UPS_EVENT = "1.2.840.10008.5.1.4.34.6.4"
CANCEL_KEYWORDS = (
    "ReasonForCancellation",
    "ProcedureStepDiscontinuationReasonCodeSequence",
    "ContactURI",
    "ContactDisplayName",
)
"""What a Request UPS Cancel may bring and its event repeats."""


class EventType(IntEnum):
    """Event Type ID (PS3.4 table CC.2.4-1)."""

    STATE_REPORT = 1
    CANCEL_REQUESTED = 2
    PROGRESS_REPORT = 3
    SCP_STATUS_CHANGE = 4
    ASSIGNED = 5


@dataclass(frozen=True)
class EventReport:
    """One thing to tell about one workitem, or about this SCP (then the UID is the global subscription's)."""

    event_type: EventType
    sop_instance_uid: str
    information: Dataset


def state_report(workitem: Dataset) -> EventReport:
    """Report the state a workitem is in.

    Its priority stands there, too: the standard has no event of its own for a priority that rose, and receivers accept
    all attributes of a notification (CC.2.4.2).
    """
    information = Dataset()
    for keyword in ("ProcedureStepState", "InputReadinessState", "ScheduledProcedureStepPriority"):
        if keyword in workitem:
            information.add(workitem[keyword])
    for progress in workitem.get(PROGRESS) or ():
        for keyword in ("ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence"):
            if progress.get(keyword):
                information.add(progress[keyword])
    return EventReport(EventType.STATE_REPORT, str(workitem.SOPInstanceUID), information)


def cancel_requested(sop_instance_uid: str, requesting_ae_title: str, request: Dataset) -> EventReport:
    """Report that somebody asked for a workitem to be canceled, with what they said."""
    information = Dataset()
    information.RequestingAE = requesting_ae_title
    for keyword in CANCEL_KEYWORDS:
        if keyword in request:
            information.add(request[keyword])
    return EventReport(EventType.CANCEL_REQUESTED, sop_instance_uid, information)


def change_reports(workitem: Dataset, changed: Dataset) -> Iterator[EventReport]:
    """Yield what a change of attributes makes known: progress, assignment, readiness."""
    uid = str(workitem.SOPInstanceUID)
    if PROGRESS in changed:
        information = Dataset()
        information.add(workitem[PROGRESS])
        yield EventReport(EventType.PROGRESS_REPORT, uid, information)
    if any(keyword in changed for keyword in ASSIGNING):
        yield _assigned(workitem)
    if "InputReadinessState" in changed or "ScheduledProcedureStepPriority" in changed:
        yield state_report(workitem)


def creation_reports(workitem: Dataset) -> Iterator[EventReport]:
    """Yield what a new workitem makes known."""
    yield state_report(workitem)
    if any(workitem.get(keyword) for keyword in ASSIGNING):
        yield _assigned(workitem)


def _assigned(workitem: Dataset) -> EventReport:
    information = Dataset()
    if workitem.get("ScheduledStationNameCodeSequence"):
        information.add(workitem["ScheduledStationNameCodeSequence"])
    for performer in workitem.get("ScheduledHumanPerformersSequence") or ():
        for keyword in ("HumanPerformerCodeSequence", "HumanPerformerOrganization"):
            if performer.get(keyword):
                information.add(performer[keyword])
    return EventReport(EventType.ASSIGNED, str(workitem.SOPInstanceUID), information)


def restarted(global_subscription_uid: str) -> EventReport:
    """Report that this SCP was restarted and lost neither workitems nor subscriptions."""
    information = Dataset()
    information.SCPStatus = "RESTARTED"
    information.SubscriptionListStatus = "WARM START"
    information.UnifiedProcedureStepListStatus = "WARM START"
    return EventReport(EventType.SCP_STATUS_CHANGE, global_subscription_uid, information)


_PATIENCE = ScuSettings(dimse_timeout_seconds=30.0)
"""How long to wait for a subscriber."""


def report_events(subscriber: Peer, reports: Sequence[EventReport], calling_ae_title: str) -> Iterator[int | None]:
    """Tell a subscriber over one association, in order; yields the status of each answer, None when none came.

    Stops at the first report without an answer: what follows is not sent then.
    """
    association = _associate(subscriber, calling_ae_title)
    if association is None:
        yield None
        return
    try:
        for report in reports:
            status = _told(association, report)
            yield status
            if status is None:
                return
    finally:
        end(association)


def _told(association: Association, report: EventReport) -> int | None:
    information = Dataset()
    information.update(report.information)
    declare_character_set(information)
    if not association.is_established:
        return None
    try:
        with reactor_held(association):
            answer, _reply = association.send_n_event_report(
                information,
                int(report.event_type),
                UPS_PUSH,
                report.sop_instance_uid,
                meta_uid=UPS_EVENT,
            )
    except (ValueError, RuntimeError, AttributeError, OSError) as error:
        LOGGER.warning("event %s not sent (%s)", report.event_type.name, type(error).__name__)
        return None
    status = answer.get("Status")
    return None if status is None else int(status)


def _associate(subscriber: Peer, calling_ae_title: str) -> Association | None:
    contexts = [build_context(UPS_EVENT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    roles = [build_role(UPS_EVENT, scp_role=True)]
    association = associate(subscriber, contexts, calling_ae_title, _PATIENCE, roles=roles)
    if isinstance(association, str):
        LOGGER.warning("subscriber %s cannot be told: %s", subscriber.ae_title, association)
        return None
    if not association.is_established:
        LOGGER.warning("subscriber %s does not accept UPS events", subscriber.ae_title)
        return None
    for context in association.accepted_contexts:
        context._as_scp = True  # some receivers accept it without answering the role; they mean us all the same
    return association
