"""The report that a study's new one replaces, and why it is replaced."""

from __future__ import annotations

from sqlalchemy import ScalarSelect, bindparam, select

from dicom_io.results.reporting import Predecessor
from worker.rows.run_tables import Result, Run
from worker.rows.states import ResultKind, RunTrigger
from worker.runs.analysis import Analysis
from worker.runs.precedent import Likeness
from worker.runs.workplace import LoadedModel

_REASONS = {
    Likeness.OTHER: "the same pixels were analysed again",
    Likeness.SAME: "the same pixels were analysed again",
    Likeness.CORRECTED: "patient or order data were corrected",
    Likeness.COUNTED: "the number of images not analysed changed",
    Likeness.LOST: "files of the earlier results were lost",
}
"""Why a report is replaced by one of the same stored values, model and policy."""


def find_predecessors(run: Run | None, analysis: Analysis, model: LoadedModel) -> tuple[tuple[Predecessor, ...], str]:
    """Return the newest report of the study's earlier runs and why this run replaces it.

    Parameters
    ----------
    run
        That `newest_reported_run` names, if any.

    Returns
    -------
    tuple
        The report once per SOP class in which it was written, for every archive knows the one it accepted, and a
        few words for people; nothing and no words for a study without an earlier report. Runs in the shadow do not
        count: nobody ever saw their reports.
    """
    if run is None:
        return (), ""
    reports = [result for result in run.results if result.kind == ResultKind.STRUCTURED_REPORT]
    predecessors = tuple(
        Predecessor(report.sop_class_uid, report.sop_instance_uid, report.series_instance_uid) for report in reports
    )
    return predecessors, _reason(run, analysis, model)


def newest_reported_run() -> ScalarSelect[int]:
    """Return, within a longer statement, the newest run of ``study`` but ``run`` that has a report; null = none."""
    return (
        select(Run.id)
        .join(Result, Result.run_id == Run.id)
        .where(Run.study_instance_uid == bindparam("study"), Run.id != bindparam("run"))
        .where(Run.trigger != RunTrigger.SHADOW, ~Run.shadow, Result.kind == ResultKind.STRUCTURED_REPORT)
        .order_by(Run.id.desc())
        .limit(1)
        .scalar_subquery()
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
