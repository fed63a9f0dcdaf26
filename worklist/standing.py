"""How a study stands: whether what an open page says of it still holds."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session

from worker.care.administration import UnknownStudy
from worker.rows.study_tables import Study
from worklist.login import csrf_token, reader_of
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False, dependencies=[Depends(reader_of)])
_RELIED_ON = (
    "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex", "accession_number",
    "state", "reason", "current_run_id", "priority", "priority_reason", "historical", "read_at", "read_by",
    "retracted_at", "images_deleted_at",
)  # fmt: skip
"""Columns of a study that a reader goes by: whose it is, what is known of it, what a person decided."""


def standing(session: Session, study_instance_uid: str) -> str:
    """Return a digest of these columns, hexadecimal; another one means that something else is true by now.

    Raises
    ------
    UnknownStudy
        It never came, or was forgotten.
    """
    study = session.get(Study, study_instance_uid)
    if study is None:
        raise UnknownStudy(study_instance_uid)
    said = repr([getattr(study, name) for name in _RELIED_ON])
    return hashlib.sha256(said.encode()).hexdigest()


@router.get("/partial/studies/{study_instance_uid}/standing")
def standing_now(request: Request, study_instance_uid: str, site: Annotated[Site, Depends(site_of)]) -> dict[str, str]:
    """The digest as of now, for a page that compares it with its own, and what its forms carry after a new login."""
    with site.reading() as session:
        return {"standing": standing(session, study_instance_uid), "csrf": csrf_token(request)}
