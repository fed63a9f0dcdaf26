"""The processes behind ``python -m worker reprocess``: they take one archived study after another, behind all others.

They belong to the command: when it ends, however it ends, they finish the study in hand and end, too. What was done is
in the rows, so that the same command goes on from there, here or on another machine.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess

from sqlalchemy.exc import SQLAlchemyError

from model.loading import children_without_ctrl_c
from worker.foundation.errors import StartError
from worker.foundation.kept_memory import keep_freed_memory
from worker.foundation.logs import configure_logging
from worker.foundation.worker_name import worker_name
from worker.rows.backfills import end_abandoned_runs, end_if_done, settle_ended_runs
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.heartbeat import Heartbeat
from worker.rows.run_tables import Backfill
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

ROLE = "backfill worker"
NICENESS = 10
"""Not more: a process that hardly ever runs may hold the lock of SQLite's one writer, and live studies wait for it."""
LOOK_INTERVAL_SECONDS = 0.5
AFTER_FAILURE_SECONDS = 10.0
PATIENCE_SECONDS = 60.0


@contextmanager
def backfill_processes(settings: Settings, backfill_id: int, number: int) -> Iterator[Sequence[BaseProcess]]:
    """Work off a backfill in this many processes while the block runs; they end when nothing is left.

    A terminal's Ctrl-C reaches all of them, but only the command listens, and tells them.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work_off, args=(settings, backfill_id, os.getpid())) for _ in range(number)]
    with children_without_ctrl_c():
        for process in processes:
            process.start()
    try:
        yield processes
    finally:
        for process in processes:
            if process.is_alive() and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
        for process in processes:
            process.join(PATIENCE_SECONDS)
            if process.is_alive():
                process.kill()


def work_off(settings: Settings, backfill_id: int, parent_pid: int) -> None:
    """Take studies of the backfill until none is left, SIGTERM or SIGINT comes, or the parent process is gone."""
    from dicom_io.storing.instance_store import InstanceStore  # here, so that the command shows its progress at once
    from worker.runs.reprocessing import reprocess_next
    from worker.runs.workplace import Workplace

    stopped = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopped.set())
    configure_logging()
    os.nice(NICENESS)
    keep_freed_memory()
    engine = open_engine(settings.effective_database_url)
    sessions = session_factory(engine)
    stores = InstanceStore(settings.instances_dir), InstanceStore(settings.results_dir)
    workplace = Workplace(settings, sessions, *stores, worker_name())
    try:
        with Heartbeat(sessions, worker_name(), ROLE):
            while not stopped.is_set() and os.getppid() == parent_pid:
                try:
                    if reprocess_next(workplace, backfill_id) is not None:
                        continue
                    if is_over(sessions, backfill_id, settings):
                        return
                    stopped.wait(LOOK_INTERVAL_SECONDS)
                except SQLAlchemyError as error:  # an outage ends nothing: a run that was begun is taken again
                    logger.warning("the database does not answer (%s); trying again", type(error).__name__)
                    stopped.wait(AFTER_FAILURE_SECONDS)
    except StartError as error:
        logger.error("%s", error)
        raise SystemExit(1) from error
    finally:
        engine.dispose()


def is_over(sessions: SessionFactory, backfill_id: int, settings: Settings) -> bool:
    """Bring to an end what others left in hand; returns whether the backfill has ended."""
    with sessions.begin() as session:
        if session.get_one(Backfill, backfill_id).ended_at is not None:
            return True
        end_abandoned_runs(session, settings)
        settle_ended_runs(session, backfill_id)
        return end_if_done(session, backfill_id)
