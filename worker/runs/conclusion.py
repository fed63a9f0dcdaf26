"""The one transaction that ends a run: predictions, results, outbox, instances, study, all under the fencing token."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.decision import Verdict as SelectionVerdict
from dicom_io.selection.decision import study_reason
from model.suitability import Suitability
from worker.arrival.correction import is_owed, note_carried
from worker.arrival.shadow_queue import queue_shadow
from worker.arrival.why_not import WhyNot, why_not_analysed
from worker.foundation.stopwatch import Stopwatch
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import Claim, locked_study
from worker.rows.outcome import (
    RunVerdict,
    finish_run,
    finish_unchanged,
    finish_without_answer,
    held_run,
    supersede_pending,
)
from worker.rows.run_tables import Result
from worker.rows.states import Disposition, StudyState
from worker.rows.study_tables import IdentityCorrection, Instance
from worker.runs.analysis import Analysis
from worker.runs.built_result import BuiltResult
from worker.runs.misfiled import take_back_misfiled
from worker.runs.policy import level_of
from worker.runs.prediction_rows import add_predictions
from worker.runs.reading import Picture, Unread
from worker.runs.storing import storing_results
from worker.runs.unfounded import take_back_unfounded
from worker.runs.workplace import LoadedModel, Workplace
from worker.sending.notification_rows import queue_notifications
from worker.sending.shipment import ships

logger = logging.getLogger(__name__)


def conclude_analysed(
    claim: Claim,
    analysis: Analysis,
    results: Sequence[BuiltResult],
    model: LoadedModel,
    watch: Stopwatch,
    workplace: Workplace,
    corrections: Sequence[IdentityCorrection],
) -> None:
    """Write down an analysis and put its results into the outbox.

    Parameters
    ----------
    corrections
        Of the study's identity, which the results carry. When another one came meanwhile, these are not sent: the
        study is due again and its next run issues them with it.

    Raises
    ------
    LeaseLost
        Somebody else has the run; nothing was written.
    NoRoomForResults, RetryableRunError
        What takes earlier results back cannot be stored; nothing was written.
    """
    verdict = _verdict_of(analysis, len(results), model, watch)
    with storing_results(), workplace.sessions.begin() as session:
        held = held_run(session, claim)
        if held.has_others:
            headers = [picture.header for picture in analysis.pictures]
            take_back_misfiled(session, claim, headers, corrections, workplace)
        _note_instances(session, analysis.pictures, analysis.unread)
        add_predictions(session, claim.run_id, analysis, model.policy)
        _add_results(session, claim, results, workplace)
        if results:
            held.run.result_revision = results[0].revision
        study = finish_run(session, claim, verdict, held)
        note_carried(session, corrections, claim.run_id)
        if is_owed(session, study):
            supersede_pending(session, select(Result.id).where(Result.run_id == claim.run_id))
        if not analysis.historical:
            queue_notifications(session, study, claim.run_id, workplace.settings)
        if not analysis.historical and not claim.backfill:
            queue_shadow(session, study, claim.bundle, workplace.settings)
    logger.info("run %d: %s, %d results", claim.run_number, verdict.priority, len(results))


def _verdict_of(analysis: Analysis, results: int, model: LoadedModel, watch: Stopwatch) -> RunVerdict:
    """Return what the analysis says of the study, with how it was made for the audit trail."""
    assessment = analysis.assessment
    return RunVerdict(
        outcome=StudyState.TRIAGED,
        priority=assessment.priority,
        priority_rank=assessment.rank,
        priority_reason=assessment.reason,
        levels={finding.label: level_of(finding.label) for finding in assessment.flagged},
        images_not_analysed=analysis.images_not_analysed,
        historical=analysis.historical,
        model_version=model.bundle.model_version,
        policy_hash=model.policy.hash,
        timings_seconds=watch.timings_seconds(),
        details={
            "thresholds": dict(model.policy.thresholds),
            "results": results,
            "preprocessing": model.bundle.preprocessing,
            "pictures": {picture.sop_instance_uid: _how_made(picture) for picture in analysis.pictures},
        },
    )


def conclude_unchanged(
    claim: Claim, pictures: Sequence[Picture], unread: Sequence[Unread], watch: Stopwatch, workplace: Workplace
) -> None:
    """Note that the study's current results still hold: nothing new was there to see or to say.

    Raises
    ------
    LeaseLost
        Somebody else has the run; nothing was written.
    """
    with workplace.sessions.begin() as session:
        locked_study(session, claim.study_instance_uid)
        _note_instances(session, pictures, unread)
        finish_unchanged(session, claim, watch.timings_seconds())
    logger.info("run %d: nothing changed, the earlier results stand", claim.run_number)


def conclude_not_analysed(
    claim: Claim, unread: Sequence[Unread], model: LoadedModel, watch: Stopwatch, workplace: Workplace
) -> bool:
    """End a run that found no picture it could read and analyse; one of a backfill changes nothing of its study.

    What earlier runs said does not stay in force: it is taken back wherever it was told.

    Returns
    -------
    bool
        Whether something that takes results back now waits to be delivered.

    Raises
    ------
    LeaseLost
        Somebody else has the run; nothing was written.
    NoRoomForResults, RetryableRunError
        What takes earlier results back cannot be stored; nothing was written.
    """
    with storing_results(), workplace.sessions.begin() as session:
        locked_study(session, claim.study_instance_uid)
        why = _why_not(session, claim, unread)
        verdict = RunVerdict(
            outcome=why.state,
            reason_code=why.reason_code,
            reason=why.reason,
            historical=why.reason_code == ReasonCode.HISTORICAL,
            model_version=model.bundle.model_version,
            timings_seconds=watch.timings_seconds(),
        )
        told = False
        if claim.backfill:
            finish_without_answer(session, claim, verdict)
        else:
            told = take_back_unfounded(session, claim, why.reason_code, workplace)
            _note_instances(session, (), unread)
            finish_run(session, claim, verdict)
    logger.info("run %d: not analysed (%s)", claim.run_number, why.reason_code)
    return told


def _why_not(session: Session, claim: Claim, unread: Sequence[Unread]) -> WhyNot:
    """Return what the run found of the pictures; where there was none to look at, what their tags had said."""
    if not unread:
        return why_not_analysed(session, claim.study_instance_uid)
    outcome, reason_code = study_reason([SelectionVerdict(each.disposition, each.reason_code) for each in unread])
    telling = next((each.reason for each in unread if each.reason_code == reason_code), None)
    reason_code = reason_code or ReasonCode.NO_IMAGE
    return WhyNot(StudyState(outcome), reason_code, telling or reason_code.sentence, len(unread))


def _note_instances(session: Session, pictures: Iterable[Picture], unread: Iterable[Unread]) -> None:
    for picture in pictures:
        session.execute(
            update(Instance)
            .where(Instance.id == picture.instance_id)
            .values(
                disposition=Disposition.ANALYSED,
                reason_code=None,
                reason=None,
                pixel_sha256=picture.radiograph.pixel_sha256,
                **_image_columns(picture.suitability),
            )
        )
    for instance in unread:
        session.execute(
            update(Instance)
            .where(Instance.id == instance.instance_id)
            .values(
                disposition=instance.disposition,
                reason_code=instance.reason_code,
                reason=instance.reason,
                **_image_columns(instance.suitability),
            )
        )


def _image_columns(seen: Suitability | None) -> dict[str, str | float | None]:
    if seen is None:
        return {"image_verdict": None, "image_score": None, "image_distance": None}
    return {"image_verdict": seen.verdict, "image_score": seen.score, "image_distance": seen.distance}


def _how_made(picture: Picture) -> dict[str, str | bool]:
    """Say what the network's input was made of, for the audit trail."""
    radiograph = picture.radiograph
    return {
        "pixel_sha256": radiograph.pixel_sha256,
        "decoded": radiograph.coding,
        "half_resolution": radiograph.half_resolution,
        "voi": radiograph.grey_scale.voi if radiograph.grey_scale else "luma of the colours",
    }


def _destinations(built: BuiltResult, workplace: Workplace) -> list[str]:
    """Return the names of the destinations this result goes to."""
    if built.destination is not None:
        return [built.destination]
    return [destination.name for destination in workplace.settings.destinations if ships(destination, built.kind)]


def _add_results(session: Session, claim: Claim, results: Sequence[BuiltResult], workplace: Workplace) -> None:
    """Insert the results with one statement, and with another to where each of them goes."""
    if not results:
        return
    rows = [_result_columns(claim, built) for built in results]
    added = session.execute(
        insert(Result).returning(Result.sop_instance_uid, Result.id), rows, execution_options={"render_nulls": True}
    )
    ids = {row.sop_instance_uid: row.id for row in added}
    parcels = [
        {"result_id": ids[built.sop_instance_uid], "destination": name}
        for built in results
        for name in _destinations(built, workplace)
    ]
    if parcels:
        session.execute(insert(Delivery), parcels)


def _result_columns(claim: Claim, built: BuiltResult) -> dict[str, Any]:
    return {
        "run_id": claim.run_id,
        "kind": built.kind,
        "finding": built.finding,
        "sop_class_uid": built.sop_class_uid,
        "sop_instance_uid": built.sop_instance_uid,
        "series_instance_uid": built.series_instance_uid,
        "path": built.file.path,
        "bytes": built.file.bytes,
        "sha256": built.file.sha256,
        "created_at": built.created_at,
    }
