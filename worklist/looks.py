"""Notes who looks at a study; after the answer has gone out, so that nobody waits for it."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import BackgroundTasks, Depends
from sqlalchemy.exc import OperationalError

from worker.care.looking import has_listed, has_looked, note_listing, note_look
from worklist.login import reader_of
from worklist.site import Site, site_of

logger = logging.getLogger(__name__)


def looking_reader(
    study_instance_uid: str,
    tasks: BackgroundTasks,
    site: Annotated[Site, Depends(site_of)],
    reader: Annotated[str, Depends(reader_of)],
) -> str:
    """Return who looks at this study and have it noted; a FastAPI dependency of everything that shows one study."""
    tasks.add_task(_note_look, site, study_instance_uid, reader)
    return reader


def _note_look(site: Site, study_instance_uid: str, reader: str) -> None:
    try:
        with site.reading() as session:
            if has_looked(session, study_instance_uid, reader):
                return
        with site.writing.begin() as session:
            note_look(session, study_instance_uid, reader)
    except OperationalError as error:  # whoever needs the picture now gets it all the same
        logger.warning("study=%s: who looked at it was not noted (%s)", study_instance_uid, type(error.orig).__name__)


def note_listed(site: Site, listing: str, reader: str) -> None:
    """Note that somebody fetched a listing with patients in it."""
    try:
        with site.reading() as session:
            if has_listed(session, listing, reader):
                return
        with site.writing.begin() as session:
            note_listing(session, listing, reader)
    except OperationalError as error:
        logger.warning("who fetched the %s was not noted (%s)", listing, type(error.orig).__name__)
