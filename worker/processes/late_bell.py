"""The listener's doorbell: Celery takes a moment to load, and the port is to be open before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from worker.settings.config import Settings


class LateBell:
    """Rings for triage; whoever rings before Celery is loaded waits for it."""

    def __init__(self) -> None:
        self._ring: Future[Callable[[str, str], None]] = Future()

    def load(self, settings: Settings) -> None:
        """Load and configure Celery.

        Raises
        ------
        OSError
            The folders of a ``filesystem://`` broker cannot be made; whoever waits to ring hears it, too.
        """
        from worker.processes.tasks import ring_triage
        from worker.queue.celery_app import configure

        try:
            configure(settings)
        except OSError as error:
            self._ring.set_exception(error)
            raise
        self._ring.set_result(ring_triage)

    def __call__(self, study_instance_uid: str, queue: str) -> None:
        """Ask a worker of ``queue`` to look for a queued run of this study."""
        self._ring.result()(study_instance_uid, queue)
