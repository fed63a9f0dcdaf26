"""Telling the workers what a command has set going; whether they hear it or not, the rows are written."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from worker.commands.at_hand import say
from worker.settings.config import Settings

RING_SECONDS = 3.0
"""A broker that stands still would keep a command for a minute; one at hand answers within milliseconds."""


def ring(settings: Settings, study_instance_uid: str, queue: str, *, deliveries: bool) -> None:
    """Tell the workers, of a run where it has a queue, after the commit; say so where the broker does not take it."""
    from kombu.exceptions import OperationalError  # here: Celery takes a moment to import; lists need none

    from worker.queue.celery_app import DELIVERY_QUEUE

    queues = [*filter(None, (queue,)), *((DELIVERY_QUEUE,) if deliveries else ())]
    rung: Future[None] = Future()
    threading.Thread(target=_ring, args=(settings, study_instance_uid, queues, rung), name="bell", daemon=True).start()
    try:
        rung.result(RING_SECONDS)
    except (OperationalError, OSError):  # a TimeoutError is one
        say(
            "the message queue does not answer; the order is kept in the database, and the sweeper passes it on as soon"
            " as the queue does (`python -m worker check` tries it)",
            aside=True,
        )


def _ring(settings: Settings, study_instance_uid: str, queues: list[str], rung: Future[None]) -> None:
    from kombu.exceptions import OperationalError

    from worker.processes.tasks import tell_workers
    from worker.queue.celery_app import configure, message_folder

    try:
        if (messages := message_folder(settings)) is not None and not messages.is_dir():
            # Whoever works has made it; made here, it might lie beneath the disk of data_dir, not mounted yet.
            raise FileNotFoundError(messages)
        configure(settings)
        for queue in queues:
            tell_workers(study_instance_uid, queue)
    except (OperationalError, OSError) as error:
        rung.set_exception(error)
    else:
        rung.set_result(None)
