"""Who works on a run: claimed by a conditional UPDATE, held by a renewed lease, proven by a fencing token.

A message that rings twice finds nothing to claim the second time. A worker that dies stops renewing, and when its
lease has lapsed on the database's clock the run can be claimed again under the next fencing token; whatever the first
worker still writes under the old token is refused with `LeaseLost`. Attempts are counted before the work starts, so a
study that kills its workers ends as ``failed(poison)`` and does not go round for ever.

Whoever changes a study and its runs locks the study's row first; everything here does. A run binds its bundle when it
is claimed: the one that is active then. A run in the shadow keeps the bundle it was made for and never touches the
study. Runs of a backfill are claimed elsewhere (`worker.rows.backfills`), never here.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, bindparam, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.foundation.errors import LeaseLost
from worker.rows.active_bundle import promoted_to
from worker.rows.database import SessionFactory, as_utc, clock, database_now
from worker.rows.events import record
from worker.rows.reopening import reopen_failed
from worker.rows.run_tables import Run
from worker.rows.states import RunState, StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

BACKFILL_QUEUE = "backfill"
"""``run.queue`` of a backfill's runs; nobody rings for them and no Celery queue has this name."""


@dataclass(frozen=True)
class Claim:
    """The right to work on one run, until the lease lapses."""

    run_id: int
    study_instance_uid: str
    run_number: int
    bundle: str
    trigger: str
    attempts: int
    """Starts of this run, this one included."""
    fencing_token: int
    worker_name: str
    backfill: bool = False
    """An archived study analysed again: nobody waits for it, and where it stands on the worklist is not changed."""


def locked_study(session: Session, study_instance_uid: str) -> Study | None:
    """Return the study with its row locked until the end of the transaction, freshly read."""
    return session.scalars(_study_to_lock(), {"study": study_instance_uid}).one_or_none()


@cache
def _study_to_lock() -> Select[Study]:
    """Return the query for the row of ``study``; put together once, as that takes longer than its answer."""
    return (
        select(Study)
        .where(Study.study_instance_uid == bindparam("study"))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def claim_run(
    session: Session, study_instance_uid: str, worker_name: str, settings: Settings, *, shadow: bool = False
) -> Claim | None:
    """Claim the study's oldest queued or abandoned run; commit before the work starts.

    Parameters
    ----------
    shadow
        True claims the run in the shadow, False the one that counts.

    Returns
    -------
    Claim or None
        None when there is nothing to do: another worker has it, it is done, the study is held, or its attempts are
        used up (the run and the study are then ``failed(poison)`` in this transaction).
    """
    study = locked_study(session, study_instance_uid)
    if study is None or study.state == StudyState.HELD:
        return None
    instead_of = settings.bundle_of(study.calling_ae_title)
    found = session.execute(
        _claimable_run(session.get_bind().dialect.name, shadow=shadow),
        {"study": study_instance_uid, "instead_of": instead_of},
    ).first()
    if found is None:
        return None
    run, now, promoted = found[0], as_utc(found[1]), found[2]
    if run.attempts >= settings.maximum_attempts:
        give_up(session, study, run, now)
        return None
    bundle = run.bundle if run.shadow else promoted or instead_of
    return _claim(session, study, run, bundle, worker_name, now, settings)


@cache
def _claimable_run(dialect_name: str, *, shadow: bool) -> Select[Run, Any, str]:
    """Return the query for the run of ``study`` to claim, the time, and what was promoted to ``instead_of``."""
    now_there = clock(dialect_name)
    here = (Run.study_instance_uid == bindparam("study"), Run.shadow == shadow, is_claimable(now_there))
    found = select(Run, now_there, promoted_to(bindparam("instead_of"))).where(*here)
    return found.order_by(Run.id).limit(1).execution_options(populate_existing=True)


def is_claimable(now: datetime | ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition for a run that may be claimed at ``now`` (aware UTC, the database's clock).

    SQLite keeps moments as text and its clock has milliseconds, so that a lease of this millisecond has not lapsed yet.
    """
    abandoned = (Run.state == RunState.RUNNING) & (Run.lease_until < now) & (Run.queue != BACKFILL_QUEUE)
    return or_(Run.state == RunState.QUEUED, abandoned)


def _claim(
    session: Session, study: Study, run: Run, bundle: str, worker_name: str, now: datetime, settings: Settings
) -> Claim | None:
    taken = _taken(run)
    claimed = session.scalars(
        update(Run)
        .where(Run.id == run.id, Run.fencing_token == run.fencing_token, is_claimable(now))
        .values(
            state=RunState.RUNNING,
            bundle=bundle,
            attempts=Run.attempts + 1,
            fencing_token=Run.fencing_token + 1,
            lease_until=now + timedelta(seconds=settings.lease_seconds),
            worker_name=worker_name,
            started_at=now,
        )
        .returning(Run),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).one_or_none()
    if claimed is None:
        return None
    if not claimed.shadow:
        _say_claimed(session, study, claimed, taken, now)
    return Claim(
        claimed.id, claimed.study_instance_uid, claimed.run_number, claimed.bundle, claimed.trigger,
        claimed.attempts, claimed.fencing_token, worker_name,
    )  # fmt: skip


def _taken(run: Run) -> dict[str, str]:
    """Return for the audit trail who holds the run and until when; nothing when it only waits."""
    if run.state != RunState.RUNNING or run.lease_until is None:
        return {}
    return {"taken_from": run.worker_name or "", "lease_until": run.lease_until.isoformat()}


def _say_claimed(session: Session, study: Study, run: Run, taken: dict[str, str], now: datetime) -> None:
    record(
        session,
        "claimed",
        actor=run.worker_name or "",
        study_instance_uid=study.study_instance_uid,
        run_id=run.id,
        from_state=study.state,
        to_state=StudyState.TRIAGING,
        details={"attempt": run.attempts, "fencing_token": run.fencing_token, "bundle": run.bundle, **taken},
        at=now,
    )
    study.state = StudyState.TRIAGING


def give_up(session: Session, study: Study, run: Run, now: datetime) -> None:
    """End a run whose attempts are used up as ``failed(poison)``, visibly; the study's row is locked by the caller."""
    reason = f"{ReasonCode.POISON.sentence} ({run.attempts} starts, last by {run.worker_name})"
    run.state = RunState.FAILED
    run.fencing_token += 1
    run.lease_until = None
    run.finished_at = now
    run.reason_code, run.reason = ReasonCode.POISON, reason
    logger.error("study=%s run=%s failed: %s", study.study_instance_uid, run.run_number, reason)
    if run.shadow:
        return
    study.reason_code, study.reason = ReasonCode.POISON, reason
    reopen_failed(session, study, run, now)
    record(
        session,
        "failed",
        actor="leases",
        study_instance_uid=study.study_instance_uid,
        run_id=run.id,
        from_state=study.state,
        to_state=StudyState.FAILED,
        reason=reason,
        at=now,
    )
    study.state = StudyState.FAILED


def renew(session: Session, claim: Claim, settings: Settings) -> None:
    """Push the lease forward from the database's now.

    Raises
    ------
    LeaseLost
        The run was claimed by somebody else, or ended.
    """
    renewed = session.execute(
        update(Run)
        .where(Run.id == claim.run_id, Run.fencing_token == claim.fencing_token, Run.state == RunState.RUNNING)
        .values(lease_until=database_now(session) + timedelta(seconds=settings.lease_seconds))
        .returning(Run.id),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    if renewed is None:
        raise LeaseLost(claim.run_id, claim.fencing_token)


class LeaseKeeper:
    """Renews the lease from a thread while the ``with`` block works; `lost` says that the work is in vain.

    A database that does not answer loses the lease only when a whole lease has passed without a renewal.
    """

    def __init__(self, sessions: SessionFactory, claim: Claim, settings: Settings) -> None:
        self._sessions = sessions
        self._claim = claim
        self._settings = settings
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_over, name=f"lease-{claim.run_id}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another worker has, or may have, taken the run."""
        return self._lost.is_set()

    def require(self) -> None:
        """Stop work that is in vain; call it between the stages of a run.

        Raises
        ------
        LeaseLost
            The lease is lost.
        """
        if self.lost:
            raise LeaseLost(self._claim.run_id, self._claim.fencing_token)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _renew_until_over(self) -> None:
        renewed = time.monotonic()
        while not self._over.wait(self._settings.lease_renewal_seconds):
            try:
                with self._sessions.begin() as session:
                    renew(session, self._claim, self._settings)
                renewed = time.monotonic()
            except LeaseLost:
                self._lost.set()
                return
            except SQLAlchemyError as error:
                logger.warning("run=%s: cannot renew its lease (%s)", self._claim.run_id, type(error).__name__)
                if time.monotonic() - renewed > self._settings.lease_seconds:
                    self._lost.set()
                    return
