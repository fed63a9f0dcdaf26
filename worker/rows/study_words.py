"""The words by which a study is found, kept in step with its row.

A search asks what words begin with (``muell`` finds ``MUELLER^ANNA``, ``pid-00`` finds ``PID-0042``), which an index
answers at once however many studies there are; a search for parts within words would read every row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, delete, event, inspect
from sqlalchemy.orm import Mapper

from worker.rows.fixed_statement import FixedInsert, FixedStatement
from worker.rows.study_tables import Study, StudyWord

LONGEST_WORD = 64
MOST_WORDS = 40
"""Of one study; names as they come over the wire can be anything."""
SEARCHED = ("patient_name", "patient_id", "accession_number")
_WORDS = cast(Table, StudyWord.__table__)
_FORGET = FixedStatement(delete(_WORDS).where(_WORDS.c.study_instance_uid == bindparam("study")))
_KEEP = FixedInsert(_WORDS)
_BETWEEN_WORDS = re.compile(r"[\s^=,;\\]+")


def folded(text: str) -> str:
    """Return the text without case and accents, as words are kept and searched."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part) and part.isprintable())


def words_of(*texts: str) -> tuple[str, ...]:
    """Return the words of these texts, each once; a word with a hyphen also by its parts."""
    words: dict[str, None] = {}
    for whole in (piece for text in texts for piece in _BETWEEN_WORDS.split(folded(text))):
        for word in (whole, *whole.split("-")):
            if word:
                words[word[:LONGEST_WORD]] = None
    return tuple(words)[:MOST_WORDS]


def keep_words(connection: Connection, study_instance_uid: str, texts: Iterable[str]) -> None:
    """Write the words of a study anew."""
    _FORGET.execute(connection, {"study": study_instance_uid})
    for word in words_of(*texts):
        _KEEP.execute(connection, {"study_instance_uid": study_instance_uid, "word": word})


@event.listens_for(Study, "after_insert")
def _after_insert(mapper: Mapper[Any], connection: Connection, study: Study) -> None:
    keep_words(connection, study.study_instance_uid, (getattr(study, name) or "" for name in SEARCHED))


@event.listens_for(Study, "after_update")
def _after_update(mapper: Mapper[Any], connection: Connection, study: Study) -> None:
    if any(inspect(study).attrs[name].history.has_changes() for name in SEARCHED):
        keep_words(connection, study.study_instance_uid, (getattr(study, name) or "" for name in SEARCHED))
