"""The reports that a study's new one replaces, and why they are replaced."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, ScalarSelect, Select, bindparam, select
from sqlalchemy.orm import Session

from dicom_io.results.reporting import Predecessor
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind, RunTrigger
from worker.runs.analysis import Analysis
from worker.runs.precedent import Likeness
from worker.runs.workplace import LoadedModel

_ARRIVED = (DeliveryState.SENT, DeliveryState.COMMITTED, DeliveryState.REJECTED)
_REASONS = {
    Likeness.OTHER: "the same pixels were analysed again",
    Likeness.SAME: "the same pixels were analysed again",
    Likeness.CORRECTED: "patient or order data were corrected",
    Likeness.COUNTED: "the number of images not analysed changed",
    Likeness.LOST: "files of the earlier results were lost",
}
"""Why a report is replaced by one of the same stored values, model and policy."""


def find_predecessors(
    session: Session, run: Run | None, analysis: Analysis, model: LoadedModel
) -> tuple[tuple[Predecessor, ...], str]:
    """Return the reports of the study's earlier runs that this run replaces, the newest first, and why.

    Parameters
    ----------
    run
        That `newest_reported_run` names, if any.

    Returns
    -------
    tuple
        The newest report, and those before it back to one that every archive has: an archive that never got the newest
        would not know otherwise that what it has is replaced. Each once per SOP class in which it was written, for
        every archive knows the one it accepted. And a few words for people; nothing and no words for a study without
        an earlier report. Runs in the shadow do not count: nobody ever saw their reports.
    """
    if run is None:
        return (), ""
    reports = [report for each in _back_to_one_that_arrived(session, run) for report in _reports(each)]
    predecessors = tuple(
        Predecessor(report.sop_class_uid, report.sop_instance_uid, report.series_instance_uid) for report in reports
    )
    return predecessors, _reason(run, analysis, model)


def _back_to_one_that_arrived(session: Session, newest: Run) -> Iterator[Run]:
    run: Run | None = newest
    while run is not None:
        yield run
        if all(delivery.state in _ARRIVED for report in _reports(run) for delivery in report.deliveries):
            return
        before = _reported_run(Run.study_instance_uid == run.study_instance_uid, Run.id < run.id)
        run = session.scalars(before).one_or_none()


def _reports(run: Run) -> list[Result]:
    return [result for result in run.results if result.kind == ResultKind.STRUCTURED_REPORT]


def newest_reported_run() -> ScalarSelect[int]:
    """Return, within a longer statement, the newest run of ``study`` but ``run`` that has a report; null = none."""
    others = _reported_run(Run.study_instance_uid == bindparam("study"), Run.id != bindparam("run"))
    return others.with_only_columns(Run.id).scalar_subquery()


def _reported_run(*which: ColumnElement[bool]) -> Select[Run]:
    return (
        select(Run)
        .join(Result, Result.run_id == Run.id)
        .where(*which, Run.trigger != RunTrigger.SHADOW, ~Run.shadow, Result.kind == ResultKind.STRUCTURED_REPORT)
        .order_by(Run.id.desc())
        .limit(1)
    )


def _reason(run: Run, analysis: Analysis, model: LoadedModel) -> str:
    before = {(row.instance.sop_instance_uid, row.instance.pixel_sha256) for row in run.predictions}
    now = {(picture.sop_instance_uid, picture.radiograph.pixel_sha256) for picture in analysis.pictures}
    if run.model_version != model.bundle.model_version:
        return "analysed by another model"
    if run.policy_hash != model.policy.hash:
        return "judged by another policy"
    if before == now:
        return _REASONS[analysis.likeness]
    if before < now:
        return "an image was added"
    return "the images changed"
