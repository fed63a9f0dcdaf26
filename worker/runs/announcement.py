"""Which HL7 receivers are told about a run, and in which message; kept as bytes and sent through the outbox.

A historical study and a study that was not analysed make no results at all, so nobody is told of them. The control id
follows from the result and the destination: every attempt and every duplicate carries the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dicom_io.results.origin import result_uid
from dicom_io.results.reporting import PRIORITIES, Report
from hl7_io.announcement import Announcement
from hl7_io.observation_report import build_observation_report, control_id
from hl7_io.segments import InvalidMessageError
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.leases import Claim
from worker.rows.priority import is_news_to_reader, offered_priority
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.states import Priority, ResultKind
from worker.rows.study_tables import Study
from worker.runs.analysis import Analysis
from worker.runs.built_result import BuiltResult
from worker.runs.policy import TIERS, level_of
from worker.runs.workplace import Workplace
from worker.settings.hl7 import Hl7Destination

logger = logging.getLogger(__name__)

CRITICAL = frozenset(label for label, (tier, _weight) in TIERS.items() if tier.priority == Priority.STAT)


@dataclass(frozen=True)
class _Known:
    """What the database knows about a study before this run ends."""

    priority: str
    """The level that the study will have: the higher of its own and what the run may raise it to."""
    announced: tuple[str, ...]
    """Findings that earlier messages to this destination named, delivered or perhaps delivered."""
    over: bool
    """A person has read the study at no lower level, and this destination was never told of it: there is no order left
    to change."""


def announcements(claim: Claim, analysis: Analysis, report: Report, workplace: Workplace) -> Iterator[BuiltResult]:
    """Yield the run's messages, one per receiver that wants its level; each is on disk.

    A study that cannot be announced is noted in the audit trail and loses nothing else.

    Raises
    ------
    StoreError
        The store of results is full or not writable.
    """
    for destination in workplace.settings.hl7_destinations:
        with workplace.reading() as session:
            known = _known(session, claim, report, destination)
        if known.over or known.priority not in destination.announce:
            continue
        try:
            yield _built(claim, analysis, report, known, destination, workplace)
        except InvalidMessageError as error:
            _note_not_announced(claim, destination, str(error), workplace)


def _known(session: Session, claim: Claim, report: Report, destination: Hl7Destination) -> _Known:
    study = session.get_one(Study, claim.study_instance_uid)
    flagged = {finding.label: level_of(finding.label) for finding in report.flagged}
    offered = offered_priority(session, study, Priority(report.priority), flagged)
    levels = [level for level in (study.priority, offered) if level]
    attempted = (
        select(Result.run_id)
        .join(Delivery, Delivery.result_id == Result.id)
        .join(Run, Run.id == Result.run_id)
        .where(Run.study_instance_uid == claim.study_instance_uid, Run.id != claim.run_id)
        .where(Result.kind == ResultKind.HL7_MESSAGE)
        .where(Delivery.destination == destination.name, or_(Delivery.attempts > 0, Delivery.offered))
    )
    announced = session.scalars(
        select(Prediction.finding).where(Prediction.run_id.in_(attempted), Prediction.flagged).distinct()
    ).all()
    reopened = not claim.backfill and is_news_to_reader(session, study, offered)  # when this run ends
    over = study.read_at is not None and not reopened and session.scalar(attempted.limit(1)) is None
    return _Known(min(levels, key=PRIORITIES.index), tuple(sorted(announced)), over)


def _built(
    claim: Claim,
    analysis: Analysis,
    report: Report,
    known: _Known,
    destination: Hl7Destination,
    workplace: Workplace,
) -> BuiltResult:
    settings, flagged = workplace.settings, {finding.label for finding in report.flagged}
    announcement = Announcement(
        report,
        [picture.header for picture in analysis.pictures],
        known.priority,
        CRITICAL,
        tuple(label for label in known.announced if label not in flagged),
        settings.device_serial_number,
        ZoneInfo(settings.time_zone),
    )
    uid = result_uid(claim.study_instance_uid, report, ResultKind.HL7_MESSAGE, destination.name)
    content = build_observation_report(announcement, destination.addressing(), control_id(uid))
    file = workplace.results.write(claim.study_instance_uid, uid, [content], suffix=".hl7")
    return BuiltResult(
        ResultKind.HL7_MESSAGE, None, "", uid, "", file, report.created_at, report.revision, destination.name
    )


def _note_not_announced(claim: Claim, destination: Hl7Destination, why: str, workplace: Workplace) -> None:
    logger.warning("run %d is not announced to %s: %s", claim.run_number, destination.name, why)
    with workplace.sessions.begin() as session:
        record(
            session,
            "not_announced",
            actor=claim.worker_name,
            study_instance_uid=claim.study_instance_uid,
            run_id=claim.run_id,
            reason=f"not announced to {destination.name}: {why}",
        )
