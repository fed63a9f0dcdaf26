"""Queues the first run of a study whose association has closed, by a few fixed statements.

Nearly every study that is due is one that came just now: never analysed, not held, not taken back, with an image that
waits. What is otherwise in any way is left to `worker.arrival.completion`, which can do everything, also this; a test
holds both to the same rows. Measured: the object-relational way took 8 ms of processor time for each study, half of
what the listener spent on a study of one image; this takes a tenth of that.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import Connection, Table, bindparam, exists, insert, select, update

from worker.arrival.analysable import is_waiting
from worker.arrival.queued import QueuedRun, queue_of, queued_event, run_row
from worker.rows.active_bundle import promotion_in_place_of
from worker.rows.database import as_utc, clock
from worker.rows.fixed_statement import FixedInsert, FixedStatement
from worker.rows.run_tables import Promotion, Run
from worker.rows.site_tables import Event
from worker.rows.states import RunTrigger, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

_STUDY, _RUN, _EVENT = (cast(Table, each.__table__) for each in (Study, Run, Event))
_LOCKED_STUDY = FixedStatement(
    select(*(_STUDY.c[name] for name in ("state", "due_at", "retracted_at", "calling_ae_title", "order_priority")))
    .where(_STUDY.c.study_instance_uid == bindparam("study"))
    .with_for_update()
)
_LOOK = {
    name: FixedStatement(
        select(
            clock(name).label("now"),
            exists().where(Run.study_instance_uid == bindparam("study")).label("has_run"),
            exists().where(is_waiting(bindparam("study")), Instance.reason_code.is_(None)).label("waits"),
            promotion_in_place_of(bindparam("place"))
            .with_only_columns(Promotion.bundle)
            .scalar_subquery()
            .label("bundle"),
        )
    )
    for name in ("sqlite", "postgresql")
}
_ADD_RUN = FixedInsert(insert(_RUN).returning(_RUN.c.id))
_ADD_EVENT = FixedInsert(_EVENT)
_NOW_QUEUED = FixedStatement(
    update(_STUDY).where(_STUDY.c.study_instance_uid == bindparam("study")).values(state=StudyState.QUEUED, due_at=None)
)


def queue_first_run(
    connection: Connection, study_instance_uid: str, settings: Settings, *, actor: str
) -> QueuedRun | None:
    """Queue a run for a study that just came; else return None, with nothing written and its row locked.

    The caller commits.
    """
    uid = {"study": study_instance_uid}
    found = _LOCKED_STUDY.execute(connection, uid)
    study = found[0] if found else None
    if study is None or study.state != StudyState.RECEIVING or study.due_at is None or study.retracted_at is not None:
        return None
    place = settings.bundle_of(study.calling_ae_title)
    (look,) = _LOOK[connection.dialect.name].execute(connection, uid | {"place": place})
    if look.has_run or not look.waits:
        return None
    queue = queue_of(study.order_priority, urgent_source=settings.is_urgent(study.calling_ae_title))
    row = run_row(study_instance_uid, 1, look.bundle or place, RunTrigger.AUTO, queue, as_utc(look.now))
    ((run_id,),) = _ADD_RUN.execute(connection, row)
    event = {"study_instance_uid": study_instance_uid, "run_id": run_id, "actor": actor, "from_state": study.state}
    _ADD_EVENT.execute(connection, event | queued_event(row))
    _NOW_QUEUED.execute(connection, uid)
    return QueuedRun(run_id, study_instance_uid, 1, queue)
