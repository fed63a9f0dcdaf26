"""Which bundle analyses studies from now on: one put in the place of another, and back; always audited.

Runs that are claimed afterwards take the bundle that is active then; what was analysed before keeps its model version.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.care.administration import stated
from worker.foundation.errors import WorkerError
from worker.rows.active_bundle import active_bundle, active_promotion
from worker.rows.database import database_now, one_at_a_time
from worker.rows.events import record
from worker.rows.run_tables import Promotion
from worker.runs.proof import prove
from worker.runs.workplace import load_model
from worker.settings.config import Settings


class PromotionRefused(WorkerError):
    """The bundle cannot take, or leave, this place; the message says why."""


@dataclass(frozen=True)
class Promoted:
    """What changed: ``bundle`` is active in the place of ``instead_of`` from now on."""

    instead_of: str
    bundle: str
    bundle_before: str
    model_version: str
    """Of ``bundle``, as proven just now."""

    @property
    def summary(self) -> str:
        """One sentence for people."""
        return (
            f"bundle {self.bundle} ({self.model_version}) is active in the place of {self.instead_of}; it was"
            f" {self.bundle_before} until now. Runs claimed from now on take it; earlier results keep their version"
        )


def proven_version(settings: Settings, bundle: str) -> str:
    """Load the bundle's network here, prove its golden images and return its model version; takes seconds.

    Raises
    ------
    BundleUnusable
        It is not configured, missing, damaged, or a demonstration where that is not allowed; or it says something else
        of a golden image on this machine than where it was made.
    """
    model = load_model(settings, bundle)
    prove(bundle, model.classifier)
    return model.bundle.model_version


def promote(
    session: Session, settings: Settings, bundle: str, *, model_version: str, instead_of: str, reason: str, by: str
) -> Promoted:
    """Have ``bundle`` analyse the studies that are meant for ``instead_of``.

    Raises
    ------
    PromotionRefused
        A name is not configured, or the bundle is active there already.
    NotStated
        The reason or the name is empty.
    """
    reason, by = stated("reason", reason), stated("name", by)
    _require_configured(settings, bundle, instead_of)
    one_at_a_time(session.connection(), _place(instead_of))
    before = active_bundle(session, instead_of)
    if bundle == before:
        raise PromotionRefused(f"bundle {bundle} is active in the place of {instead_of} already")
    now = database_now(session)
    session.add(
        Promotion(
            instead_of=instead_of,
            bundle=bundle,
            model_version=model_version,
            promoted_at=now,
            promoted_by=by,
            reason=reason,
        )
    )
    promoted = Promoted(instead_of, bundle, before, model_version)
    _record(session, "promoted", promoted, reason, by)
    return promoted


@dataclass(frozen=True)
class Undoing:
    """The promotion that a rollback would undo, and the bundle that would be active then."""

    promotion_id: int
    bundle: str


def latest_to_undo(session: Session, instead_of: str) -> Undoing:
    """Return what a rollback would do now.

    Raises
    ------
    PromotionRefused
        Nothing was promoted there, or all of it was rolled back.
    """
    current = active_promotion(session, instead_of)
    if current is None:
        raise PromotionRefused(f"nothing to roll back: no bundle was promoted in the place of {instead_of}")
    earlier = session.scalars(
        select(Promotion.bundle)
        .where(Promotion.instead_of == instead_of, Promotion.rolled_back_at.is_(None), Promotion.id < current.id)
        .order_by(Promotion.id.desc())
        .limit(1)
    ).first()
    return Undoing(current.id, earlier or instead_of)


def rollback(
    session: Session, settings: Settings, undoing: Undoing, *, model_version: str, instead_of: str, reason: str, by: str
) -> Promoted:
    """Undo the latest promotion that was not undone yet; the bundle before it is active again.

    Parameters
    ----------
    undoing
        What `latest_to_undo` said before the bundle was proven.

    Raises
    ------
    PromotionRefused
        Somebody else has promoted or rolled back since, or the bundle is not configured any more.
    NotStated
        The reason or the name is empty.
    """
    reason, by = stated("reason", reason), stated("name", by)
    _require_configured(settings, undoing.bundle, instead_of)
    one_at_a_time(session.connection(), _place(instead_of))
    current = active_promotion(session, instead_of)
    if current is None or latest_to_undo(session, instead_of) != undoing:
        raise PromotionRefused(
            f"somebody else has just changed which bundle is active in the place of {instead_of}: now it is"
            f" {active_bundle(session, instead_of)}; nothing was rolled back"
        )
    current.rolled_back_at, current.rolled_back_by, current.rollback_reason = database_now(session), by, reason
    undone = Promoted(instead_of, undoing.bundle, current.bundle, model_version)
    _record(session, "rolled_back", undone, reason, by)
    return undone


def _place(instead_of: str) -> str:
    return f"promotion in the place of {instead_of}"


def _require_configured(settings: Settings, *names: str) -> None:
    for name in names:
        if name not in settings.bundles:
            configured = ", ".join(sorted(settings.bundles))
            raise PromotionRefused(f"bundle {name} is not configured; known are {configured}")


def _record(session: Session, kind: str, change: Promoted, reason: str, by: str) -> None:
    details = {
        "instead_of": change.instead_of,
        "bundle": change.bundle,
        "bundle_before": change.bundle_before,
        "model_version": change.model_version,
    }
    record(session, kind, actor=by, reason=reason, details=details)
