"""The page of one study, its pictures, and the read mark."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from dicom_io.pixels.decoding import UndecodableError
from dicom_io.storing.instance_store import StoredDamaged, StoreError
from model.labels import LABELS
from worker.care.administration import UnknownStudy, mark_unread
from worker.care.review import ReviewRefused, mark_read_as_shown
from worker.rows.database import database_now
from worker.rows.states import Disposition, ResultKind
from worker.views.patient_history import milestones, patient_history, reviews_of
from worker.views.study_detail import StudyDetail, study_detail
from worklist.live import change_mark
from worklist.login import reader_of, require_own_form
from worklist.looks import looking_reader
from worklist.pictures import capture_png, heat_map_png, message_svg, radiograph_png
from worklist.render import page
from worklist.sections import bars_of, maps_of
from worklist.site import Site, site_of
from worklist.standing import standing

router = APIRouter(include_in_schema=False)
Reader = Annotated[str, Depends(reader_of)]
LookingReader = Annotated[str, Depends(looking_reader)]
OpenedSite = Annotated[Site, Depends(site_of)]


@router.get("/studies/{study_instance_uid}")
def study_page(request: Request, study_instance_uid: str, site: OpenedSite, reader: LookingReader) -> Response:
    """Everything about one study."""
    return study_answer(request, site, study_instance_uid)


def study_answer(
    request: Request, site: Site, study_instance_uid: str, problem: str = "", comment: str = ""
) -> Response:
    """Return the page of a study; where a form could not be taken with what went wrong, and the comment in it."""
    with site.reading() as session:
        mark, stands, now = change_mark(session), standing(session, study_instance_uid), database_now(session)
        detail = study_detail(session, study_instance_uid, now, site.upper_wait)
        if detail is None:
            raise UnknownStudy(study_instance_uid)
        history, reviews = patient_history(session, detail), reviews_of(session, detail)
    run = detail.current_run
    facts = site.bundles.get(run.bundle) if run else None
    verdicts = {item.finding: item.verdict for item in reversed(reviews) if item.finding and item.of_current_run}
    return page(
        request,
        "study.html",
        409 if problem else 200,
        detail=detail,
        line=detail.line,
        mark=mark,
        now=now,
        standing=stands,
        run=run,
        images=[
            item
            for item in detail.instances
            if item.current and item.disposition != Disposition.IGNORED and item.deleted_at is None
        ],
        maps=maps_of(run),
        bars=bars_of(run, LABELS),
        facts=facts if facts and run and facts.version == run.model_version else None,
        history=history,
        reviews=reviews,
        verdicts=verdicts,
        milestones=milestones(detail),
        problem=problem,
        comment=comment,
        demonstration=facts.demonstration if facts else site.demonstration,
        viewers=[(viewer.name, viewer.link(study_instance_uid)) for viewer in site.settings.viewers],
    )


@router.get("/models/{name}")
def model_card(request: Request, name: str, site: OpenedSite, reader: Reader) -> Response:
    """The card of a configured model bundle."""
    facts = site.bundles.get(name)
    if facts is None:
        raise HTTPException(404, "No such model is configured.")
    return page(request, "card.html", facts=facts)


@router.get("/studies/{study_instance_uid}/instances/{instance_id}.png")
def instance_picture(study_instance_uid: str, instance_id: int, site: OpenedSite, reader: LookingReader) -> Response:
    """The radiograph, rendered as the model saw it."""
    detail = _detail(site, study_instance_uid)
    found = next((item for item in detail.instances if item.id == instance_id), None)
    if found is None:
        return _no_picture("No such image in this study.", 404)
    if found.deleted_at is not None:
        return _no_picture(f"The picture was deleted here on {found.deleted_at:%Y-%m-%d}.", 410)
    if detail.ended_its_process:
        return _no_picture("This image is not decoded here: the analysis of the study did not come to an end.", 422)
    try:
        path = site.instances.open_intact(found.path, found.sha256)
        return Response(radiograph_png(path), media_type="image/png")
    except StoredDamaged:
        return _no_picture("The stored file is damaged: it is not what was received.", 422)
    except StoreError:
        return _no_picture("The stored file is missing or cannot be read.", 404)
    except UndecodableError as error:
        return _no_picture(f"This image cannot be shown: {error}", 422)


@router.get("/studies/{study_instance_uid}/results/{result_id}.png")
def result_picture(study_instance_uid: str, result_id: int, site: OpenedSite, reader: LookingReader) -> Response:
    """A heat map, exactly as it was sent to the PACS."""
    results = (result for run in _detail(site, study_instance_uid).runs for result in run.results)
    found = next((item for item in results if item.id == result_id), None)
    if found is None or found.kind != ResultKind.SECONDARY_CAPTURE:
        return _no_picture("No such heat map in this study.", 404)
    try:
        return Response(capture_png(site.results.open_intact(found.path, found.sha256)), media_type="image/png")
    except StoredDamaged:
        return _no_picture("The stored heat map is damaged: it is not what was made.", 422)
    except StoreError:
        return _no_picture("The stored heat map is missing or cannot be read.", 404)


@router.get("/studies/{study_instance_uid}/maps/{instance_id}/{result_id}.png")
def heat_map(
    study_instance_uid: str, instance_id: int, result_id: int, site: OpenedSite, reader: LookingReader
) -> Response:
    """A heat map without its banner, to lie over the radiograph it was made of: the pixels that went to the PACS."""
    detail = _detail(site, study_instance_uid)
    image = next((item for item in detail.instances if item.id == instance_id), None)
    results = (result for run in detail.runs for result in run.results)
    found = next((item for item in results if item.id == result_id), None)
    if image is None or found is None or found.kind != ResultKind.SECONDARY_CAPTURE:
        return _no_picture("No such heat map in this study.", 404)
    made_of = {map.instance_id for run in detail.runs for map in maps_of(run) if map.result_id == result_id}
    if instance_id not in made_of:
        return _no_picture("This heat map was made of another image.", 404)
    try:
        capture = site.results.open_intact(found.path, found.sha256)
        shown = heat_map_png(capture, site.instances.open_intact(image.path, image.sha256), image.sop_instance_uid)
        return Response(shown, media_type="image/png")
    except StoredDamaged:
        return _no_picture("The stored heat map, or its radiograph, is damaged.", 422)
    except StoreError:
        return _no_picture("The stored heat map, or its radiograph, is missing or cannot be read.", 404)
    except ValueError as error:
        return _no_picture(f"This heat map cannot be laid over the radiograph: {error}", 404)


@router.post("/studies/{study_instance_uid}/read")
def read(
    request: Request,
    study_instance_uid: str,
    site: OpenedSite,
    reader: Reader,
    csrf: Annotated[str, Form()] = "",
    undo: Annotated[bool, Form()] = False,
    back: Annotated[str, Form()] = "",
    shown: Annotated[str, Form()] = "",
) -> Response:
    """Mark the study read, or take the mark back, and return to where the reader was; `shown` is the level they saw."""
    require_own_form(request, csrf)
    try:
        with site.writing.begin() as session:
            if undo:
                mark_unread(session, study_instance_uid, reader)
            else:
                mark_read_as_shown(session, study_instance_uid, shown, reader)
    except ReviewRefused as error:
        return study_answer(request, site, study_instance_uid, f"Not marked read: {error}.")
    return RedirectResponse("/" if back == "list" else f"/studies/{study_instance_uid}", status_code=303)


def _detail(site: Site, study_instance_uid: str) -> StudyDetail:
    with site.reading() as session:
        detail = study_detail(session, study_instance_uid, database_now(session), site.upper_wait)
    if detail is None:
        raise UnknownStudy(study_instance_uid)
    return detail


def _no_picture(message: str, status_code: int) -> Response:
    """Answer with a picture of the reason, so that the place of the picture says why it is empty."""
    return Response(message_svg(message), media_type="image/svg+xml", status_code=status_code)
