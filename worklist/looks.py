"""Notes who looks at a study; after the answer has gone out, so that nobody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import BackgroundTasks, Depends
from sqlalchemy.orm import Session

from worker.care.looking import has_listed, has_looked, note_listing, note_look
from worker.rows.database import DATABASE_GONE, outage_words
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
    _note_once(site, has_looked, note_look, study_instance_uid, reader, f"study={study_instance_uid}")


def note_listed(site: Site, listing: str, reader: str) -> None:
    """Note that somebody fetched a listing with patients in it."""
    _note_once(site, has_listed, note_listing, listing, reader, f"listing={listing}")


def _note_once(
    site: Site,
    is_noted: Callable[[Session, str, str], bool],
    note: Callable[[Session, str, str], None],
    what: str,
    reader: str,
    named: str,
) -> None:
    try:
        with site.reading() as session:
            if is_noted(session, what, reader):
                return
        with site.writing.begin() as session:
            note(session, what, reader)
    except DATABASE_GONE as error:  # whoever needs the picture now gets it all the same
        logger.warning("%s: who looked at it was not noted (%s)", named, outage_words(error))
