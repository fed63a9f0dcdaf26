"""The listener's doorbell: it rings in a thread of its own, since a broker may take a minute to answer, or never do so.

Whoever rings for an association would keep its place meanwhile, and a broker that stands still would end reception.
Celery takes a moment to load, too, and the port is to be open before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Full, Queue

from worker.settings.config import Settings

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Beyond this many the sweeper rings."""
STOP_SECONDS = 5.0
"""How long the end of the listener waits for bells that are still to be rung."""


class LateBell:
    """Rings for triage, one bell after the other; those that come before Celery is loaded wait for it."""

    def __init__(self) -> None:
        self._waiting: Queue[tuple[str, str] | None] = Queue(MOST_WAITING)
        self._ringer: threading.Thread | None = None

    def load(self, settings: Settings) -> None:
        """Load and configure Celery, then begin to ring.

        Raises
        ------
        OSError
            The folders of a ``filesystem://`` broker cannot be made.
        """
        from worker.processes.tasks import ring_triage
        from worker.queue.celery_app import configure

        configure(settings)
        self._ringer = threading.Thread(target=self._ring_until_stopped, args=(ring_triage,), name="bell", daemon=True)
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

    def __call__(self, study_instance_uid: str, queue: str) -> None:
        """Have a worker of ``queue`` asked to look for a queued run of this study; returns at once."""
        try:
            self._waiting.put_nowait((study_instance_uid, queue))
        except Full:
            logger.warning("study=%s: cannot ring %s (slow broker); the sweeper will", study_instance_uid, queue)

    def _ring_until_stopped(self, ring: Callable[[str, str], None]) -> None:
        while (bell := self._waiting.get()) is not None:
            try:
                ring(*bell)
            except Exception:  # the loop's one broad except: one bell that fails may not silence all that follow
                logger.exception("study=%s: cannot ring %s; the sweeper will", *bell)
