"""The bundle in the shadow beside the active one, and what was promoted when: read before promoting."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy import select

from worker.figures.comparison import compare_with_shadow
from worker.rows.active_bundle import active_promotion
from worker.rows.database import database_now
from worker.rows.run_tables import Promotion
from worker.rows.states import Priority
from worklist.login import administrator_of
from worklist.render import page
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)
Reader = Annotated[str, Depends(administrator_of)]
OpenedSite = Annotated[Site, Depends(site_of)]
PROMOTIONS_SHOWN = 20
STUDIES_COMPARED = 2000
"""At most; the command line takes more."""


@router.get("/operations/shadow")
def shadow_page(
    request: Request, site: OpenedSite, reader: Reader, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> Response:
    """Both bundles on the studies of the last days, and the history of promotions."""
    with site.reading() as session:
        found = compare_with_shadow(session, database_now(session) - timedelta(days=days), STUDIES_COMPARED)
        latest = select(Promotion).order_by(Promotion.id.desc()).limit(PROMOTIONS_SHOWN)
        promotions = session.scalars(latest).all()
        places = {name: active_promotion(session, name) for name in site.settings.bundles}
        session.expunge_all()
    return page(
        request,
        "shadow.html",
        days=days,
        found=found,
        promotions=promotions,
        places={name: promotion for name, promotion in places.items() if promotion or name == "default"},
        priorities=list(Priority),
        budget=site.settings.flag_budget_per_100,
    )
