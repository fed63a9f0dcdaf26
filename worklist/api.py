"""JSON for programs: the same lines as the page, and a health check that names nobody."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response
from sqlalchemy import text

from dicom_io.foundation.product import VERSION
from worker.care.administration import UnknownStudy
from worker.rows.database import DATABASE_GONE, database_now
from worker.rows.states import Priority, StudyState
from worker.views.studies import StudyFilter, as_json, count_studies, list_studies
from worker.views.study_detail import study_detail
from worklist.login import reader_of
from worklist.looks import looking_reader
from worklist.site import Site, site_of

router = APIRouter()
OpenedSite = Annotated[Site, Depends(site_of)]


@router.get("/api/studies", dependencies=[Depends(reader_of)])
def api_studies(
    site: OpenedSite,
    state: Annotated[list[StudyState], Query(description="only these states")] = [],  # noqa: B006 (FastAPI copies it)
    priority: Annotated[list[Priority], Query(description="only these priorities")] = [],  # noqa: B006
    unread: Annotated[bool, Query(description="only studies nobody has marked read")] = False,
    limit: Annotated[int, Query(ge=1, le=1000, description="studies at most")] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000, description="studies to skip")] = 0,
) -> dict[str, Any]:
    """List studies in reading order; ``total`` counts all that match.

    ``findings`` is null where no answer is known: not analysed, failed, held, out of scope, or not judged yet. Only an
    empty list says that the study was analysed and nothing was flagged, which is not the same as normal.
    """
    wanted = StudyFilter(tuple(state), tuple(priority), unread, limit=limit, offset=offset)
    with site.reading() as session:
        now = database_now(session)
        lines = list_studies(session, now, site.upper_wait, wanted)
        total = count_studies(session, wanted)
    return {"generated_at": now.isoformat(), "total": total, "studies": as_json(lines)}


@router.get("/api/studies/{study_instance_uid}", dependencies=[Depends(looking_reader)])
def api_study(study_instance_uid: str, site: OpenedSite) -> dict[str, Any]:
    """Everything about one study: instances, runs, predictions, results, deliveries, events."""
    with site.reading() as session:
        detail = study_detail(session, study_instance_uid, database_now(session), site.upper_wait)
    if detail is None:
        raise UnknownStudy(study_instance_uid)
    described: dict[str, Any] = as_json(detail)
    return described


@router.get("/healthz")
def healthz(site: OpenedSite) -> Response:
    """Whether the page can read the database; 200 or 503, without a login and without any patient data."""
    try:
        with site.reading() as session:
            session.execute(text("SELECT 1 FROM study LIMIT 1"))
    except DATABASE_GONE:
        return JSONResponse({"status": "database unavailable", "version": VERSION}, status_code=503)
    return JSONResponse({"status": "ok", "version": VERSION})
