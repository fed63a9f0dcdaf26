"""The doorbell of the listener and the sweeper: it rings in a thread of its own, since a broker may never answer.

Whoever rings for an association would keep its place meanwhile, and a broker that stands still would end reception; a
sweep would stand still for a minute at each study that is due. Celery takes a moment to load, too, and the listener's
port is to be open before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Full, Queue

from worker.settings.config import Settings

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Beyond this many the sweeper rings."""
STOP_SECONDS = 5.0
"""How long the end of the process waits for bells that are still to be rung."""
ANSWER_SECONDS = 2.0
"""How long the sweeper waits for a broker to say what its queues hold; one at hand answers within milliseconds."""


class LateBell:
    """Talks with the broker, one bell after the other; those that come before Celery is loaded wait for it."""

    def __init__(self) -> None:
        self._waiting: Queue[tuple[str, Callable[[], None]] | None] = Queue(MOST_WAITING)
        self._ringer: threading.Thread | None = None
        self._asked: Future[int | None] | None = None
        """The last question about a queue."""

    def load(self, settings: Settings) -> None:
        """Load and configure Celery, then begin to ring.

        Raises
        ------
        OSError
            The folders of a ``filesystem://`` broker cannot be made.
        """
        import worker.processes.tasks
        import worker.queue.waiting  # noqa: F401 (loading both is the point)
        from worker.queue.celery_app import configure

        configure(settings)
        self._ringer = threading.Thread(target=self._ring_until_stopped, name="bell", daemon=True)
        self._ringer.start()

    def stop(self) -> None:
        """Ring what waits, for `STOP_SECONDS` at most."""
        if self._ringer is None:
            return
        try:
            self._waiting.put_nowait(None)
        except Full:
            return  # nobody has answered a thousand bells, nor will these be
        self._ringer.join(STOP_SECONDS)
        if self._ringer.is_alive():
            logger.warning("%d bells are left to the sweeper (slow broker)", self._waiting.qsize())

    def __call__(self, study_instance_uid: str, queue: str) -> None:
        """Have a worker of ``queue`` asked to look for a queued run of this study; returns at once."""
        self._ring_later(f"study={study_instance_uid}: cannot ring {queue}", _ring_triage, study_instance_uid, queue)

    def ring_delivery(self, study_instance_uid: str) -> None:
        """Have a delivery worker asked to send what is due of this study; returns at once."""
        self._ring_later(f"study={study_instance_uid}: cannot ring delivery", _ring_delivery, study_instance_uid)

    def messages_waiting(self, queue: str) -> int | None:
        """Return how many messages of the queue no worker has taken yet, those of the bells before included.

        None when the broker does not answer, or not within `ANSWER_SECONDS`; until it has, nobody waits for it again.
        For one thread.
        """
        if self._asked is not None and not self._asked.done():
            return None
        asked: Future[int | None] = Future()
        if not self._ring_later(f"cannot look into {queue}", _look_into, queue, asked):
            return None
        self._asked = asked
        try:
            return asked.result(ANSWER_SECONDS)
        except TimeoutError:
            logger.warning("cannot look into %s (slow broker); the sweeper asks again", queue)
            return None

    def _ring_later(self, trouble: str, ring: Callable[..., None], *facts: object) -> bool:
        """Have it rung; return whether there was a place."""
        try:
            self._waiting.put_nowait((trouble, partial(ring, *facts)))
        except Full:
            logger.warning("%s (slow broker); the sweeper will", trouble)
            return False
        return True

    def _ring_until_stopped(self) -> None:
        while (bell := self._waiting.get()) is not None:
            trouble, ring = bell
            try:
                ring()
            except Exception:  # the loop's one broad except: one bell that fails may not silence all that follow
                logger.exception("%s; the sweeper will", trouble)


def _ring_triage(study_instance_uid: str, queue: str) -> None:
    from worker.processes.tasks import ring_triage

    ring_triage(study_instance_uid, queue)


def _ring_delivery(study_instance_uid: str) -> None:
    from worker.processes.tasks import ring_delivery

    ring_delivery(study_instance_uid)


def _look_into(queue: str, asked: Future[int | None]) -> None:
    from worker.queue.waiting import messages_waiting

    found = None
    try:
        found = messages_waiting(queue)
    finally:
        asked.set_result(found)
