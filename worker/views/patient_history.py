"""What else is known around a study: the same patient's other studies, reviews, and how far the study has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.rows.run_tables import Prediction
from worker.rows.states import DeliveryState, StudyState
from worker.rows.study_tables import Review, Study
from worker.views.study_detail import StudyDetail

MOST_PRIORS = 20
_LEFT_OUT = (StudyState.NOT_ANALYSED, StudyState.OUT_OF_SCOPE)


@dataclass(frozen=True)
class PriorStudy:
    """One study of the patient; ``probabilities`` of its current run, highest over the images, None = not known."""

    study_instance_uid: str
    study_date: str
    study_description: str
    state: str
    priority: str | None
    model_version: str | None
    present: bool
    """True: the study whose page this is."""
    probabilities: dict[str, float | None]
    flagged: frozenset[str]


@dataclass(frozen=True)
class History:
    """The patient's studies, newest first, and the findings that any of them flagged, in label order."""

    studies: tuple[PriorStudy, ...]
    findings: tuple[str, ...]
    more: bool
    """There are more than the 20 shown."""

    @property
    def several_models(self) -> bool:
        """Whether the numbers come from different models, so that a change may be the model's."""
        return len({study.model_version for study in self.studies if study.model_version}) > 1


@dataclass(frozen=True)
class ReviewLine:
    """What somebody said."""

    finding: str | None
    verdict: str
    comment: str | None
    reviewer: str
    created_at: datetime
    of_current_run: bool


@dataclass(frozen=True)
class Milestone:
    """One step of a study's way; ``at`` None = not reached."""

    name: str
    at: datetime | None


def patient_history(session: Session, detail: StudyDetail) -> History:
    """Return the studies with the same Patient ID of the same issuer; none where the ID is empty or in doubt."""
    if not detail.line.patient_id or detail.line.state == StudyState.HELD:
        return History((), (), more=False)
    studies = session.scalars(
        select(Study)
        .where(
            Study.patient_id == detail.line.patient_id,
            Study.issuer_of_patient_id == detail.issuer_of_patient_id,
            Study.state != StudyState.HELD,
        )
        .order_by(Study.study_date.desc(), Study.first_received_at.desc())
        .limit(MOST_PRIORS + 1)
    ).all()
    shown = studies[:MOST_PRIORS]
    predictions = _predictions(session, [study.current_run_id for study in shown if study.current_run_id is not None])
    priors = tuple(_prior(study, detail, predictions.get(study.current_run_id or 0, ())) for study in shown)
    flagged = {finding for prior in priors for finding in prior.flagged}
    return History(priors, tuple(label for label in LABELS if label in flagged), more=len(studies) > MOST_PRIORS)


def _predictions(session: Session, run_ids: Sequence[int]) -> dict[int, list[tuple[str, float | None, bool]]]:
    """Return finding, highest probability and flag by run."""
    flag = func.max(case((Prediction.flagged, 1), else_=0))
    rows = session.execute(
        select(Prediction.run_id, Prediction.finding, func.max(Prediction.probability), flag)
        .where(Prediction.run_id.in_(run_ids))
        .group_by(Prediction.run_id, Prediction.finding)
    )
    found: dict[int, list[tuple[str, float | None, bool]]] = {}
    for run_id, finding, probability, flagged in rows:
        found.setdefault(run_id, []).append((finding, probability, bool(flagged)))
    return found


def _prior(study: Study, detail: StudyDetail, predictions: Sequence[tuple[str, float | None, bool]]) -> PriorStudy:
    return PriorStudy(
        study.study_instance_uid, study.study_date, study.study_description, study.state, study.priority,
        study.current_run.model_version if study.current_run else None,
        study.study_instance_uid == detail.line.study_instance_uid,
        {finding: probability for finding, probability, _ in predictions},
        frozenset(finding for finding, _, flagged in predictions if flagged),
    )  # fmt: skip


def reviews_of(session: Session, detail: StudyDetail) -> tuple[ReviewLine, ...]:
    """Return everything reviewers said of the study, the latest first."""
    current = detail.current_run.id if detail.current_run else None
    rows = session.scalars(
        select(Review)
        .where(Review.study_instance_uid == detail.line.study_instance_uid)
        .order_by(Review.study_instance_uid, Review.id.desc())
    )
    return tuple(
        ReviewLine(
            row.finding,
            row.verdict,
            row.comment,
            row.reviewer,
            row.created_at,
            row.run_id == current,
        )
        for row in rows
    )


def milestones(detail: StudyDetail) -> tuple[Milestone, ...]:
    """Return how far the study has come: received, queued, analysed, delivered, committed, read.

    A study that a run looked at and did not analyse says so; where a run left nothing to deliver, no step waits for it.
    """
    run = detail.current_run
    deliveries = [item for result in (run.results if run else ()) for item in result.deliveries]
    wanted = [item for item in deliveries if item.state not in (DeliveryState.SUPERSEDED, DeliveryState.REJECTED)]
    sent = [item.sent_at for item in wanted]
    committed = [item.committed_at for item in wanted if item.commitment_requests or item.committed_at]
    steps = [
        Milestone("Received", detail.line.first_received_at),
        Milestone("Queued", run.queued_at if run else None),
        Milestone("Not analysed" if detail.line.state in _LEFT_OUT else "Analysed", run.finished_at if run else None),
    ]
    if wanted or run is None or run.finished_at is None:
        steps.append(Milestone("Delivered", _when_all(sent)))
    if committed:
        steps.append(Milestone("Committed", _when_all(committed)))
    return (*steps, Milestone("Read", detail.line.read_at))


def _when_all(times: Sequence[datetime | None]) -> datetime | None:
    """Return the last of the times; None where one is missing or there is none."""
    there = [time for time in times if time is not None]
    return max(there) if there and len(there) == len(times) else None
