"""Finding studies among very many: filters, four orders, and page after page without counting from the start.

A page goes on where the one before ended (keyset paging), so that page 2,000 is as fast as page 1 and a study that
arrives meanwhile moves no other out of sight.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.foundation.errors import WorkerError
from worker.rows.run_tables import Prediction
from worker.rows.study_tables import Study, StudyWord
from worker.rows.study_words import LONGEST_WORD, folded
from worker.views.group_conditions import condition
from worker.views.studies import BY_LEVEL, Group, StudyLine, level_place, says_its_priority, study_lines

PAGE_SIZE = 50
MOST_COUNTED = 1000
"""A search that finds more says "more than 1000"; counting them all would cost more than showing them."""
MOST_WORDS = 8
_AFTER_ANY_WORD = "\U0010ffff"


class SearchRefused(WorkerError):
    """The search cannot be made as asked; the message says why."""


class SearchOrder(StrEnum):
    """In which order the studies found are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PATIENT = "patient"
    URGENCY = "urgency"
    """The most urgent first, of those that nobody has read."""


@dataclass(frozen=True)
class Search:
    """Which studies; empty fields let everything through."""

    text: str = ""
    """Beginnings of words of patient name, Patient ID and accession number, all of them; or a whole study UID."""
    group: Group | None = None
    priority: str = ""
    finding: str = ""
    """A finding that the current run flagged."""
    source: str = ""
    """Calling AE title."""
    state: str = ""
    since: datetime | None = None
    """First image received at or after this moment, aware UTC."""
    until: datetime | None = None
    """First image received before this moment, aware UTC."""
    order: SearchOrder = SearchOrder.NEWEST
    after: str = ""
    """Where the page before ended (`Found.next`)."""

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for at all."""
        return self != Search()


@dataclass(frozen=True)
class Found:
    """One page of studies; ``next`` is empty on the last, ``total`` None beyond 1000."""

    lines: tuple[StudyLine, ...]
    total: int | None
    next: str


_Columns = tuple[tuple[ColumnElement[Any] | InstrumentedAttribute[Any], bool], ...]
_UID = Study.study_instance_uid
_ORDERS: dict[SearchOrder, _Columns] = {
    SearchOrder.NEWEST: ((Study.first_received_at, True), (_UID, True)),
    SearchOrder.OLDEST: ((Study.first_received_at, False), (_UID, False)),
    SearchOrder.PATIENT: ((Study.patient_name, False), (_UID, False)),
    SearchOrder.URGENCY: (
        (BY_LEVEL, False),
        (-Study.priority_rank, False),
        (Study.first_received_at, False),
        (_UID, False),
    ),
}


def find_studies(session: Session, search: Search, now: datetime, upper_wait: timedelta) -> Found:
    """Return a page of the studies that the search lets through.

    Raises
    ------
    SearchRefused
        ``after`` is not from an earlier page of the same order.
    """
    narrowed = _narrowed(select(Study), search, now, upper_wait)
    key = _ORDERS[search.order]
    statement = narrowed.order_by(*(column.desc() if falls else column.asc() for column, falls in key))
    if search.after:
        last = tuple_(*(literal(value, column.type) for value, (column, _) in zip(_last(search), key, strict=True)))
        here: Any = tuple_(*(column for column, _ in key))
        beyond: ColumnElement[bool] = here < last if key[0][1] else here > last
        statement = statement.where(beyond)
    studies = session.scalars(statement.limit(PAGE_SIZE + 1)).all()
    shown = studies[:PAGE_SIZE]
    counted = select(func.count()).select_from(
        _narrowed(select(_UID), search, now, upper_wait).limit(MOST_COUNTED + 1).subquery()
    )
    total = session.scalar(counted) or 0
    return Found(
        tuple(study_lines(session, shown, now, upper_wait)),
        total if total <= MOST_COUNTED else None,
        _cursor(search.order, shown[-1]) if len(studies) > PAGE_SIZE else "",
    )


def known_sources(session: Session) -> tuple[str, ...]:
    """Return the AE titles that have sent studies, each found by one step in the index."""
    title = func.min(Study.calling_ae_title)
    found: list[str] = []
    while (following := session.scalar(select(title).where(Study.calling_ae_title > (found or [""])[-1]))) is not None:
        found.append(following)
        if len(found) == MOST_COUNTED:
            break
    return tuple(found)


def _narrowed(statement: Select[Any], search: Search, now: datetime, upper_wait: timedelta) -> Select[Any]:
    wanted: list[ColumnElement[bool]] = []
    if search.group is not None:
        wanted.append(condition(search.group, now, upper_wait))
    if search.order is SearchOrder.URGENCY:
        wanted.append(Study.read_at.is_(None))
    if search.priority:
        wanted += (Study.priority == search.priority, says_its_priority())
    if search.state:
        wanted.append(Study.state == search.state)
    if search.source:
        wanted.append(Study.calling_ae_title == search.source)
    if search.since is not None:
        wanted.append(Study.first_received_at >= search.since)
    if search.until is not None:
        wanted.append(Study.first_received_at < search.until)
    if search.finding:
        flagging = select(Prediction.run_id).where(Prediction.finding == search.finding, Prediction.flagged)
        wanted.append(Study.current_run_id.in_(flagging))
    wanted.extend(_named(search.text))
    return statement.where(*wanted)


def _named(text: str) -> list[ColumnElement[bool]]:
    """Return one condition per word searched for: some word of the study begins with it."""
    words = [word.strip(",;^") for word in folded(text).replace("^", " ").split()]
    words = [word[:LONGEST_WORD] for word in words if word][:MOST_WORDS]
    if len(words) == 1 and words[0].replace(".", "").isdigit() and words[0].count(".") > 1:
        return [_UID.in_(words)]
    return [_UID.in_(_beginning(word)) for word in words]


def _beginning(word: str) -> Select[Any]:
    found = select(StudyWord.study_instance_uid).where(StudyWord.word >= word)
    return found.where(StudyWord.word < word + _AFTER_ANY_WORD)


def _cursor(order: SearchOrder, study: Study) -> str:
    received = study.first_received_at.isoformat()
    values: list[Any] = [received]
    if order is SearchOrder.PATIENT:
        values = [study.patient_name]
    elif order is SearchOrder.URGENCY:
        values = [level_place(study), -study.priority_rank, received]
    return base64.urlsafe_b64encode(json.dumps([order, *values, study.study_instance_uid]).encode()).decode()


def _last(search: Search) -> list[Any]:
    """Return the values of the order's columns where the page before ended."""
    try:
        order, *values, uid = json.loads(base64.urlsafe_b64decode(search.after))
        kinds: dict[SearchOrder, tuple[Any, ...]] = {
            SearchOrder.PATIENT: (str,),
            SearchOrder.URGENCY: (int, float, _moment),
        }
        read: list[Any] = [kind(value) for kind, value in zip(kinds.get(search.order, (_moment,)), values, strict=True)]
        if order != search.order:
            raise ValueError(order)
        return [*read, str(uid)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise SearchRefused("This page of the search no longer exists. Start again from the first page.") from error


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
