"""Which model bundle stands in the place of which: the latest promotion that was not rolled back decides."""

from __future__ import annotations

from sqlalchemy import BindParameter, ScalarSelect, Select, select
from sqlalchemy.orm import Session

from worker.rows.run_tables import Promotion


def active_promotion(session: Session, instead_of: str) -> Promotion | None:
    """Return the promotion that holds for this place; None = the bundle configured under that name is active."""
    return session.scalars(promotion_in_place_of(instead_of)).first()


def promotion_in_place_of(name: str | BindParameter[str]) -> Select[Promotion]:
    """Return the statement for the promotion that holds for this place."""
    return (
        select(Promotion)
        .where(Promotion.instead_of == name, Promotion.rolled_back_at.is_(None))
        .order_by(Promotion.id.desc())
        .limit(1)
    )


def promoted_to(name: str | BindParameter[str]) -> ScalarSelect[str]:
    """Return, within a longer statement, the configured name of the bundle promoted to this place; null = none."""
    return promotion_in_place_of(name).with_only_columns(Promotion.bundle).scalar_subquery()


def active_bundle(session: Session, instead_of: str = "default") -> str:
    """Return the configured name of the bundle that analyses studies meant for ``instead_of``."""
    promotion = active_promotion(session, instead_of)
    return promotion.bundle if promotion else instead_of
