"""A radiologist's word on what the model said: kept beside it, audited, and later the truth it is measured by."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.care.administration import existing_study, mark_read
from worker.foundation.errors import WorkerError
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.priority import FLAGS, rank
from worker.rows.run_tables import Prediction
from worker.rows.states import Priority, ReviewVerdict
from worker.rows.study_tables import Review

LONGEST_COMMENT = 4000
_BELOW: Mapping[str | None, tuple[str, ...]] = {
    flag: ("", *(level for level in Priority if rank(level) < rank(flag))) for flag in FLAGS
}
"""Levels, or none, that say less than a flag."""
_JUDGED = (ReviewVerdict.AGREE, ReviewVerdict.DISAGREE, ReviewVerdict.MISSED)


class ReviewRefused(WorkerError):
    """The review cannot be written; the message says why."""


def mark_read_as_shown(session: Session, study_instance_uid: str, shown: str, reader: str) -> None:
    """Note that a person who was shown this level has read the study.

    Parameters
    ----------
    shown
        Level on the page in which they said so; empty where it showed none.

    Raises
    ------
    UnknownStudy
        The study was never received.
    ReviewRefused
        It has become STAT or URGENT since, and that is more: the reader could not know (`worker.rows.reopening`).
    """
    level = existing_study(session, study_instance_uid).priority
    if shown in _BELOW.get(level, ()):
        raise ReviewRefused(f"it has become {level} since this page was made; look at why, then mark it read")
    mark_read(session, study_instance_uid, reader)


def write_review(
    session: Session,
    study_instance_uid: str,
    run_id: int | None,
    verdicts: Mapping[str, ReviewVerdict],
    comment: str,
    reviewer: str,
) -> int:
    """Keep what a reviewer says of the run they looked at; returns how many rows that made.

    A verdict that repeats the last one makes no row. Nothing of this changes priority or results.

    Parameters
    ----------
    verdicts
        By finding: agree or disagree with a flag or its absence, or missed.
    comment
        Words about the study; empty = none.

    Raises
    ------
    UnknownStudy
        The study was never received.
    ReviewRefused
        There is no result of a run yet, the study was analysed again meanwhile, a finding does not exist, or the
        comment is too long.
    """
    study = existing_study(session, study_instance_uid)
    if study.current_run_id is None:
        raise ReviewRefused("there is no result to review; mark the study read instead")
    if run_id != study.current_run_id:
        raise ReviewRefused("the study was analysed again meanwhile; look at the new result and review that")
    if len(comment) > LONGEST_COMMENT:
        raise ReviewRefused(f"a comment has at most {LONGEST_COMMENT} characters; this one has {len(comment)}")
    rows = [(finding, verdict, None) for finding, verdict in verdicts.items() if finding in LABELS]
    if len(rows) != len(verdicts):
        raise ReviewRefused("a finding of this review does not exist; reload the page")
    _require_sense(session, run_id, verdicts)
    known = last_verdicts(session, study_instance_uid, run_id)
    new: list[tuple[str | None, ReviewVerdict, str | None]] = [row for row in rows if known.get(row[0]) != row[1]]
    if comment.strip():
        new.append((None, ReviewVerdict.COMMENT, comment.strip()))
    now = database_now(session)
    for finding, verdict, words in new:
        session.add(
            Review(
                study_instance_uid=study_instance_uid, run_id=run_id, finding=finding, verdict=verdict, comment=words,
                reviewer=reviewer, created_at=now,
            )
        )  # fmt: skip
    if new:
        details = {finding: verdict for finding, verdict, _ in new if finding}
        record(
            session, "reviewed", actor=reviewer, study_instance_uid=study_instance_uid, run_id=run_id, at=now,
            details={"verdicts": details},
        )  # fmt: skip
    return len(new)


def last_verdicts(session: Session, study_instance_uid: str, run_id: int | None) -> dict[str, ReviewVerdict]:
    """Return the last word on each finding of that run."""
    last = (
        select(func.max(Review.id))
        .where(Review.study_instance_uid == study_instance_uid, Review.run_id == run_id, Review.verdict.in_(_JUDGED))
        .group_by(Review.finding)
    )
    rows = session.execute(select(Review.finding, Review.verdict).where(Review.id.in_(last)))
    return {finding: ReviewVerdict(verdict) for finding, verdict in rows if finding is not None}


def _require_sense(session: Session, run_id: int, verdicts: Mapping[str, ReviewVerdict]) -> None:
    """Refuse "missed" of what was flagged: whoever looked at another page must look again."""
    flagged = set(
        session.scalars(select(Prediction.finding).where(Prediction.run_id == run_id, Prediction.flagged.is_(True)))
    )
    if wrong := sorted(f for f, verdict in verdicts.items() if verdict is ReviewVerdict.MISSED and f in flagged):
        raise ReviewRefused(f"{', '.join(wrong)} was flagged, so it was not missed; say agree or disagree")
