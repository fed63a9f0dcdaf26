"""Images declared invalid, by a rejection note (IHE IOCM) or a person: never analysed, and what was made of them ends.

=================================  ====================================================================================
rejected                           becomes
=================================  ====================================================================================
an image not yet received          remembered; it is stored when it comes, and not analysed
an image nobody analysed           left out of every run
an image that was analysed         results made from it are taken back; the study is analysed again without it, or is
                                   ``not_analysed(rejected)`` where nothing else is left
an image of a held study           left out; the study stays held while images are left that name two patients
one of our own results             not sent to that archive again; the other archives get a note of ours
=================================  ====================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.foundation.reasons import ReasonCode
from worker.arrival.completion import queue_what_is_left
from worker.arrival.queued import QueuedRun
from worker.care.administration import existing_study, stated
from worker.foundation.errors import WorkerError
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import Disposition, RunState, RunTrigger, StudyState
from worker.rows.study_tables import Instance, RejectedInstance, Study
from worker.rows.undoing import forget_answer, stop_runs
from worker.sending.rejection import Why, take_back
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

_NO_IMAGE = (ReasonCode.OWN_RESULT, ReasonCode.SOP_CLASS)


class UnknownImage(WorkerError):
    """The study has no image with this SOP Instance UID."""

    def __init__(self, study_instance_uid: str, sop_instance_uids: Sequence[str]) -> None:
        super().__init__(
            f"study {study_instance_uid} has no image {', '.join(sop_instance_uids)}; see `python -m worker show`"
        )


@dataclass(frozen=True)
class Rejection:
    """Who declares images invalid, and why."""

    title: RejectionTitle
    by: str
    """A person's name, or the AE title of the note's sender."""
    note_uid: str | None = None
    """SOP Instance UID of the note; None = a person said so here."""
    words: str = ""
    """A person's reason; never patient data."""

    @property
    def sentence(self) -> str:
        """Why, for people and archives."""
        said = f": {self.words}" if self.words else ""
        return f"{self.title.meaning}, said by {self.by}{said}"


def reject_images(
    session: Session,
    study_instance_uid: str,
    sop_instance_uids: Collection[str],
    rejection: Rejection,
    settings: Settings,
) -> QueuedRun | None:
    """Leave these images of a study out from now on and take back what was made of them; doing it twice does no more.

    Returns
    -------
    QueuedRun or None
        A run of what is left, to ring for after the commit. None: there is nothing to analyse, the study is not here,
        is held, or was retracted.

    Raises
    ------
    StoreError
        The store of results is full.
    """
    study = locked_study(session, study_instance_uid)
    now = database_now(session)
    news = _remember(session, study_instance_uid, sop_instance_uids, rejection, now)
    images = [] if study is None or not news else _images(session, study, news)
    if study is None or not images:
        return None
    left_out = _leave_out(images, rejection)
    runs = _runs_about(session, images)
    why = Why(rejection.title, f"made from images that were declared invalid ({rejection.sentence})", rejection.by)
    taken = take_back(session, runs, why, settings)
    about_current = study.current_run_id in {run.id for run in runs}
    for run in runs:
        run.state = RunState.SUPERSEDED
    record(
        session,
        "images_rejected",
        actor=rejection.by,
        study_instance_uid=study_instance_uid,
        from_state=study.state,
        reason="; ".join(part for part in (f"{left_out} images: {rejection.sentence}", taken.words) if part),
        details={"title": rejection.title.code_value, "note": rejection.note_uid, "images": sorted(sop_instance_uids)},
        at=now,
    )
    if about_current:
        forget_answer(study, keep_set_priority=True)
    return _go_on(session, study, rejection, settings, now)


def reject_by_hand(
    session: Session,
    study_instance_uid: str,
    sop_instance_uids: Collection[str],
    *,
    title: RejectionTitle,
    reason: str,
    by: str,
    settings: Settings,
) -> QueuedRun | None:
    """Declare images of a study invalid in a person's name; see `reject_images`.

    Raises
    ------
    UnknownStudy
        The study was never received.
    UnknownImage
        It has no such image.
    NotStated
        No reason or no name.
    StoreError
        The store of results is full.
    """
    reason, by = stated("reason", reason), stated("name", by)
    study = existing_study(session, study_instance_uid)
    known = {image.sop_instance_uid for image in _images(session, study, sop_instance_uids)}
    if strangers := sorted(set(sop_instance_uids) - known):
        raise UnknownImage(study_instance_uid, strangers)
    rejection = Rejection(title, by, None, reason)
    return reject_images(session, study_instance_uid, known, rejection, settings)


def _remember(
    session: Session, study_instance_uid: str, uids: Collection[str], rejection: Rejection, now: datetime
) -> set[str]:
    """Write down what is rejected from now on; returns what was not before."""
    known = set(
        session.scalars(
            select(RejectedInstance.sop_instance_uid).where(RejectedInstance.study_instance_uid == study_instance_uid)
        )
    )
    news = set(uids) - known
    session.add_all(
        RejectedInstance(
            study_instance_uid=study_instance_uid,
            sop_instance_uid=uid,
            at=now,
            title_code=rejection.title.code_value,
            rejected_by=rejection.by,
            note_uid=rejection.note_uid,
        )
        for uid in sorted(news)
    )
    session.flush()
    return news


def _images(session: Session, study: Study, uids: Collection[str]) -> list[Instance]:
    """Return every version of the named images."""
    of_study = select(Instance).where(Instance.study_instance_uid == study.study_instance_uid).order_by(Instance.id)
    return [
        instance
        for instance in session.scalars(of_study)
        if instance.sop_instance_uid in uids and instance.reason_code not in _NO_IMAGE
    ]


def _leave_out(images: Sequence[Instance], rejection: Rejection) -> int:
    """Note that no run may look at these images any more; returns how many that is news about."""
    current = [image for image in images if image.current and image.reason_code != ReasonCode.REJECTED]
    for image in current:
        image.disposition, image.reason_code = Disposition.NOT_ANALYSED, ReasonCode.REJECTED
        image.reason = f"{ReasonCode.REJECTED.sentence} ({rejection.sentence})"
        image.image_verdict = image.image_score = image.image_distance = None
    return len(current)


def _runs_about(session: Session, images: Sequence[Instance]) -> Sequence[Run]:
    """Return the runs that looked at these images and still stand or stood once."""
    theirs = [image.id for image in images]
    return session.scalars(
        select(Run)
        .where(Run.predictions.any(Prediction.instance_id.in_(theirs)))
        .where(Run.state.in_((RunState.DONE, RunState.SUPERSEDED)))
        .order_by(Run.id)
    ).all()


def _go_on(session: Session, study: Study, rejection: Rejection, settings: Settings, now: datetime) -> QueuedRun | None:
    """Analyse what is left; say why where nothing is."""
    if study.retracted_at is not None:
        return None
    if study.state == StudyState.HELD and _has_images(session, study):
        study.due_at = now  # the sweeper looks whether these agree
        return None
    stop_runs(session, study, ReasonCode.REJECTED, rejection.sentence, now)
    study.state = StudyState.RECEIVING if study.current_run is None else StudyState.TRIAGED
    study.reason_code = study.reason = None
    return queue_what_is_left(session, study, RunTrigger.REPROCESS, settings, actor=rejection.by)


def _has_images(session: Session, study: Study) -> bool:
    """Return whether a held study has images left."""
    left = select(Instance.id).where(
        Instance.study_instance_uid == study.study_instance_uid,
        Instance.current,
        Instance.disposition != Disposition.IGNORED,
        Instance.reason_code.is_distinct_from(ReasonCode.REJECTED),
    )
    return session.scalar(left.limit(1)) is not None
