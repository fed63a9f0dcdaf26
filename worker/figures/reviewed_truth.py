"""What radiologists' reviews say is there: the truth that a model's word is measured by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from worker.rows.run_tables import Prediction, Run
from worker.rows.states import ReviewVerdict
from worker.rows.study_tables import Review


@dataclass(frozen=True)
class ReviewedFinding:
    """One finding of one study that somebody has judged; of several judgements the last one counts."""

    study_instance_uid: str
    run_id: int
    """The run whose word was judged."""
    model_version: str | None
    finding: str
    probability: float | None
    """Highest over the images, 0..1; None = the model does not know the finding."""
    flagged: bool
    agreed: bool
    present: bool
    """Whether the finding is there, as the reviewer sees it."""
    reviewer: str


def reviewed_findings(session: Session, since: datetime | None = None) -> list[ReviewedFinding]:
    """Return the last word on each finding of each study, reviewed since then or ever."""
    judged = (ReviewVerdict.AGREE, ReviewVerdict.DISAGREE, ReviewVerdict.MISSED)
    last = (
        select(func.max(Review.id))
        .where(Review.finding.is_not(None), Review.verdict.in_(judged), Review.run_id.is_not(None))
        .group_by(Review.study_instance_uid, Review.finding)
    )
    query = (
        select(
            Review,
            Run.model_version,
            func.max(Prediction.probability),
            func.max(case((Prediction.flagged, 1), else_=0)),
        )
        .join(Run, Run.id == Review.run_id)
        .outerjoin(Prediction, (Prediction.run_id == Review.run_id) & (Prediction.finding == Review.finding))
        .where(Review.id.in_(last))
        .group_by(Review.id, Run.id)
        .order_by(Review.id)
    )
    if since is not None:
        query = query.where(Review.created_at >= since)
    return [_reviewed(*row) for row in session.execute(query)]


def _reviewed(review: Review, version: str | None, probability: float | None, flag: int | None) -> ReviewedFinding:
    if review.run_id is None or review.finding is None:
        raise ValueError(f"review {review.id} names no run or no finding")
    flagged, agreed = bool(flag), review.verdict == ReviewVerdict.AGREE
    return ReviewedFinding(
        review.study_instance_uid,
        review.run_id,
        version,
        review.finding,
        probability,
        flagged,
        agreed,
        flagged == agreed or review.verdict == ReviewVerdict.MISSED,
        review.reviewer,
    )
