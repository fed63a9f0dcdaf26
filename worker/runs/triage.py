"""One run from claim to conclusion: read, examine, compare, classify, judge, build, conclude.

The conductor below is the whole story; every stage is a function of another module and returns values. A run that
cannot go on ends in a named error here and in a visible state there; a worker that dies leaves a lease that lapses.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from dicom_io.foundation.reasons import ReasonCode
from worker.arrival.correction import corrections_of
from worker.foundation.errors import LeaseLost, NoRoomForResults, PermanentRunError, RunError
from worker.foundation.failpoints import failpoint
from worker.foundation.stopwatch import Stopwatch
from worker.rows.leases import Claim, LeaseKeeper, claim_run
from worker.rows.outcome import fail_run
from worker.rows.room import wait_for_room
from worker.rows.states import RunTrigger
from worker.runs.analysis import Analysis, analyse, recall
from worker.runs.conclusion import conclude_analysed, conclude_not_analysed, conclude_unchanged
from worker.runs.doubt import hold_if_in_doubt
from worker.runs.examination import examine
from worker.runs.exposures import judge_copies
from worker.runs.precedent import Likeness, compare, load_precedent
from worker.runs.reading import count_missed, load_material, read_pictures
from worker.runs.results import build_results
from worker.runs.workplace import Workplace, numbers_required

logger = logging.getLogger(__name__)


def triage(study_instance_uid: str, workplace: Workplace) -> bool:
    """Run one analysis of the study if one is queued and free.

    Returns
    -------
    bool
        Whether results may now wait to be delivered.
    """
    with workplace.sessions.begin() as session:
        claim = claim_run(session, study_instance_uid, workplace.worker_name, workplace.settings)
    if claim is None:
        logger.debug("nothing to claim")
        return False
    failpoint("after_claim")
    try:
        with LeaseKeeper(workplace.sessions, claim, workplace.settings) as lease:
            return run_claimed(claim, lease, workplace)
    except NoRoomForResults as error:
        _wait_for_room(claim, error, workplace)
    except RunError as error:
        _fail(claim, error, workplace)
    except LeaseLost as error:
        logger.warning("%s", error)
    return False


def run_claimed(claim: Claim, lease: LeaseKeeper, workplace: Workplace) -> bool:
    """Analyse the study of a claim and conclude; returns whether results may now wait to be delivered.

    Raises
    ------
    RunError
        The run could not be done; nothing was concluded.
    LeaseLost
        Somebody else has the run; nothing was written.
    """
    try:
        with numbers_required(claim.bundle):
            return _run(claim, lease, workplace)
    except RecursionError as error:  # of pydicom, which follows sequences by calling itself
        words = f"{ReasonCode.RESULT_INVALID.sentence} Sequences in the tags of an image are nested too deeply."
        raise PermanentRunError(ReasonCode.RESULT_INVALID, words) from error


def _run(claim: Claim, lease: LeaseKeeper, workplace: Workplace) -> bool:
    watch = Stopwatch()
    model = workplace.model(claim.bundle, watch)
    with workplace.reading() as session:
        material = load_material(session, claim.study_instance_uid)
        precedent = load_precedent(session, claim.study_instance_uid)
        corrections = corrections_of(session, claim.study_instance_uid)
    with watch.stage("read"):
        pictures, unread = read_pictures(
            material.candidates, workplace.instances, workplace.settings.decoding, corrections
        )
    pictures, unread = examine(pictures, unread, model, workplace.settings, watch)
    if not pictures:
        return conclude_not_analysed(claim, unread, model, watch, workplace)
    if hold_if_in_doubt(claim, pictures, workplace):
        return False
    unread += judge_copies(material.copies, pictures, workplace.instances)
    count = count_missed(material.missed, pictures, unread)
    asked = claim.trigger == RunTrigger.MANUAL
    likeness = compare(precedent, pictures, count, model, workplace, corrections, asked=asked)
    if likeness is Likeness.SAME:
        conclude_unchanged(claim, pictures, unread, watch, workplace)
        return True  # an earlier result may still wait
    analysis: Analysis | None = None
    if precedent is not None and likeness is not Likeness.OTHER:
        analysis = recall(precedent, pictures, unread, count, model, workplace)
    if analysis is None:
        analysis = analyse(pictures, unread, model, watch, workplace.settings, count)
    analysis = replace(analysis, likeness=likeness)
    failpoint("after_inference")
    lease.require()
    with watch.stage("results"):
        results = build_results(claim, analysis, model, workplace)
    failpoint("after_result_files")
    conclude_analysed(claim, analysis, results, model, watch, workplace, corrections)
    return True


def _wait_for_room(claim: Claim, error: NoRoomForResults, workplace: Workplace) -> None:
    try:
        with workplace.sessions.begin() as session:
            pause_seconds = wait_for_room(session, claim, str(error), workplace.settings)
    except LeaseLost as lost:
        logger.warning("%s", lost)
    else:
        logger.warning("run %d is tried again in %.0f s: %s", claim.run_number, pause_seconds, error)


def _fail(claim: Claim, error: RunError, workplace: Workplace) -> None:
    logger.error("run %d failed: %s (%s)", claim.run_number, error, error.reason_code)
    try:
        with workplace.sessions.begin() as session:
            fail_run(
                session, claim, error.reason_code, str(error), retryable=error.retryable, settings=workplace.settings
            )
    except LeaseLost as lost:
        logger.warning("%s", lost)
