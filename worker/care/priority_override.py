"""A person sets the priority of an analysed study, up or down; the machine on its own only raises it.

What the model had flagged until then does not raise the priority again, however often the study is analysed; a finding
that is new does, to the level of that finding (`worker.rows.priority`). HL7 receivers are not told of it: what a person
decides here they decide in their own list; a workitem (UPS) follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from worker.care.administration import existing_study, stated
from worker.foundation.errors import WorkerError
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.states import Priority


class OverrideRefused(WorkerError):
    """The study's priority cannot be set; the message says why."""

    def __init__(self, study_instance_uid: str, why: str) -> None:
        super().__init__(f"the priority of study {study_instance_uid} is not set: {why}")


@dataclass(frozen=True)
class Overridden:
    """A priority that a person has set."""

    study_instance_uid: str
    before: str
    priority: str

    @property
    def summary(self) -> str:
        """Return what happened, in a sentence."""
        return f"study {self.study_instance_uid} is {self.priority} now; it was {self.before}"


def override_priority(
    session: Session, study_instance_uid: str, priority: Priority, *, reason: str, by: str
) -> Overridden:
    """Set the priority in a person's name; the audit trail keeps the model's.

    Parameters
    ----------
    reason
        A sentence for the list and the audit trail; never patient data.
    by
        The person's name.

    Raises
    ------
    UnknownStudy
        The study was never received.
    OverrideRefused
        It has no priority, because it was not analysed.
    NotStated
        No reason or no name.
    """
    reason, by = stated("reason", reason), stated("name", by)
    study = existing_study(session, study_instance_uid)
    if study.priority is None:
        raise OverrideRefused(study_instance_uid, f"it is {study.state} and has none; read it in ordinary order")
    before, now = study.priority, database_now(session)
    record(
        session,
        "priority_set",
        actor=by,
        study_instance_uid=study_instance_uid,
        run_id=study.current_run_id,
        reason=f"{before} -> {priority}: {reason}",
        details={
            "from": before,
            "to": priority,
            "reason_before": study.priority_reason,
            "set_by_before": study.priority_set_by,
            "model_version": study.current_run.model_version if study.current_run else None,
            "policy_hash": study.current_run.policy_hash if study.current_run else None,
        },
        at=now,
    )
    study.priority, study.priority_set_by = priority, by
    study.priority_reason = f"Set by {by}: {reason}"
    study.priority_decided_run_id = study.current_run_id
    if priority != Priority.ROUTINE and not study.historical and study.flagged_at is None:
        study.flagged_at = now
    return Overridden(study_instance_uid, before, priority)
