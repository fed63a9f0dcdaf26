"""The rows of an ordinary arrival, written by a few fixed statements: the sender waits meanwhile.

Ordinary is an image that nothing is known of yet, in a study of the same patient: all but a handful. What is unusual in
any way is left to `worker.arrival.reception`, which can do everything, also this; a test holds both to the same rows.
Measured: the object-relational layer took more than half of the time of receiving a 0.5 MB image, this takes a fifth of
that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.decision import Verdict
from dicom_io.storing.instance_store import StoredFile
from dicom_io.storing.receiving import ReceivedInstance
from worker.arrival.analysable import is_missed
from worker.arrival.identity import COLUMN_KEYWORDS, conflict, sex_differs
from worker.rows.database import as_utc, clock, one_at_a_time
from worker.rows.fixed_statement import FixedInsert, FixedStatement
from worker.rows.run_tables import Result
from worker.rows.site_tables import Event
from worker.rows.states import Disposition, StudyState
from worker.rows.study_tables import IdentityCorrection, Instance, RejectedInstance, Study
from worker.rows.study_words import SEARCHED, keep_words

ACTOR = "listener"
_STUDY, _INSTANCE, _EVENT = (cast(Table, each.__table__) for each in (Study, Instance, Event))

REMARKABLE: ColumnElement[bool] = or_(
    exists().where(
        Instance.study_instance_uid == bindparam("study"), Instance.sop_instance_uid == bindparam("instance")
    ),
    exists().where(Result.sop_instance_uid == bindparam("instance")),
    exists().where(
        RejectedInstance.study_instance_uid == bindparam("study"),
        RejectedInstance.sop_instance_uid == bindparam("instance"),
    ),
    exists().where(IdentityCorrection.study_instance_uid == bindparam("study")),
)
"""Whether anything is known already of this image, or its study's patient was corrected; parameters ``study`` and
``instance``. Hardly any image is: one look instead of four."""
_ELSEWHERE = exists().where(
    Instance.sop_instance_uid == bindparam("instance"), Instance.study_instance_uid != bindparam("study")
)
_KNOWN = or_(_ELSEWHERE, REMARKABLE).label("known")
_STILL_ORDINARY = FixedStatement(select(REMARKABLE.label("known")))
_FIRST_LOOK = {name: FixedStatement(select(clock(name).label("now"), _KNOWN)) for name in ("sqlite", "postgresql")}
_LOCKED_STUDY = FixedStatement(
    select(*(_STUDY.c[name] for name in (*COLUMN_KEYWORDS, "state", "current_run_id")))
    .where(_STUDY.c.study_instance_uid == bindparam("study"))
    .with_for_update()
)
_MAKE_STUDY = {
    name: FixedInsert(insert(_STUDY).on_conflict_do_nothing().returning(_STUDY.c.study_instance_uid))
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
_ADD_INSTANCE, _ADD_EVENT = FixedInsert(_INSTANCE), FixedInsert(_EVENT)
_THIS_STUDY = update(_STUDY).where(_STUDY.c.study_instance_uid == bindparam("study"))
_NOW_RECEIVED = _THIS_STUDY.values(last_received_at=bindparam("now"), images_deleted_at=None)
_RECEIVED = FixedStatement(_NOW_RECEIVED)
_RECEIVED_AND_DUE = FixedStatement(_NOW_RECEIVED.values(due_at=bindparam("due")))


@dataclass(frozen=True)
class TagsRead:
    """What the tags of an instance say."""

    stated: Mapping[str, str]
    """Columns of ``study``, `worker.arrival.identity.identity_columns`."""
    verdict: Verdict
    """What they alone decide."""


@dataclass(frozen=True)
class Arrival:
    """One stored instance on its way into the rows."""

    received: ReceivedInstance
    tags: TagsRead
    stored: StoredFile

    @property
    def uids(self) -> dict[str, str]:
        """Return the parameters of the looks."""
        return {"study": self.received.study_instance_uid, "instance": self.received.sop_instance_uid}


def enter_ordinary(connection: Connection, arrival: Arrival, quiet_time: timedelta) -> bool:
    """Write the rows if the arrival is ordinary; else return False, with at most the study's first row made.

    The caller commits. On PostgreSQL the study's row may be locked afterwards either way, and no other study's.
    """
    received, verdict, dialect = arrival.received, arrival.tags.verdict, connection.dialect.name
    if received.sop_class_uid == KEY_OBJECT_SELECTION or verdict.reason_code == ReasonCode.OWN_RESULT:
        return False
    one_at_a_time(connection, received.sop_instance_uid)  # two senders of it might name two studies
    (look,) = _FIRST_LOOK[dialect].execute(connection, arrival.uids)
    if look.known:
        return False
    now = as_utc(look.now)
    study = _locked_study(connection, arrival, now)
    if study is not None and not _continues(study, arrival.tags.stated):
        return False
    if dialect == "postgresql" and _STILL_ORDINARY.execute(connection, arrival.uids)[0].known:
        return False  # asked again, now that nobody can change it
    _ADD_INSTANCE.execute(connection, instance_row(arrival, verdict, now))
    event = {"at": now, "study_instance_uid": received.study_instance_uid, "actor": ACTOR, "kind": "received"}
    _ADD_EVENT.execute(connection, event | {"reason": verdict.sentence, "details": event_details(arrival, verdict)})
    times = {"study": received.study_instance_uid, "now": now}
    if calls_for_run(verdict) or study is None or is_unanswered(study):
        _RECEIVED_AND_DUE.execute(connection, times | {"due": now + quiet_time})
    else:
        _RECEIVED.execute(connection, times)
    return True


def make_study(connection: Connection, arrival: Arrival, now: datetime) -> bool:
    """Make the study's row unless it is there; say whether it was made, and is locked by that."""
    received = arrival.received
    row = {
        **arrival.tags.stated,
        "study_instance_uid": received.study_instance_uid,
        "patient_id_missing": not arrival.tags.stated["patient_id"],
        "calling_ae_title": received.calling_ae_title,
        "called_ae_title": received.called_ae_title,
        "first_received_at": now,
        "last_received_at": now,
        "state": StudyState.RECEIVING,
        "historical": False,
        "priority_rank": 0.0,
    }
    made = bool(_MAKE_STUDY[connection.dialect.name].execute(connection, row))
    if made:
        keep_words(connection, received.study_instance_uid, (arrival.tags.stated[name] for name in SEARCHED))
    return made


def instance_row(arrival: Arrival, verdict: Verdict, now: datetime, version: int = 1) -> dict[str, Any]:
    """Return the columns of ``instance``."""
    received = arrival.received
    return {
        "sop_instance_uid": received.sop_instance_uid,
        "version": version,
        "current": True,
        "study_instance_uid": received.study_instance_uid,
        "series_instance_uid": received.series_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "path": arrival.stored.path,
        "bytes": arrival.stored.bytes,
        "sha256": arrival.stored.sha256,
        "patient_id": arrival.tags.stated["patient_id"],
        "calling_ae_title": received.calling_ae_title,
        "received_at": now,
        "disposition": verdict.disposition,
        "reason_code": verdict.reason_code,
        "reason": verdict.sentence,
    }


def event_details(arrival: Arrival, verdict: Verdict) -> dict[str, object]:
    """Return what the audit trail says of a received instance."""
    return {
        "sop_instance_uid": arrival.received.sop_instance_uid,
        "sop_class_uid": arrival.received.sop_class_uid,
        "disposition": verdict.disposition,
        "reason_code": verdict.reason_code,
        "calling_ae_title": arrival.received.calling_ae_title,
    }


def calls_for_run(verdict: Verdict) -> bool:
    """Say whether an image may change what is to be said of its study.

    It is analysed, or the report lacks it, or it is a processed copy: perhaps all there is of its exposure.
    """
    if verdict.disposition == Disposition.CANDIDATE or verdict.reason_code == ReasonCode.PROCESSED_COPY:
        return True
    return is_missed(verdict.disposition, verdict.reason_code)


def is_unanswered(study: Any) -> bool:
    """Say whether no run of the study has ended with an answer, or given up."""
    return study.current_run_id is None and study.state != StudyState.FAILED


def _locked_study(connection: Connection, arrival: Arrival, now: datetime) -> Any | None:
    """Return the study's row, locked; None when it was made just now."""
    uid = {"study": arrival.received.study_instance_uid}
    found = _LOCKED_STUDY.execute(connection, uid)
    if not found and make_study(connection, arrival, now):
        return None
    (study,) = found or _LOCKED_STUDY.execute(connection, uid)  # somebody else made it in between
    return study


def _continues(study: Any, stated: Mapping[str, str]) -> bool:
    """Say whether an image that states this is one more of the study as it is, with nothing to hold or take over."""
    if study.state == StudyState.HELD or conflict(study, stated) is not None or sex_differs(study, stated):
        return False
    return not any(value and not getattr(study, column) for column, value in stated.items())
