"""One run in the shadow: another bundle looks at the same pictures, and its word stands in the database alone.

The study, its images, its results and its outbox stay as they are, whatever the run says and however it ends.
"""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_io.selection.decision import Verdict, study_reason
from worker.arrival.correction import corrections_of
from worker.foundation.errors import LeaseLost, RunError
from worker.foundation.stopwatch import Stopwatch
from worker.rows.database import database_now
from worker.rows.leases import Claim, LeaseKeeper, claim_run, is_claimable
from worker.rows.outcome import end_run, held_run
from worker.rows.run_tables import Run
from worker.rows.states import RunState, StudyState
from worker.rows.study_tables import Study
from worker.runs.analysis import Analysis, analyse
from worker.runs.examination import examine
from worker.runs.prediction_rows import add_predictions
from worker.runs.reading import Unread, count_missed, load_material, read_pictures
from worker.runs.workplace import LoadedModel, Workplace, numbers_required

logger = logging.getLogger(__name__)


def shadow_next(workplace: Workplace) -> bool:
    """Do the longest waiting run in the shadow; return whether there was one."""
    with workplace.sessions.begin() as session:
        uid = _next_study(session)
        claim = claim_run(session, uid, workplace.worker_name, workplace.settings, shadow=True) if uid else None
    if claim is None:
        return uid is not None  # somebody else has it, or it was given up just now
    try:
        with LeaseKeeper(workplace.sessions, claim, workplace.settings):
            run_in_shadow(claim, workplace)
    except RunError as error:
        _fail(claim, error, workplace)
    except LeaseLost as error:
        logger.warning("%s", error)
    return True


def _next_study(session: Session) -> str | None:
    return session.scalars(
        select(Run.study_instance_uid)
        .join(Study, Study.study_instance_uid == Run.study_instance_uid)
        .where(Run.shadow, is_claimable(database_now(session)), Study.state != StudyState.HELD)
        .order_by(Run.id)
        .limit(1)
    ).first()


def run_in_shadow(claim: Claim, workplace: Workplace) -> None:
    """Analyse the study of a claim and write the word into the database alone.

    Raises
    ------
    RunError
        The run could not be done.
    LeaseLost
        Somebody else has the run; nothing was written.
    """
    watch = Stopwatch()
    model = workplace.model(claim.bundle, watch)
    with workplace.reading() as session:
        material = load_material(session, claim.study_instance_uid)
        corrections = corrections_of(session, claim.study_instance_uid)
    with watch.stage("read"):
        pictures, unread = read_pictures(
            material.candidates, workplace.instances, workplace.settings.decoding, corrections
        )
    analysis: Analysis | None = None
    with numbers_required(claim.bundle):
        pictures, unread = examine(pictures, unread, model, workplace.settings, watch)
        if pictures:
            count = count_missed(material.missed, pictures, unread)
            analysis = analyse(pictures, unread, model, watch, workplace.settings, count)
    with workplace.sessions.begin() as session:
        _, run, now, _ = held_run(session, claim)
        run.model_version = model.bundle.model_version
        if analysis is None:
            _say_not_analysed(run, unread, watch, now)
        else:
            _say_analysed(session, run, analysis, model, watch, now)
        _supersede_older(session, run)
    logger.info("run %d in the shadow: %s", claim.run_number, run.priority or run.reason_code)


def _say_analysed(
    session: Session, run: Run, analysis: Analysis, model: LoadedModel, watch: Stopwatch, now: datetime
) -> None:
    end_run(run, StudyState.TRIAGED, watch.timings_seconds(), now)
    run.priority, run.reason = analysis.assessment.priority, analysis.assessment.reason
    run.policy_hash = model.policy.hash
    add_predictions(session, run.id, analysis, model.policy)


def _say_not_analysed(run: Run, unread: list[Unread], watch: Stopwatch, now: datetime) -> None:
    outcome, code = study_reason([Verdict(each.disposition, each.reason_code) for each in unread])
    end_run(run, StudyState(outcome), watch.timings_seconds(), now)
    run.reason_code, run.reason = code, code.sentence if code else None


def _supersede_older(session: Session, run: Run) -> None:
    session.execute(
        update(Run)
        .where(Run.study_instance_uid == run.study_instance_uid, Run.shadow, Run.id != run.id)
        .where(Run.state == RunState.DONE)
        .values(state=RunState.SUPERSEDED),
        execution_options={"synchronize_session": False},
    )


def _fail(claim: Claim, error: RunError, workplace: Workplace) -> None:
    logger.error("run %d in the shadow failed: %s (%s)", claim.run_number, error, error.reason_code)
    try:
        with workplace.sessions.begin() as session:
            _, run, now, _ = held_run(session, claim)
            again = error.retryable and run.attempts < workplace.settings.maximum_attempts
            run.state = RunState.QUEUED if again else RunState.FAILED
            run.finished_at = None if again else now
            run.lease_until = None
            run.reason_code, run.reason = error.reason_code, str(error)
    except LeaseLost as lost:
        logger.warning("%s", lost)
