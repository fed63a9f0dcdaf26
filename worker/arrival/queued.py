"""A run that waits for a worker: its row, what the audit trail says of it, and in which queue it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.rows.states import RunState, StudyState

STAT_QUEUE = "stat"
ROUTINE_QUEUE = "routine"
URGENT_ORDERS = frozenset({"STAT", "HIGH"})


@dataclass(frozen=True)
class QueuedRun:
    """A run that waits for a worker; ring for it after the commit."""

    run_id: int
    study_instance_uid: str
    run_number: int
    queue: str
    """``stat`` or ``routine``."""


def queue_of(order_priority: str, *, urgent_source: bool) -> str:
    """Return the queue for a study that was ordered with this priority."""
    urgent = urgent_source or order_priority.strip().upper() in URGENT_ORDERS
    return STAT_QUEUE if urgent else ROUTINE_QUEUE


def run_row(
    study_instance_uid: str, run_number: int, bundle: str, trigger: str, queue: str, now: datetime
) -> dict[str, Any]:
    """Return the columns of a ``run`` that is queued now."""
    return {
        "study_instance_uid": study_instance_uid,
        "run_number": run_number,
        "bundle": bundle,
        "trigger": trigger,
        "state": RunState.QUEUED,
        "queue": queue,
        "shadow": False,
        "attempts": 0,
        "fencing_token": 0,
        "result_revision": 1,
        "queued_at": now,
        "rung_at": now,
        "timings_seconds": {},
    }


def queued_event(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit trail says of a run queued now, its study, its own number and the actor apart."""
    return {
        "kind": "queued",
        "to_state": StudyState.QUEUED,
        "reason": f"run {run['run_number']}: {run['trigger']}",
        "details": {"queue": run["queue"], "bundle": run["bundle"]},
        "at": run["queued_at"],
    }
