"""The operations page: what runs, what waits, what failed and can be tried again, and how fast it is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from worker.care.administration import UnknownStudy
from worker.care.requeue import requeue_quietly
from worker.figures.flow import FailedStudy, failed_studies
from worker.figures.overview import Overview, read_overview
from worker.foundation.errors import RunRefused
from worker.rows.database import database_now
from worker.rows.states import StudyState
from worker.rows.study_tables import Study
from worklist.login import administrator_of, require_own_form
from worklist.plots import HEIGHT, WIDTH, hour_bars, stage_span
from worklist.render import page
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)
Reader = Annotated[str, Depends(administrator_of)]
OpenedSite = Annotated[Site, Depends(site_of)]
AT_ONCE = 200
"""Studies that one confirmation requeues at most."""


@router.get("/operations")
def operations_page(
    request: Request,
    site: OpenedSite,
    reader: Reader,
    requeued: Annotated[int | None, Query(ge=0)] = None,
    refused: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Everything at one moment; the body is fetched again and again."""
    return page(request, "operations.html", requeued=requeued, refused=refused, **_shown(site))


@router.get("/partial/operations")
def operations_partial(request: Request, site: OpenedSite, reader: Reader) -> Response:
    """The changing part of the page."""
    return page(request, "operations_body.html", **_shown(site))


@router.get("/operations/requeue")
def confirm_requeue(
    request: Request, site: OpenedSite, reader: Reader, study: str | None = None, reason_code: str | None = None
) -> Response:
    """Ask before studies are analysed again, naming each."""
    studies = _chosen(site, study, reason_code)
    return page(request, "requeue.html", studies=studies, study=study, reason_code=reason_code, at_once=AT_ONCE)


@router.post("/operations/requeue")
def requeue(
    request: Request,
    site: OpenedSite,
    reader: Reader,
    csrf: Annotated[str, Form()] = "",
    study: Annotated[str | None, Form()] = None,
    reason_code: Annotated[str | None, Form()] = None,
) -> Response:
    """Queue new runs of the studies that were confirmed; what cannot be analysed now is counted as refused."""
    require_own_form(request, csrf)
    requeued = refused = 0
    for each in _chosen(site, study, reason_code):
        try:
            with site.writing.begin() as session:
                requeue_quietly(session, site.instances, site.settings, each.study_instance_uid, reader)
            requeued += 1
        except RunRefused:
            refused += 1
    return RedirectResponse(f"/operations?requeued={requeued}&refused={refused}", status_code=303)


def _shown(site: Site) -> dict[str, Any]:
    with site.reading() as session:
        overview = read_overview(session, site.settings, database_now(session))
    return {
        "overview": overview,
        "hour_bars": hour_bars(overview.hours),
        "spans": {stage.name: stage_span(stage) for stage in overview.stages},
        "width": WIDTH,
        "height": HEIGHT,
        "undelivered": _undelivered(overview),
    }


def _undelivered(overview: Overview) -> int:
    return sum(item.pending + item.refused + item.failed for item in overview.destinations)


def _chosen(site: Site, study: str | None, reason_code: str | None) -> list[FailedStudy]:
    """Return the one study that is named, whatever its state, or the failed ones of one reason."""
    if (study is None) == (reason_code is None):
        raise HTTPException(422, "Name one study, or one reason.")
    with site.reading() as session:
        if reason_code is not None:
            return list(failed_studies(session, reason_code, AT_ONCE))
        found = session.get(Study, study)
        if found is None:
            raise UnknownStudy(study or "")
        why = (
            found.reason if found.state != StudyState.TRIAGED else "It has an answer already; a new run may replace it."
        )
        return [
            FailedStudy(
                found.study_instance_uid, found.accession_number, found.calling_ae_title, found.reason_code or "",
                why or "", found.last_received_at,
            )
        ]  # fmt: skip
