"""The process behind ``python -m worker shadow``: second opinions, one after another, behind all other work.

It looks for its runs in the database itself: nobody rings for them, so that no number of them stands in anybody's way.
"""

from __future__ import annotations

import logging
import os
import signal
import threading

from sqlalchemy.exc import SQLAlchemyError

from dicom_io.storing.instance_store import InstanceStore
from worker.foundation.errors import NotConfigured
from worker.foundation.kept_memory import keep_freed_memory
from worker.foundation.watchdog import Watchdog
from worker.foundation.worker_name import worker_name
from worker.rows.database import migrated_engine, session_factory
from worker.rows.heartbeat import Heartbeat
from worker.rows.kept_stores import require_kept_stores
from worker.runs.shadowing import shadow_next
from worker.runs.workplace import Workplace, load_model
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

ROLE = "shadow worker"
NICENESS = 10
LOOK_INTERVAL_SECONDS = 1.0
AFTER_FAILURE_SECONDS = 10.0


def run_shadow_worker(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; the run in hand is finished first. Return the exit status, 0 after a clean stop.

    Raises
    ------
    StartError
        No bundle is to run in the shadow or it cannot be used, or the database is not migrated or does not answer.
    """
    if not settings.shadow_bundle:
        raise NotConfigured("no bundle is to run in the shadow; name one in shadow_bundle")
    require_kept_stores(settings)
    os.nice(NICENESS)
    keep_freed_memory()
    with migrated_engine(settings.effective_database_url) as engine:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        sessions = session_factory(engine)
        stores = InstanceStore(settings.instances_dir), InstanceStore(settings.results_dir)
        models = {settings.shadow_bundle: load_model(settings, settings.shadow_bundle)}
        workplace = Workplace(settings, sessions, *stores, worker_name(), models)
        with Watchdog(settings.lease_seconds), Heartbeat(sessions, worker_name(), ROLE, lambda: workplace.device):
            _work(workplace, stopped)
    return 0


def _work(workplace: Workplace, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            found = shadow_next(workplace)
        except SQLAlchemyError as error:  # an outage ends nothing: a run that was begun is claimed again
            logger.warning("the database does not answer (%s); trying again", type(error).__name__)
            stopped.wait(AFTER_FAILURE_SECONDS)
            continue
        if not found:
            stopped.wait(LOOK_INTERVAL_SECONDS)
