"""The process behind ``python -m worker work``: Celery with one network per process, or small senders."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Sequence

from celery.signals import setup_logging

from model.loading import no_garbage_looked_for
from worker.foundation.logs import configure_logging
from worker.processes import unfit
from worker.queue.celery_app import QUEUES, app, configure
from worker.rows.database import migrated_engine, session_factory
from worker.rows.kept_stores import require_kept_stores
from worker.settings.config import ConfigurationError, Settings

DELIVERY_PROCESSES = 2
"""Enough that one slow archive does not hold up another; they load no network."""


def run_worker(settings: Settings, queues: Sequence[str] = ("stat", "routine"), concurrency: int = 0) -> int:
    """Work until SIGTERM or SIGINT; the task in hand is finished first.

    Parameters
    ----------
    queues
        Which of ``stat``, ``routine``, ``delivery`` to serve. Give deliveries a worker of their own, so that they never
        wait behind an analysis.
    concurrency
        Processes; 0 takes ``settings.concurrency``, and where that is 0 too, one per core (two for deliveries).

    Returns
    -------
    int
        Exit status, 0 after a clean stop; 1 where its processes could not load their network.

    Raises
    ------
    ConfigurationError
        A queue does not exist.
    StartError
        The database is not migrated or does not answer, or a bundle cannot be used.
    """
    if not queues or not set(queues) <= set(QUEUES):
        raise ConfigurationError(f"queues must be some of {', '.join(QUEUES)}, not {', '.join(queues) or 'none'}")
    require_kept_stores(settings)
    require_usable(settings, queues)
    configure(settings)

    node = app.Worker(
        hostname=node_name(queues),
        queues=list(queues),
        concurrency=concurrency or settings.concurrency or default_concurrency(queues),
        pool="prefork",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    unfit.forget()
    gc.freeze()  # looking for garbage among what is loaded would also copy its memory to each process
    node.start()
    return int(node.exitcode or unfit.found())


def require_usable(settings: Settings, queues: Sequence[str]) -> None:
    """Refuse to start on an unmigrated database or, for analyses, with a bundle that cannot be used.

    Raises
    ------
    StartError
        Saying what is wrong and what to do.
    """
    with migrated_engine(settings.effective_database_url) as engine:
        if analyses(queues):
            with no_garbage_looked_for():
                import worker.runs.triage  # noqa: F401  # before the fork: loaded once and shared by all processes
                from worker.runs.workplace import check_bundles, require_active_configured  # deliveries need no network

            check_bundles(settings)
            with session_factory(engine, read_only=True)() as session:
                require_active_configured(session, settings)


def analyses(queues: Sequence[str]) -> bool:
    """Return whether a worker of these queues runs analyses."""
    return not {"stat", "routine"}.isdisjoint(queues)


def default_concurrency(queues: Sequence[str]) -> int:
    """Return one process per core this process may use, or the small number for deliveries alone."""
    return len(os.sched_getaffinity(0)) if analyses(queues) else DELIVERY_PROCESSES


def node_name(queues: Sequence[str]) -> str:
    """Return a Celery node name that no other worker has, on this host or another."""
    return f"{'-'.join(queues)}-{os.getpid()}@{socket.gethostname()}"


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _write_our_log_lines(**_signal: object) -> None:
    configure_logging()  # Celery leaves logging alone when somebody answers this signal
