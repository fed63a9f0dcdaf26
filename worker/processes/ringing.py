"""Rings again for what waits, where the broker may have lost the message: the sweeper's doorbells."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from worker.processes.lost_rings import (
    abandoned_runs_to_ring,
    deliveries_lack_messages,
    deliveries_to_ring,
    give_up_used_up_runs,
    queued_runs_to_ring,
    runs_without_message,
)
from worker.queue.celery_app import DELIVERY_QUEUE
from worker.rows.database import SessionFactory
from worker.settings.config import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bells:
    """How workers are told, and whether they have heard; none must raise when the broker is down."""

    ring_triage: Callable[[str, str], None]
    """(study_instance_uid, queue)"""
    ring_delivery: Callable[[str], None]
    """(study_instance_uid)"""
    messages_waiting: Callable[[str], int | None]
    """(queue) -> messages that nobody has taken yet; None when the broker does not answer."""


def ring_runs(sessions: SessionFactory, settings: Settings, bells: Bells) -> None:
    """End runs without an attempt left; ring for queued and abandoned ones whose message seems lost."""
    with sessions.begin() as session:
        give_up_used_up_runs(session, settings)
    with sessions.begin() as session:
        runs = [*queued_runs_to_ring(session, settings), *abandoned_runs_to_ring(session, settings)]
    messages = {queue: bells.messages_waiting(queue) for queue in sorted({run.queue for run in runs})}
    with sessions() as session:
        lost = runs_without_message(session, runs, messages)
    for run in lost:
        logger.warning("study=%s run=%d rung for again", run.study_instance_uid, run.run_number)
        bells.ring_triage(run.study_instance_uid, run.queue)


def ring_deliveries(sessions: SessionFactory, settings: Settings, bells: Bells) -> None:
    """Ring for deliveries that are due and were not rung for lately."""
    with sessions.begin() as session:
        study_instance_uids = deliveries_to_ring(session, settings)
    if not study_instance_uids:
        return
    messages = bells.messages_waiting(DELIVERY_QUEUE)
    with sessions() as session:
        lacking = deliveries_lack_messages(session, messages)
    for study_instance_uid in study_instance_uids if lacking else ():
        bells.ring_delivery(study_instance_uid)
