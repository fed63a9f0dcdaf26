"""What commands about rows share: the open database, the study that is meant, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text
from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.care.administration import UnknownStudy
from worker.foundation.errors import WorkerError
from worker.rows.database import migrated_engine, session_factory
from worker.rows.study_tables import Study
from worker.settings.config import Settings
from worker.views.rendering import plain


class AmbiguousStudy(WorkerError):
    """Several studies carry this accession number."""

    def __init__(self, accession_number: str, uids: list[str]) -> None:
        super().__init__(f"{len(uids)} studies have accession number {accession_number}; name one: {', '.join(uids)}")


@contextmanager
def opened(settings: Settings, *, read_only: bool = True) -> Iterator[Session]:
    """Open the database for one command; commits a writing session at the end of the block.

    Raises
    ------
    StartError
        The database does not answer or is not migrated.
    """
    with (
        migrated_engine(settings.effective_database_url) as engine,
        session_factory(engine, read_only=read_only).begin() as session,
    ):
        yield session


def print_json(value: Any) -> None:
    """Write a value as indented JSON to standard output."""
    unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    json.dump(value, sys.stdout, indent=2, ensure_ascii=not unicode)
    sys.stdout.write("\n")


def say(sentence: str, *, aside: bool = False) -> None:
    """Write a sentence in one line to standard output, or beside it to standard error; nothing in it is markup."""
    Console(stderr=aside).print(Text(plain(sentence)), highlight=False, soft_wrap=True)


def resolve_study(session: Session, text: str) -> str:
    """Return the Study Instance UID meant by a UID or an accession number.

    Raises
    ------
    UnknownStudy, AmbiguousStudy
        No study, or several.
    """
    if session.get(Study, text) is not None:
        return text
    uids = list(session.scalars(select(Study.study_instance_uid).where(Study.accession_number == text).limit(10)))
    if text == "" or not uids:
        raise UnknownStudy(text)
    if len(uids) > 1:
        raise AmbiguousStudy(text, uids)
    return uids[0]
