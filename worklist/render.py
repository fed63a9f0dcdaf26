"""Templates and what every page shows: product, notices, who is logged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates

from dicom_io.data_sets.patient_age import dicom_date
from dicom_io.foundation.product import VERSION
from dicom_io.results.reporting import NO_MEDICAL_DEVICE
from worker.runs.policy import percent
from worker.views.presentation import (
    bytes_text,
    duration_text,
    finding_text,
    other_spellings,
    percent_text,
    seconds_text,
)
from worker.views.studies import why
from worklist.login import csrf_token, is_administrator
from worklist.sections import DELIVERY_TEXTS, SECTIONS, STAGE_TEXTS, STATE_TEXTS
from worklist.site import site_of

TEMPLATES = Jinja2Templates(directory=Path(__file__).resolve().parent / "templates")
TEMPLATES.env.filters.update(
    duration=duration_text,
    seconds=seconds_text,
    percent=percent_text,
    threshold=percent,
    finding=finding_text,
    size=bytes_text,
    texts=lambda value: (value, value),
    labelled=lambda value: (value, finding_text(value)),
    other_spellings=other_spellings,
    dicom_date=lambda value: dicom_date(value) or value,
)
TEMPLATES.env.globals.update(
    sections=SECTIONS,
    state_texts=STATE_TEXTS,
    delivery_texts=DELIVERY_TEXTS,
    stage_texts=STAGE_TEXTS,
    why=why,
    product_version=VERSION,
    no_medical_device=NO_MEDICAL_DEVICE,
)


def page(request: Request, template: str, status_code: int = 200, **values: Any) -> Response:
    """Return a template filled in, with what all pages need."""
    site = site_of(request)
    common = {
        "site": site,
        "csrf": csrf_token(request),
        "administrator": is_administrator(request),
        "reader": request.session.get("reader") if site.login_required else None,
    }
    return TEMPLATES.TemplateResponse(request, template, common | values, status_code=status_code)


def message_page(request: Request, status_code: int, message: str) -> Response:
    """Return a page that says one sentence; used for errors, so it asks the database nothing."""
    return page(request, "message.html", status_code, message=message, code=status_code)
