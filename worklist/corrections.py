"""Forms with which a person overrules the machine: each asks again, the patient in sight, and wants reason and name.

What they do is in ``worker.care`` and the same as on the command line; the sweeper rings for it. Radiologists and
administrators may use them, under the name they logged in with; where nobody logs in, the form asks for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import StoreError
from worker.care.administration import UnknownStudy, existing_study, stated
from worker.care.grounds import Grounds
from worker.care.identity_correction import Identity, correct_study
from worker.care.image_rejection import reject_by_hand
from worker.care.priority_override import override_priority
from worker.care.requeue import leave_to_sweeper
from worker.care.resend import resend_study
from worker.care.retraction import retract_study
from worker.foundation.errors import WorkerError
from worker.rows.database import database_now
from worker.rows.states import Priority
from worker.views.study_detail import StudyDetail, study_detail
from worklist.login import reader_of, require_own_form
from worklist.looks import looking_reader
from worklist.render import page
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)
Carer = Annotated[str, Depends(reader_of)]
OpenedSite = Annotated[Site, Depends(site_of)]


class Deed(StrEnum):
    """What a person can do to a study."""

    OVERRIDE = "override"
    CORRECT = "correct"
    REJECT = "reject"
    RETRACT = "retract"
    RESEND = "resend"


@dataclass(frozen=True)
class Filled:
    """A form as it was sent; what a deed does not ask for is empty."""

    reason: str
    by: str
    priority: Priority | None
    because: Grounds
    images: tuple[str, ...]
    destinations: tuple[str, ...]
    identity: Identity


def filled(
    reason: Annotated[str, Form()] = "",
    by: Annotated[str, Form()] = "",
    priority: Annotated[Priority | None, Form()] = None,
    because: Annotated[Grounds, Form()] = Grounds.PATIENT_SAFETY,
    image: Annotated[list[str] | None, Form()] = None,
    destination: Annotated[list[str] | None, Form()] = None,
    patient_id: Annotated[str, Form()] = "",
    issuer_of_patient_id: Annotated[str, Form()] = "",
    patient_name: Annotated[str, Form()] = "",
    patient_birth_date: Annotated[str, Form()] = "",
    patient_sex: Annotated[str, Form()] = "",
    accession_number: Annotated[str, Form()] = "",
) -> Filled:
    """Read a form; empty fields of the identity leave what is there."""
    values = (patient_id, issuer_of_patient_id, patient_name, patient_birth_date, patient_sex, accession_number)
    identity = Identity(*(value.strip() or None for value in values))
    return Filled(reason, by, priority, because, tuple(image or ()), tuple(destination or ()), identity)


@router.get("/studies/{study_instance_uid}/change/{deed}", dependencies=[Depends(looking_reader)])
def ask(request: Request, study_instance_uid: str, deed: Deed, site: OpenedSite, carer: Carer) -> Response:
    """Show the study and ask what is to become of it."""
    return _form(request, site, study_instance_uid, deed)


@router.post("/studies/{study_instance_uid}/change/{deed}")
def do(
    request: Request,
    study_instance_uid: str,
    deed: Deed,
    site: OpenedSite,
    carer: Carer,
    form: Annotated[Filled, Depends(filled)],
    csrf: Annotated[str, Form()] = "",
    shown: Annotated[str, Form()] = "",
) -> Response:
    """Do it and go back to the study; say on the form what is missing, or that what it showed has changed since."""
    require_own_form(request, csrf)
    try:
        by = carer if site.login_required else stated("name", form.by)
        with site.writing.begin() as session:
            existing_study(session, study_instance_uid)  # locked, so that what is compared stays so
            if shown != _shown(_detail(site, study_instance_uid), deed):
                raise Outdated("the study has changed since this form was opened; look at what it says now")
            _do(session, study_instance_uid, deed, form, by, site)
    except UnknownStudy:
        raise
    except (WorkerError, StoreError) as error:
        return _form(request, site, study_instance_uid, deed, problem=str(error))
    return RedirectResponse(f"/studies/{study_instance_uid}", status_code=303)


def _do(session: Session, uid: str, deed: Deed, form: Filled, by: str, site: Site) -> None:
    match deed:
        case Deed.OVERRIDE:
            override_priority(session, uid, _chosen(form), reason=form.reason, by=by)
        case Deed.CORRECT:
            identity = _changed(_detail(site, uid), form.identity)
            correct_study(session, uid, identity, reason=form.reason, by=by, settings=site.settings)
        case Deed.RETRACT:
            title = form.because.note_title
            retract_study(session, uid, reason=form.reason, by=by, settings=site.settings, title=title)
        case Deed.REJECT:
            title = form.because.note_title
            run = reject_by_hand(
                session, uid, _images(form), title=title, reason=form.reason, by=by, settings=site.settings
            )
            if run is not None:
                leave_to_sweeper(session, uid, run.run_number)
        case Deed.RESEND:
            resend_study(session, uid, _destinations(form), by, site.settings, stated("reason", form.reason))


class Outdated(WorkerError):
    """The form was filled in before what it shows changed."""


class Incomplete(WorkerError):
    """The form lacks what it is about."""


def _chosen(form: Filled) -> Priority:
    if form.priority is None:
        raise Incomplete("choose a priority")
    return form.priority


def _images(form: Filled) -> tuple[str, ...]:
    if not form.images:
        raise Incomplete("choose at least one image")
    return form.images


def _destinations(form: Filled) -> tuple[str, ...]:
    if not form.destinations:
        raise Incomplete("choose at least one destination")
    return form.destinations


def _changed(detail: StudyDetail, identity: Identity) -> Identity:
    """Return only what differs from what the study says: the form comes filled in."""
    wanted = {field.name: getattr(identity, field.name) for field in fields(identity)}
    return Identity(**{name: value for name, value in wanted.items() if value != _current(detail)[name]})


def _current(detail: StudyDetail) -> dict[str, str]:
    return {
        "patient_id": detail.line.patient_id,
        "issuer_of_patient_id": detail.issuer_of_patient_id,
        "patient_name": detail.patient_name_as_received,
        "patient_birth_date": detail.patient_birth_date,
        "patient_sex": detail.line.patient_sex,
        "accession_number": detail.line.accession_number,
    }


def _shown(detail: StudyDetail, deed: Deed) -> str:
    """Return what a form rests on: the level that is set anew, a digest of the identity that comes filled in."""
    if deed is Deed.OVERRIDE:
        return detail.line.priority or ""
    if deed is Deed.CORRECT:
        return hashlib.sha256(json.dumps(_current(detail)).encode()).hexdigest()
    return ""


def _form(request: Request, site: Site, uid: str, deed: Deed, problem: str = "") -> Response:
    detail = _detail(site, uid)
    return page(
        request,
        "correction.html",
        409 if problem else 200,
        detail=detail,
        line=detail.line,
        deed=deed.value,
        current=_current(detail),
        shown=_shown(detail, deed),
        priorities=list(Priority),
        grounds=list(Grounds),
        destinations=site.settings.destination_names,
        problem=problem,
    )


def _detail(site: Site, uid: str) -> StudyDetail:
    with site.reading() as session:
        detail = study_detail(session, uid, database_now(session), site.upper_wait)
    if detail is None:
        raise UnknownStudy(uid)
    return detail
