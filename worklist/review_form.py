"""Taking a radiologist's review from the study page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from worker.care.review import ReviewRefused, mark_read_as_shown, write_review
from worker.rows.states import ReviewVerdict
from worklist.login import reader_of, require_own_form
from worklist.pages import study_answer
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)


@router.post("/studies/{study_instance_uid}/review")
async def review(
    request: Request,
    study_instance_uid: str,
    site: Annotated[Site, Depends(site_of)],
    reader: Annotated[str, Depends(reader_of)],
) -> Response:
    """Keep the review; fields ``v.Finding`` carry the verdicts. Says on the page what could not be taken."""
    form = {name: str(value) for name, value in (await request.form()).items()}
    require_own_form(request, form.get("csrf", ""))
    return await run_in_threadpool(_keep, request, site, study_instance_uid, form, reader)


def _keep(request: Request, site: Site, uid: str, form: dict[str, str], reader: str) -> Response:
    try:
        with site.writing.begin() as session:
            write_review(session, uid, _run_id(form), _verdicts(form), form.get("comment", ""), reader)
            if "read" in form:
                mark_read_as_shown(session, uid, form.get("shown", ""), reader)
    except ReviewRefused as error:
        problem = f"The review was not kept: {error}."
        return study_answer(request, site, uid, problem, form.get("comment", ""))
    return RedirectResponse("/" if "read" in form else f"/studies/{uid}#review", status_code=303)


def _run_id(form: dict[str, str]) -> int | None:
    try:
        return int(form.get("run", ""))
    except ValueError:  # none, or one of more digits than Python reads
        return None


def _verdicts(form: dict[str, str]) -> dict[str, ReviewVerdict]:
    said = {name[2:]: value for name, value in form.items() if name.startswith("v.") and value}
    return {finding: ReviewVerdict(value) for finding, value in said.items() if value in list(ReviewVerdict)}
