"""Keeps one workitem per triaged study true to its study; a step of the sweeper.

=====================================  ==============================================================================
the study                              its workitem
=====================================  ==============================================================================
is triaged                             SCHEDULED with HIGH for STAT and URGENT, MEDIUM for ROUTINE; never LOW
was triaged again                      identity, inputs and label anew; the priority rises with the study's and falls
                                       only where a person set it or results were taken back; subscribers are told
rose to STAT or URGENT after its       another workitem, for a closed one stays as it is
workitem was closed or claimed
could not be analysed, or failed       one labelled so, at MEDIUM, or none (``ups.not_analysed``)
was read elsewhere, is held, was       canceled, if nobody had claimed it
retracted or is out of scope
is historical, or read before          none
=====================================  ==============================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from dicom_io.results.codes import PRIORITY_CODES
from dicom_io.storing.instance_store import InstanceStore, StoreError
from dicom_io.ups.events import cancel_requested, state_report
from dicom_io.ups.states import StepState
from dicom_io.ups.workitem import (
    MACHINE_KEYWORDS,
    NOT_ANALYSED_LABEL,
    Reference,
    Triaged,
    build_workitem,
    machine_attributes,
    workitem_uid,
)
from worker.arrival.corrected_images import lay_over
from worker.arrival.correction import corrections_of
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.priority import priority_of, rank
from worker.rows.run_tables import Result
from worker.rows.states import Disposition, Priority, ResultKind, StudyState
from worker.rows.study_tables import Instance, Study
from worker.rows.workitem_tables import Workitem
from worker.runs.reading import read_header
from worker.settings.config import Settings
from worker.settings.ups import Ups
from worker.ups import notices as ups_notices
from worker.ups.workitems import current_workitem, decoded, encoded, write_change
from worker.ups.worklist import cancel_scheduled
from worker.views.presentation import percent_text
from worker.views.studies import BY_LEVEL
from worker.views.study_summaries import flagged_findings

logger = logging.getLogger(__name__)

ACTOR = "worker"
BATCH_STUDIES = 50
MAXIMUM_IMAGES = 20
"""So many of a study's images are named; a chest study has one to four."""
_UNREADABLE = (StudyState.NOT_ANALYSED, StudyState.FAILED)
_SETTLED = (StudyState.TRIAGED, *_UNREADABLE, StudyState.HELD, StudyState.OUT_OF_SCOPE)
_STUDY_COLUMNS = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
}
_OBJECTS = (ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE, ResultKind.SUMMARY_CAPTURE)


def studies_to_schedule(session: Session, ups: Ups) -> list[str]:
    """Return the studies that changed since their workitem was last compared with them, or that lack one."""
    horizon = database_now(session) - timedelta(days=ups.keep_days)
    recent = or_(Study.last_received_at > horizon, Workitem.state.in_((StepState.SCHEDULED, StepState.IN_PROGRESS)))
    wanted = [StudyState.TRIAGED, *(_UNREADABLE if ups.not_analysed == "workitem" else ())]
    lacks_one = and_(
        Workitem.sop_instance_uid.is_(None),
        Study.state.in_(wanted),
        Study.read_at.is_(None),
        Study.historical.is_(False),
        Study.retracted_at.is_(None),
    )
    changed = or_(
        Workitem.noted_state.is_distinct_from(Study.state),
        Workitem.noted_priority.is_distinct_from(Study.priority),
        Workitem.noted_run_id.is_distinct_from(Study.current_run_id),
        Workitem.noted_read_at.is_distinct_from(Study.read_at),
    )
    has_one: ColumnElement[bool] = Workitem.sop_instance_uid.is_not(None)
    return list(
        session.scalars(
            select(Study.study_instance_uid)
            .outerjoin(Workitem, and_(Workitem.study_instance_uid == Study.study_instance_uid, Workitem.current))
            .where(recent, Study.state.in_(_SETTLED))
            .where(or_(lacks_one, and_(has_one, changed)))
            .order_by(BY_LEVEL, Study.priority_rank.desc(), Study.last_received_at)
            .limit(BATCH_STUDIES)
        )
    )


def schedule(session: Session, study_instance_uid: str, store: InstanceStore, ups: Ups, settings: Settings) -> None:
    """Make, change or cancel the study's workitem as the study is now; does nothing when all is as it should be.

    Raises
    ------
    ChangedMeanwhile
        A peer changed the workitem at the same time; the next sweep does it.
    """
    study = locked_study(session, study_instance_uid)
    if study is None or study.state not in _SETTLED:
        return
    row = current_workitem(session, study_instance_uid)
    if not _is_wanted(study, ups):
        if row is not None:
            _withdraw(session, row, study, settings)
    else:
        triaged = _triaged(session, study, store, ups, settings)
        if row is None or _is_another_wanted(row, study, triaged):
            row = _add(session, study, row, triaged, ups, settings)
        elif not StepState(row.state).final:
            _revise(session, study, row, triaged, settings)
    if row is not None:
        _note_compared(session, row, study)


def _is_wanted(study: Study, ups: Ups) -> bool:
    """Return whether there should be something to interpret."""
    if study.historical or study.retracted_at is not None or study.read_at is not None:
        return False
    return study.state == StudyState.TRIAGED or (study.state in _UNREADABLE and ups.not_analysed == "workitem")


def _is_another_wanted(row: Workitem, study: Study, triaged: Triaged) -> bool:
    """Return whether a closed workitem is to be followed by another one."""
    if not StepState(row.state).final:
        return False
    noted = Priority(row.noted_priority) if row.noted_priority else None
    return row.closed_by_us or (triaged.priority == "HIGH" and rank(priority_of(study)) > rank(noted))


def _was_scheduled_as(row: Workitem) -> str:
    """Return the level the study had when the workitem was last compared with it, as a UPS priority."""
    return PRIORITY_CODES[row.noted_priority].scheduled_procedure_step_priority if row.noted_priority else ""


def _triaged(session: Session, study: Study, store: InstanceStore, ups: Ups, settings: Settings) -> Triaged:
    """Return what the workitem says."""
    images = _images(session, study)
    inputs = [Reference(image.series_instance_uid, image.sop_class_uid, image.sop_instance_uid) for image in images]
    retrieve = ups.retrieve_ae_title or (settings.destinations[0].ae_title if settings.destinations else "")
    return Triaged(
        _headers(session, study, images, store),
        _level(study),
        _label(session, study),
        _reason(study),
        [*inputs, *_results(session, study)],
        retrieve or settings.ae_title,
    )


def _images(session: Session, study: Study) -> Sequence[Instance]:
    """Return the images that were analysed; of a study that could not be, what else it has."""
    of_study = (
        select(Instance)
        .where(Instance.study_instance_uid == study.study_instance_uid, Instance.current)
        .order_by(Instance.id)
        .limit(MAXIMUM_IMAGES)
    )
    for dispositions in ((Disposition.ANALYSED,), (Disposition.NOT_ANALYSED, Disposition.CANDIDATE)):
        if images := session.scalars(of_study.where(Instance.disposition.in_(dispositions))).all():
            return images
    return session.scalars(of_study).all()


def _headers(session: Session, study: Study, images: Sequence[Instance], store: InstanceStore) -> list[Dataset]:
    """Return the images' headers, as corrected; what the database knows where no image can be read any more."""
    corrections = corrections_of(session, study.study_instance_uid)
    headers = []
    for image in images:
        try:
            header = read_header(image, store)
        except (StoreError, OSError):
            logger.warning("instance %s cannot be read back for its workitem", image.sop_instance_uid)
            continue
        lay_over(header, corrections)
        headers.append(header)
    return headers or [_header_of_row(study)]


def _header_of_row(study: Study) -> Dataset:
    header = Dataset()
    header.StudyInstanceUID = study.study_instance_uid
    for column, keyword in _STUDY_COLUMNS.items():
        setattr(header, keyword, getattr(study, column))
    return header


def _results(session: Session, study: Study) -> list[Reference]:
    found = session.scalars(
        select(Result).where(Result.run_id == study.current_run_id, Result.kind.in_(_OBJECTS)).order_by(Result.id)
    )
    return [Reference(result.series_instance_uid, result.sop_class_uid, result.sop_instance_uid) for result in found]


def _level(study: Study) -> str:
    """Return HIGH or MEDIUM; a study nobody looked at stands beside the unremarkable, never below."""
    if study.priority is None:
        return "MEDIUM"
    return PRIORITY_CODES[study.priority].scheduled_procedure_step_priority


def _label(session: Session, study: Study) -> str:
    if study.state != StudyState.TRIAGED:
        return NOT_ANALYSED_LABEL
    findings = flagged_findings(session, [study.current_run_id or 0]).get(study.current_run_id or 0, ())
    words = ["AI CXR", str(study.priority)]
    if findings:
        percent = percent_text(findings[0].probability).replace(" %", "%")
        words += [findings[0].finding.replace("_", " "), percent]
    return " ".join(words)


def _reason(study: Study) -> str:
    reason = study.priority_reason if study.state == StudyState.TRIAGED else study.reason
    said = f"{reason}. " if reason and not reason.endswith(".") else f"{reason} " if reason else ""
    if study.state != StudyState.TRIAGED:
        return f"Not analysed by AI. {said}No statement about findings is made."
    return f"{said}AI triage, not for diagnostic use; says nothing about what it does not name."


def _add(
    session: Session, study: Study, earlier: Workitem | None, triaged: Triaged, ups: Ups, settings: Settings
) -> Workitem:
    now, ordinal = database_now(session), 1 if earlier is None else earlier.ordinal + 1
    uid = workitem_uid(study.study_instance_uid, ordinal)
    workitem = build_workitem(uid, triaged, ups.worklist_label, now.astimezone(ZoneInfo(settings.time_zone)))
    if earlier is not None:
        earlier.current = False
        session.flush()
    row = Workitem(
        sop_instance_uid=uid,
        study_instance_uid=study.study_instance_uid,
        ordinal=ordinal,
        state=StepState.SCHEDULED,
        priority=triaged.priority,
        attributes=encoded(workitem),
        created_at=now,
    )
    session.add(row)
    session.flush()
    ups_notices.introduce(session, row, ZoneInfo(settings.time_zone), created=True)
    _record(session, row, "workitem_scheduled", triaged.label)
    return row


def _revise(session: Session, study: Study, row: Workitem, triaged: Triaged, settings: Settings) -> None:
    """Write what the study says now; the priority rises, or is what a person set."""
    workitem = decoded(row.attributes)
    before = workitem.to_json_dict()
    for keyword in MACHINE_KEYWORDS:
        if keyword in workitem:
            del workitem[keyword]
    workitem.update(machine_attributes(triaged))
    fell = _was_scheduled_as(row) == "HIGH"  # only a person, or what takes results back, lowers a study
    if triaged.priority == "HIGH" or fell or study.priority_set_by is not None:
        workitem.ScheduledProcedureStepPriority = triaged.priority
    if workitem.to_json_dict() == before:
        return
    write_change(session, row, workitem, database_now(session))
    ups_notices.notify(session, row.sop_instance_uid, [state_report(decoded(row.attributes))])
    ups_notices.introduce(session, row, ZoneInfo(settings.time_zone), created=False)
    _record(session, row, "workitem_changed", triaged.label)


def _withdraw(session: Session, row: Workitem, study: Study, settings: Settings) -> None:
    """Cancel what nobody claimed; ask whoever claimed it to stop, unless it was read, which may be their doing."""
    if StepState(row.state) is StepState.SCHEDULED:
        reason = "read elsewhere" if study.read_at is not None else "the study is withdrawn from triage"
        cancel_scheduled(session, row, ACTOR, reason, ZoneInfo(settings.time_zone), by_us=True)
    elif StepState(row.state) is StepState.IN_PROGRESS and study.read_at is None:
        wish = Dataset()
        wish.ReasonForCancellation = "the study is withdrawn from triage"
        ups_notices.notify(
            session, row.sop_instance_uid, [cancel_requested(row.sop_instance_uid, settings.ae_title, wish)]
        )


def _note_compared(session: Session, row: Workitem, study: Study) -> None:
    session.execute(
        update(Workitem)
        .where(Workitem.sop_instance_uid == row.sop_instance_uid)
        .values(
            noted_state=study.state,
            noted_priority=study.priority,
            noted_run_id=study.current_run_id,
            noted_read_at=study.read_at,
        ),
        execution_options={"synchronize_session": False},
    )


def _record(session: Session, row: Workitem, kind: str, reason: str) -> None:
    logger.info("%s: %s %s", kind, row.sop_instance_uid, row.priority)
    record(
        session,
        kind,
        actor=ACTOR,
        study_instance_uid=row.study_instance_uid,
        reason=reason,
        details={"workitem": row.sop_instance_uid, "to": row.state, "priority": row.priority},
    )
