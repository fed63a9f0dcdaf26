"""Judge a study's images by their tags again when a person asks for a new run: rules may have changed since."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.decision import CANDIDATE, Verdict, judge_tags
from dicom_io.storing.instance_store import InstanceStore, StoreError
from worker.arrival.selection_rules import selection_rules, site_date
from worker.rows.events import record
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance
from worker.runs.reading import read_header
from worker.settings.config import Settings

TOLD_BY_TAGS = frozenset(
    {
        None,
        ReasonCode.SITE_RULE,
        ReasonCode.SOP_CLASS,
        ReasonCode.FOR_PROCESSING,
        ReasonCode.PROCESSED_COPY,
        ReasonCode.NOT_CHEST,
        ReasonCode.NOT_FRONTAL,
        ReasonCode.HISTORICAL,
        ReasonCode.AGE,
        ReasonCode.NEEDS_REVIEW,
    }
)
"""Reasons that other rules could have avoided; what pixels, identity or equipment said stays."""


def rejudge(session: Session, store: InstanceStore, settings: Settings, study_instance_uid: str, actor: str) -> int:
    """Judge again what tags decided, under the present rules; old studies count as wanted, for a person asks.

    Returns
    -------
    int
        How many images are judged otherwise than before; written to the audit trail.
    """
    changed = []
    rows = select(Instance).where(Instance.study_instance_uid == study_instance_uid, Instance.current)
    for instance in session.scalars(rows.order_by(Instance.id)):
        if instance.reason_code not in TOLD_BY_TAGS or (verdict := _verdict(instance, store, settings)) is None:
            continue
        before = (instance.disposition, instance.reason_code)
        if _takes(instance, verdict):
            changed.append(
                {"sop_instance_uid": instance.sop_instance_uid, "before": before, "now": verdict.disposition}
            )
    if changed:
        record(
            session,
            "rejudged",
            actor=actor,
            study_instance_uid=study_instance_uid,
            reason=f"{len(changed)} images judged anew by the present rules",
            details={"instances": changed},
        )
    return len(changed)


def _verdict(instance: Instance, store: InstanceStore, settings: Settings) -> Verdict | None:
    rules = replace(selection_rules(settings, instance.calling_ae_title), oldest_days=None)
    try:
        return judge_tags(read_header(instance, store), rules, site_date(settings))
    except (StoreError, OSError):
        return None  # the run says that the file is missing


def _takes(instance: Instance, verdict: Verdict) -> bool:
    """Give the instance its new verdict; False where it says what stood there before."""
    waiting = (Disposition.CANDIDATE, Disposition.ANALYSED)
    if verdict.disposition == CANDIDATE and (instance.disposition in waiting or instance.image_verdict is not None):
        return False
    if instance.reason_code is not None and instance.reason_code == verdict.reason_code:
        return False
    instance.disposition = Disposition(verdict.disposition)
    instance.reason_code, instance.reason = verdict.reason_code, verdict.sentence
    instance.image_verdict = instance.image_score = instance.image_distance = None  # a run looks anew, or not at all
    return True
