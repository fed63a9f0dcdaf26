"""The two Celery tasks and the only places that send them: arguments are Study Instance UIDs, nothing else.

A message is a doorbell: losing or doubling one is harmless, because the task claims its work in the database first and
the sweeper rings again. There is therefore no Celery retry, countdown or result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown
from kombu.exceptions import OperationalError

from worker.foundation.errors import StartError
from worker.foundation.kept_memory import keep_freed_memory
from worker.foundation.logs import subject
from worker.foundation.watchdog import Watchdog
from worker.foundation.worker_name import worker_name
from worker.processes import unfit
from worker.queue.celery_app import (
    DELIVERY_QUEUE,
    DELIVERY_TIME_LIMIT_SECONDS,
    HARD_TIME_LIMIT_SECONDS,
    SOFT_TIME_LIMIT_SECONDS,
    app,
)
from worker.rows.database import SessionFactory
from worker.rows.heartbeat import Heartbeat

logger = logging.getLogger(__name__)

TRIAGE_TASK = "worker.triage_study"
DELIVERY_TASK = "worker.deliver_study"


def ring_triage(study_instance_uid: str, queue: str) -> None:
    """Ask a worker of ``queue`` (``stat`` or ``routine``) to look for a queued run of this study."""
    _ring(study_instance_uid, queue)


def ring_delivery(study_instance_uid: str) -> None:
    """Ask a delivery worker to send what is due of this study."""
    _ring(study_instance_uid, DELIVERY_QUEUE)


def tell_workers(study_instance_uid: str, queue: str) -> None:
    """Ask the workers of ``queue`` to look for what is due of this study, or fail.

    Raises
    ------
    OperationalError, OSError
        The broker does not take the message.
    """
    task = DELIVERY_TASK if queue == DELIVERY_QUEUE else TRIAGE_TASK
    app.send_task(task, args=(study_instance_uid,), queue=queue, ignore_result=True)


def _ring(study_instance_uid: str, queue: str) -> None:
    try:
        tell_workers(study_instance_uid, queue)
    except (OperationalError, OSError) as error:
        logger.warning(
            "study=%s: cannot ring %s (%s); the sweeper will", study_instance_uid, queue, type(error).__name__
        )


@app.task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=TRIAGE_TASK,
    bind=True,
    ignore_result=True,
    soft_time_limit=SOFT_TIME_LIMIT_SECONDS,
    time_limit=HARD_TIME_LIMIT_SECONDS,
)
def triage_study(task: Any, study_instance_uid: str) -> None:
    """Run one analysis of the study, if one is queued and nobody else has it."""
    from worker.runs.triage import triage  # here, because the listener rings without loading the network
    from worker.runs.workplace import workplace

    if unfit.found():
        return  # the processes are just being ended; the study stays queued, and the sweeper rings again
    with subject(study_instance_uid, task.request.id):
        if triage(study_instance_uid, workplace()):
            ring_delivery(study_instance_uid)


@app.task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=DELIVERY_TASK, bind=True, ignore_result=True, time_limit=DELIVERY_TIME_LIMIT_SECONDS
)
def deliver_study(task: Any, study_instance_uid: str) -> None:
    """Send the study's due results to their destinations, unless somebody else is at it.

    There is no soft limit: it would end this thread and leave those that send; another study would begin beside them.
    """
    from worker.sending.delivery import deliver
    from worker.sending.post_office import post_office

    with subject(study_instance_uid, task.request.id):
        deliver(study_instance_uid, post_office())


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _open_for_work(**_signal: Any) -> None:
    """Load what the first study would otherwise wait for, then be seen; a delivery worker needs no network."""
    queues = set(app.amqp.queues.consume_from)
    if queues & {"stat", "routine"}:
        import worker.runs.triage
        from worker.runs.rehearsal import rehearse
        from worker.runs.workplace import workplace

        keep_freed_memory()
        try:
            rehearse(workplace())
        except StartError as error:
            unfit.end_all(error)
            return
        _watch(workplace().settings.lease_seconds)
        _show("triage worker", workplace().sessions, lambda: workplace().device)
    if DELIVERY_QUEUE in queues:
        import worker.sending.delivery  # noqa: F401 (loading it is the point)
        from worker.sending.post_office import post_office

        _show("delivery worker", post_office().sessions)


_heartbeats: list[Heartbeat] = []
_watchdogs: list[Watchdog] = []


def _watch(limit_seconds: float) -> None:
    """End this process once nothing in it moves for as long as a lease lasts: its run is taken over then anyway."""
    _watchdogs.append(Watchdog(limit_seconds))
    _watchdogs[0].start()


def _show(role: str, sessions: SessionFactory, device: Callable[[], str] = str) -> None:
    if not _heartbeats:  # a process that serves both kinds of queue is one process
        _heartbeats.append(Heartbeat(sessions, worker_name(), role, device))
        _heartbeats[0].start()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _leave(**_signal: Any) -> None:
    while _watchdogs:
        _watchdogs.pop().stop()
    while _heartbeats:
        _heartbeats.pop().stop()
    if DELIVERY_QUEUE in set(app.amqp.queues.consume_from):
        from worker.sending.post_office import close_post_office

        close_post_office()
