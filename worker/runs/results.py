"""From an analysis to DICOM files on disk: every object built, read back, compared with its source, and stored.

UIDs are deterministic: a repeated attempt makes the same objects again, another set of pictures, model, policy or
revision makes others, whose report names its predecessor.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from sqlalchemy import ScalarSelect, Select, bindparam, func, select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.results.copy_limits import require_copyable
from dicom_io.results.identity_guard import require_identity
from dicom_io.results.reporting import Algorithm, AnalysedImage, InvalidReportError, Report, ReportedFinding
from dicom_io.results.result_file import write_result
from dicom_io.storing.instance_store import StoredFile
from worker.foundation.errors import PermanentRunError
from worker.rows.database import as_utc, clock
from worker.rows.leases import Claim
from worker.rows.run_tables import Result, Run
from worker.runs.analysis import Analysis
from worker.runs.announcement import announcements
from worker.runs.built_result import BuiltResult
from worker.runs.predecessor import find_predecessors, newest_reported_run
from worker.runs.result_objects import ResultObject, result_objects
from worker.runs.storing import storing_results
from worker.runs.workplace import LoadedModel, Workplace


def build_results(claim: Claim, analysis: Analysis, model: LoadedModel, workplace: Workplace) -> list[BuiltResult]:
    """Build and store the objects and messages of one analysis; a historical study gets none, to announce nothing.

    Raises
    ------
    PermanentRunError
        No valid object can be made from this study.
    NoRoomForResults
        The disk of the store of results is full.
    RetryableRunError
        The store of results is not writable.
    """
    if analysis.historical:
        return []
    with workplace.reading() as session:
        report = _report(session, claim, analysis, model)
    try:
        require_copyable(picture.header for picture in analysis.pictures)
        with storing_results(), ThreadPoolExecutor(1, thread_name_prefix="results") as writer:
            made = result_objects(analysis, report, workplace.settings)
            begun = [_begin_storing(each, report, workplace, writer) for each in made]
            objects = [built(file=file.result()) for built, file in begun]
            return [*objects, *announcements(claim, analysis, report, workplace)]
    except InvalidReportError as error:
        raise PermanentRunError(ReasonCode.RESULT_INVALID, f"{ReasonCode.RESULT_INVALID.sentence} {error}") from error


def _begin_storing(
    made: ResultObject, report: Report, workplace: Workplace, writer: Executor
) -> tuple[partial[BuiltResult], Future[StoredFile]]:
    """Have one object written, unless what it says of patient, study or order is anything else than its source does.

    The disk is waited for while the next is drawn; of the object, nothing but its file's bytes is kept meanwhile.
    """
    content = write_result(made.dataset)
    require_identity(content, made.source)
    dataset = made.dataset
    sop_instance_uid = str(dataset.SOPInstanceUID)
    built = partial(
        BuiltResult,
        kind=made.kind,
        finding=made.finding,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=str(dataset.SeriesInstanceUID),
        created_at=report.created_at,
        revision=report.revision,
    )
    return built, writer.submit(workplace.results.write, str(dataset.StudyInstanceUID), sop_instance_uid, [content])


def _report(session: Session, claim: Claim, analysis: Analysis, model: LoadedModel) -> Report:
    assessment, bundle = analysis.assessment, model.bundle
    now, earlier_id, revision = session.execute(
        _now_and_earlier(session.get_bind().dialect.name), {"study": claim.study_instance_uid, "run": claim.run_id}
    ).one()
    earlier = None if earlier_id is None else session.get_one(Run, earlier_id)
    predecessors, reissue_reason = find_predecessors(session, earlier, analysis, model)
    return Report(
        priority=assessment.priority.value,
        priority_reason=assessment.reason,
        images=tuple(
            AnalysedImage(picture.sop_instance_uid, picture.radiograph.pixel_sha256, picture.radiograph.half_resolution)
            for picture in analysis.pictures
        ),
        findings=tuple(
            ReportedFinding(finding.label, finding.probability, finding.threshold, finding.source_index, finding.rank)
            for finding in assessment.findings
            if finding.probability is not None and finding.threshold is not None
        ),
        algorithm=Algorithm(bundle.name, bundle.model_version),
        demonstration=bundle.demonstration,
        policy_hash=model.policy.hash,
        created_at=as_utc(now),
        revision=1 + (revision or 0),
        predecessors=predecessors,
        reissue_reason=reissue_reason,
    )


@cache
def _now_and_earlier(dialect_name: str) -> Select[Any, int, int]:
    """Return the query for the database's clock and what is known of other runs of ``study``; put together once."""
    return select(clock(dialect_name), newest_reported_run(), _highest_revision())


def _highest_revision() -> ScalarSelect[int]:
    """Return, within a longer statement, the highest revision that runs of ``study`` but ``run`` have results of.

    The next is one more, and unchanged by a repeated attempt.
    """
    return (
        select(func.max(Run.result_revision))
        .join(Result, Result.run_id == Run.id)
        .where(Run.study_instance_uid == bindparam("study"), Run.id != bindparam("run"))
        .scalar_subquery()
    )
