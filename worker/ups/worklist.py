"""The workitems behind the UPS SCP: each request is one transaction, decided on the rows as they are now.

Several listeners, sweepers and tools may work on the same rows. A change is written only over the version it was
decided on; where somebody else was first, it is decided again, so that of two claims one wins and the other hears why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset
from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_io.ups.attributes import creatable, settable
from dicom_io.ups.events import cancel_requested, change_reports, state_report
from dicom_io.ups.matching import matches
from dicom_io.ups.service import WELL_KNOWN, Subscription, WorklistUnavailable
from dicom_io.ups.states import (
    StepState,
    fill_in_cancellation,
    fill_in_performed,
    judge_change,
    missing_for_completion,
)
from dicom_io.ups.status import UpsRefusal, UpsStatus
from dicom_io.ups.workitem import UPS_PUSH
from worker.care.administration import mark_read
from worker.rows.batches import in_batches
from worker.rows.database import DATABASE_GONE, SessionFactory, database_now
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.priority import is_news_since
from worker.rows.workitem_tables import Workitem
from worker.settings.config import Settings
from worker.settings.ups import Ups
from worker.ups import notices as ups_notices
from worker.ups.workitems import (
    ChangedMeanwhile,
    decoded,
    encoded,
    existing_workitem,
    reading_order,
    rows_of,
    write_change,
)

logger = logging.getLogger(__name__)

DECISIONS = 20
"""So often a request is decided again when others are faster; then it is refused as a processing failure."""

Answered = TypeVar("Answered")


class DatabaseWorklist:
    """Keeps workitems in the database."""

    def __init__(
        self,
        settings: Settings,
        ups: Ups,
        sessions: SessionFactory,
        reading: SessionFactory,
        wake: Callable[[], None],
    ) -> None:
        """``wake`` is called after a commit that may have left something to tell subscribers."""
        self._ups = ups
        self._sessions = sessions
        self._reading = reading
        self._wake = wake
        self._zone = ZoneInfo(settings.time_zone)

    def find(self, keys: Dataset) -> Iterator[Dataset]:
        """Yield matching workitems, HIGH first, then the oldest."""
        try:
            with self._reading() as session:
                uids = reading_order(session, *_narrowing(keys))
            for batch in in_batches(uids):  # no transaction is open while the peer takes what it was sent
                with self._reading() as session:
                    models = [row.attributes for row in rows_of(session, batch)]
                for workitem in map(decoded, models):
                    if matches(workitem, keys, self._zone):
                        yield workitem
        except DATABASE_GONE as error:
            raise WorklistUnavailable(f"the database does not answer ({type(error).__name__})") from error

    def get(self, sop_instance_uid: str) -> Dataset:
        """Return one workitem."""
        return self._decided(lambda session: decoded(existing_workitem(session, sop_instance_uid).attributes))

    def create(self, sop_instance_uid: str, attributes: Dataset, calling_ae_title: str) -> UpsStatus:
        """Take a workitem from outside, where the site allows that."""
        if not self._ups.accept_created:
            raise UpsRefusal(UpsStatus.NOT_AUTHORISED)
        workitem, left_out = creatable(attributes)
        workitem.SOPClassUID, workitem.SOPInstanceUID = UPS_PUSH, sop_instance_uid
        if not workitem.get("WorklistLabel"):
            workitem.WorklistLabel = self._ups.worklist_label

        def create(session: Session) -> UpsStatus:
            if session.get(Workitem, sop_instance_uid) is not None:
                raise UpsRefusal(UpsStatus.DUPLICATE_INSTANCE)
            row = Workitem(
                sop_instance_uid=sop_instance_uid,
                state=StepState.SCHEDULED,
                priority=str(workitem.ScheduledProcedureStepPriority),
                attributes=encoded(workitem),
                created_at=database_now(session),
            )
            session.add(row)
            session.flush()
            ups_notices.introduce(session, row, self._zone, created=True)
            _note(session, row, "workitem_created", calling_ae_title, None)
            return UpsStatus.OPTIONAL_ATTRIBUTES_UNSUPPORTED if left_out else UpsStatus.SUCCESS

        return self._decided(create)

    def modify(
        self, sop_instance_uid: str, transaction_uid: str, modifications: Dataset, calling_ae_title: str
    ) -> UpsStatus:
        """Change attributes of a workitem nobody claimed, or by whoever claimed it (PS3.4 CC.2.6.3)."""

        def modify(session: Session) -> UpsStatus:
            row = existing_workitem(session, sop_instance_uid)
            _require_hold(row, transaction_uid)
            kept, left_out = settable(modifications)
            workitem, coerced = decoded(row.attributes), False
            if row.study_instance_uid is not None and kept.get("ScheduledProcedureStepPriority") == "LOW":
                kept.ScheduledProcedureStepPriority, coerced = "MEDIUM", True  # below studies that no machine saw
            workitem.update(kept)
            write_change(session, row, workitem, database_now(session))
            ups_notices.notify(session, sop_instance_uid, change_reports(decoded(row.attributes), kept))
            ups_notices.introduce(session, row, self._zone, created=False)
            if coerced:
                return UpsStatus.VALUES_COERCED
            return UpsStatus.OPTIONAL_ATTRIBUTES_UNSUPPORTED if left_out else UpsStatus.SUCCESS

        return self._decided(modify)

    def change_state(
        self, sop_instance_uid: str, requested: str, transaction_uid: str, calling_ae_title: str
    ) -> UpsStatus:
        """Claim, complete or cancel (PS3.4 table CC.1.1-2)."""

        def change(session: Session) -> UpsStatus:
            row = existing_workitem(session, sop_instance_uid)
            outcome = judge_change(StepState(row.state), row.transaction_uid, requested, transaction_uid)
            if outcome is UpsStatus.SUCCESS:
                self._enter(session, row, StepState(requested), transaction_uid, calling_ae_title)
            return outcome

        return self._decided(change)

    def _enter(
        self, session: Session, row: Workitem, state: StepState, transaction_uid: str, calling_ae_title: str
    ) -> None:
        """Write a change of state that is legal, and what comes with it."""
        news = False
        if state is StepState.COMPLETED and row.study_instance_uid and row.claimed_at:
            study = locked_study(session, row.study_instance_uid)  # studies are locked before workitems, everywhere
            news = study is not None and is_news_since(session, study, row.claimed_at)
        now, came_from = database_now(session), row.state
        workitem, columns = decoded(row.attributes), {}
        workitem.ProcedureStepState = state.value
        if state is StepState.IN_PROGRESS:
            columns = {
                "transaction_uid": transaction_uid,
                "performer_ae_title": calling_ae_title[:16],
                "claimed_at": now,
            }
        elif state is StepState.CANCELED:
            fill_in_cancellation(workitem, now.astimezone(self._zone))
        else:
            if self._ups.fill_in_final_state:
                started = (row.claimed_at or now).astimezone(self._zone)
                fill_in_performed(workitem, calling_ae_title, started, now.astimezone(self._zone))
            if missing := missing_for_completion(workitem):
                raise UpsRefusal(UpsStatus.FINAL_STATE_NOT_MET, f"N-SET first: {missing[0]}")
            if news:
                columns = {"noted_priority": None}  # so that another workitem follows
        write_change(session, row, workitem, now, **columns)
        if state is StepState.COMPLETED and self._ups.completion_marks_read and row.study_instance_uid and not news:
            mark_read(session, row.study_instance_uid, f"UPS ({calling_ae_title})")
        ups_notices.notify(session, row.sop_instance_uid, [state_report(decoded(row.attributes))])
        _note(session, row, "workitem_state", calling_ae_title, came_from)

    def request_cancel(self, sop_instance_uid: str, request: Dataset, calling_ae_title: str) -> UpsStatus:
        """Cancel what nobody claimed; let the performer of what somebody did know of the wish (PS3.4 CC.2.2.3)."""

        def request_cancel(session: Session) -> UpsStatus:
            row = existing_workitem(session, sop_instance_uid)
            state = StepState(row.state)
            if state is StepState.COMPLETED:
                raise UpsRefusal(UpsStatus.CANNOT_CANCEL_COMPLETED)
            if state is StepState.CANCELED:
                return UpsStatus.ALREADY_CANCELED
            wish = cancel_requested(sop_instance_uid, calling_ae_title, request)
            if state is StepState.IN_PROGRESS and not ups_notices.receivers(session, sop_instance_uid):
                raise UpsRefusal(UpsStatus.PERFORMER_UNREACHABLE)
            ups_notices.notify(session, sop_instance_uid, [wish])
            if state is StepState.SCHEDULED:
                reason = str(request.get("ReasonForCancellation") or "")
                codes = request.get("ProcedureStepDiscontinuationReasonCodeSequence")
                cancel_scheduled(session, row, calling_ae_title, reason, self._zone, codes=codes)
            return UpsStatus.SUCCESS

        return self._decided(request_cancel)

    def subscribe(self, subscription: Subscription) -> UpsStatus:
        """Subscribe a configured receiver."""
        self._require_receiver(subscription.receiving_ae_title)

        def subscribe(session: Session) -> UpsStatus:
            if subscription.sop_instance_uid in WELL_KNOWN:
                ups_notices.subscribe_globally(session, subscription, self._zone)
            else:
                row = existing_workitem(session, subscription.sop_instance_uid)
                ups_notices.subscribe_one(session, row, subscription)
            return UpsStatus.SUCCESS

        return self._decided(subscribe)

    def unsubscribe(self, sop_instance_uid: str, receiving_ae_title: str) -> UpsStatus:
        """End one subscription, or with a well-known UID all of the receiver's."""
        self._require_receiver(receiving_ae_title)

        def unsubscribe(session: Session) -> UpsStatus:
            everything = sop_instance_uid in WELL_KNOWN
            if not everything:
                existing_workitem(session, sop_instance_uid)
            ups_notices.unsubscribe(session, receiving_ae_title, None if everything else sop_instance_uid)
            return UpsStatus.SUCCESS

        return self._decided(unsubscribe)

    def suspend(self, sop_instance_uid: str, receiving_ae_title: str) -> UpsStatus:
        """End a receiver's global subscriptions."""
        self._require_receiver(receiving_ae_title)

        def suspend(session: Session) -> UpsStatus:
            ups_notices.suspend(session, receiving_ae_title)
            return UpsStatus.SUCCESS

        return self._decided(suspend)

    def _require_receiver(self, ae_title: str) -> None:
        peer = self._ups.peer(ae_title)
        if peer is None or peer.receiver() is None:
            raise UpsRefusal(UpsStatus.UNKNOWN_RECEIVER)

    def _decided(self, decide: Callable[[Session], Answered]) -> Answered:
        for _attempt in range(DECISIONS):
            try:
                with self._sessions.begin() as session:
                    answered = decide(session)
            except (ChangedMeanwhile, IntegrityError):
                continue
            except DATABASE_GONE as error:
                raise WorklistUnavailable(f"the database does not answer ({type(error).__name__})") from error
            self._wake()
            return answered
        raise WorklistUnavailable("others kept changing the workitem")


def cancel_scheduled(
    session: Session,
    row: Workitem,
    actor: str,
    reason: str,
    zone: ZoneInfo,
    *,
    codes: Any = None,
    by_us: bool = False,
) -> None:
    """Cancel a workitem that nobody claimed: through IN PROGRESS, as the standard has it, both reported.

    Raises
    ------
    ChangedMeanwhile
        Somebody claimed it just now.
    """
    now, came_from = database_now(session), row.state
    workitem = decoded(row.attributes)
    workitem.ProcedureStepState = StepState.IN_PROGRESS.value
    passing = state_report(workitem)
    passing.information.ProcedureStepState = StepState.IN_PROGRESS.value
    workitem.ProcedureStepState = StepState.CANCELED.value
    fill_in_cancellation(workitem, now.astimezone(zone), reason)
    if codes:
        workitem.ProcedureStepProgressInformationSequence[0].ProcedureStepDiscontinuationReasonCodeSequence = codes
    write_change(session, row, workitem, now, closed_by_us=by_us)
    ups_notices.notify(session, row.sop_instance_uid, [passing, state_report(decoded(row.attributes))])
    _note(session, row, "workitem_state", actor, came_from, reason if by_us else None)


def _note(
    session: Session, row: Workitem, kind: str, actor: str, came_from: str | None, reason: str | None = None
) -> None:
    """Write the audit trail; what the peer wrote as a reason stays in the workitem, it may name a patient."""
    logger.info("%s: %s is %s, by %s", kind, row.sop_instance_uid, row.state, actor)
    record(
        session,
        kind,
        actor=actor,
        study_instance_uid=row.study_instance_uid,
        reason=reason,
        details={"workitem": row.sop_instance_uid, "from": came_from, "to": row.state, "priority": row.priority},
    )


def _require_hold(row: Workitem, transaction_uid: str) -> None:
    """Refuse a modification by whoever does not hold the workitem (PS3.4 CC.2.6.2)."""
    state = StepState(row.state)
    if state.final:
        raise UpsRefusal(UpsStatus.NO_LONGER_UPDATABLE)
    if state is StepState.SCHEDULED and transaction_uid:
        raise UpsRefusal(UpsStatus.NOT_IN_PROGRESS)
    if state is StepState.IN_PROGRESS and transaction_uid != row.transaction_uid:
        raise UpsRefusal(UpsStatus.WRONG_TRANSACTION_UID)


def _narrowing(keys: Dataset) -> list[ColumnElement[bool]]:
    """Return SQL conditions that let through everything the keys match, and little else."""
    columns = {
        "ProcedureStepState": Workitem.state,
        "ScheduledProcedureStepPriority": Workitem.priority,
        "SOPInstanceUID": Workitem.sop_instance_uid,
    }
    conditions: list[ColumnElement[bool]] = []
    for keyword, column in columns.items():
        value = keys.get(keyword)
        if not value:
            continue
        wanted = [str(one).strip() for one in ([value] if isinstance(value, str) else value)]
        if all(wanted) and not any(character in one for one in wanted for character in "*?"):
            conditions.append(column.in_(wanted))
    return conditions
