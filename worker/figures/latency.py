"""How long each stage takes, from the last image of a study to its results stored in the archive, in percentiles.

```
last C-STORE -> complete -> queue -> read, suitability, preprocess, classify, saliency, results -> record -> deliver
```

``complete`` is the wait for a study's end (association closed, or the quiet time), ``queue`` the wait for a worker,
``record`` what a run spends between and after its stages (comparing, rows), ``deliver`` the way to all destinations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind, RunTrigger, StudyState
from worker.rows.study_tables import Study

STAGES = (
    "complete", "queue", "load", "read", "suitability", "preprocess", "classify", "saliency", "results", "record",
    "deliver",
)  # fmt: skip
WHOLE = ("analysed", "stored")
"""From the last image to the answer in the database, and to the results at every destination."""
PERCENTILES = (50, 95, 99)
MOST_RUNS = 5000


@dataclass(frozen=True)
class StageFigures:
    """One stage: how many runs, and the seconds that 50, 95 and 99 of a hundred stayed below."""

    name: str
    runs: int
    p50: float
    p95: float
    p99: float
    longest: float


def stage_figures(session: Session, since: datetime) -> list[StageFigures]:
    """Return the stages in their order, then the whole way; stages that no run had are left out.

    At most the latest 5000 analysed runs are looked at: of live studies, not requeued and not in the shadow.
    """
    runs = session.execute(
        select(Run.id, Run.queued_at, Run.started_at, Run.finished_at, Run.timings_seconds, Study.last_received_at)
        .join(Study, Study.study_instance_uid == Run.study_instance_uid)
        .where(
            Run.finished_at >= since,
            Run.outcome == StudyState.TRIAGED,
            ~Run.shadow,
            Run.trigger.in_((RunTrigger.AUTO, RunTrigger.LATE_IMAGE)),
            Study.last_received_at <= Run.started_at,  # what came later is another run's
        )
        .order_by(Run.finished_at.desc())
        .limit(MOST_RUNS)
    ).all()
    sent = _sent(session, since)
    by_stage: dict[str, list[float]] = {name: [] for name in (*STAGES, *WHOLE)}
    for run in runs:
        for name, seconds in _seconds(run, sent.get(run.id)).items():
            by_stage[name].append(seconds)
    return [_figures(name, seconds) for name, seconds in by_stage.items() if seconds]


def _sent(session: Session, since: datetime) -> Mapping[int, datetime]:
    """Return when the last object of each run was taken, for runs with nothing left to send."""
    open_ones = (DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.REFUSED)
    rows = session.execute(
        select(Result.run_id, func.max(Delivery.sent_at))
        .join(Delivery, Delivery.result_id == Result.id)
        .join(Run, Run.id == Result.run_id)
        .where(Run.finished_at >= since, Result.kind != ResultKind.REJECTION_NOTE)
        .group_by(Result.run_id)
        .having(func.sum(case((Delivery.state.in_(open_ones), 1), else_=0)) == 0)
    )
    return {run_id: sent_at for run_id, sent_at in rows if sent_at is not None}


def _seconds(run: Row[Any], sent_at: datetime | None) -> dict[str, float]:
    ready = max(run.queued_at, run.last_received_at)
    inside = {name: float(value) for name, value in run.timings_seconds.items() if name in STAGES}
    seconds = {
        "complete": (run.queued_at - run.last_received_at).total_seconds(),
        "queue": (run.started_at - ready).total_seconds(),
        **inside,
        "record": (run.finished_at - run.started_at).total_seconds() - sum(inside.values()),
        "analysed": (run.finished_at - run.last_received_at).total_seconds(),
    }
    if sent_at is not None:
        seconds["deliver"] = (sent_at - run.finished_at).total_seconds()
        seconds["stored"] = (sent_at - run.last_received_at).total_seconds()
    return {name: max(0.0, value) for name, value in seconds.items()}


def _figures(name: str, seconds: Sequence[float]) -> StageFigures:
    p50, p95, p99 = (float(value) for value in np.percentile(np.asarray(seconds), PERCENTILES))
    return StageFigures(name, len(seconds), p50, p95, p99, max(seconds))
