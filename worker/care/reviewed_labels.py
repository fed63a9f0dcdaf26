"""What reviewers have decided of whole studies, as labels to train on.

A study is decided when it is marked read, at least one finding was judged, and every finding that the model flagged
has a word. Findings that nobody named are then taken for absent: a reviewer who adds what was missed vouches for the
rest.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.figures.reviewed_truth import ReviewedFinding, reviewed_findings
from worker.rows.run_tables import Prediction
from worker.rows.study_tables import Study

NO_FINDING = "No Finding"


@dataclass(frozen=True)
class Decision:
    """What a study shows, and who says so."""

    labels: str
    """Findings joined by ``|`` in the order of ``LABELS``, or ``No Finding``."""
    reviewers: str


def decided_studies(session: Session) -> dict[str, Decision]:
    """Return the decision on every study that reviewers have decided, by Study Instance UID."""
    by_study: dict[str, list[ReviewedFinding]] = defaultdict(list)
    for item in reviewed_findings(session):
        by_study[item.study_instance_uid].append(item)
    rows = session.execute(
        select(Study.study_instance_uid, Prediction.finding)
        .outerjoin(Prediction, (Prediction.run_id == Study.current_run_id) & Prediction.flagged)
        .where(Study.read_at.is_not(None), Study.current_run_id.is_not(None))
        .distinct()
    )
    flagged: dict[str, set[str]] = defaultdict(set)
    for uid, finding in rows:
        flagged[uid] |= {finding} if finding else set()
    return {
        uid: _decision(words)
        for uid, words in by_study.items()
        if uid in flagged and flagged[uid] <= {word.finding for word in words}
    }


def _decision(words: list[ReviewedFinding]) -> Decision:
    present = {word.finding for word in words if word.present}
    labels = "|".join(label for label in LABELS if label in present) or NO_FINDING
    return Decision(labels, ", ".join(sorted({word.reviewer for word in words})))
