"""The worklist: its groups, or the studies that a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from model.labels import LABELS
from worker.rows.database import database_now
from worker.rows.states import Priority, StudyState
from worker.views.studies import Group
from worker.views.study_search import Search, SearchOrder, SearchRefused, find_studies, known_sources
from worker.views.worklist_groups import read_worklist
from worklist.live import change_mark
from worklist.login import reader_of
from worklist.render import page
from worklist.sections import ORDER_TEXTS
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)
Reader = Annotated[str, Depends(reader_of)]
OpenedSite = Annotated[Site, Depends(site_of)]
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Asked:
    """The search form as it was filled in; unknown choices are as good as none."""

    q: str
    group: str
    priority: str
    finding: str
    source: str
    state: str
    since: str
    until: str
    order: str
    after: str

    def search(self, time_zone: ZoneInfo) -> Search:
        """Return what it asks for; the days are those of the site's time zone, both included."""
        since, until = _day(self.since, time_zone), _day(self.until, time_zone)
        return Search(
            text=self.q,
            group=Group(self.group) if self.group in list(Group) else None,
            priority=self.priority if self.priority in list(Priority) else "",
            finding=self.finding if self.finding in LABELS else "",
            source=self.source,
            state=self.state if self.state in list(StudyState) else "",
            since=since,
            until=until + timedelta(days=1) if until else None,
            order=SearchOrder(self.order) if self.order in list(SearchOrder) else SearchOrder.NEWEST,
            after=self.after,
        )

    def query(self, **changed: str) -> str:
        """Return the address of the same search with some fields changed; without them it starts at its first page."""
        wanted = {**vars(self), "after": "", **changed}
        filled = {name: value for name, value in wanted.items() if value}
        return f"/?{urlencode(filled)}" if filled else "/"


def asked(
    q: Annotated[str, Query(max_length=LONGEST_TEXT)] = "",
    group: str = "",
    priority: str = "",
    finding: str = "",
    source: Annotated[str, Query(max_length=LONGEST_TEXT)] = "",
    state: str = "",
    since: str = "",
    until: str = "",
    order: str = "",
    after: str = "",
) -> Asked:
    """Read the form; a FastAPI dependency."""
    return Asked(q.strip(), group, priority, finding, source, state, since, until, order, after)


@router.get("/")
def list_page(request: Request, site: OpenedSite, reader: Reader, form: Annotated[Asked, Depends(asked)]) -> Response:
    """The worklist."""
    with site.reading() as session:
        sources = known_sources(session)
    return page(request, "list.html", sources=sources, **_shown(site, form))


@router.get("/partial/worklist")
def list_partial(
    request: Request, site: OpenedSite, reader: Reader, form: Annotated[Asked, Depends(asked)]
) -> Response:
    """The changing part of the worklist, fetched by the page whenever something has changed."""
    return page(request, "list_body.html", **_shown(site, form))


def _shown(site: Site, form: Asked) -> dict[str, Any]:
    choices: dict[str, Any] = {
        "asked": form, "labels": LABELS, "priorities": list(Priority), "orders": ORDER_TEXTS,
        "problem": "", "found": None, "worklist": None,
    }  # fmt: skip
    search = form.search(ZoneInfo(site.settings.time_zone))
    with site.reading() as session:
        choices["mark"] = change_mark(session)
        now = choices["now"] = database_now(session)
        if not search.narrows:
            return choices | {"worklist": read_worklist(session, now, site.upper_wait)}
        try:
            return choices | {"found": find_studies(session, search, now, site.upper_wait)}
        except SearchRefused as error:
            return choices | {"problem": str(error)}


def _day(text: str, time_zone: ZoneInfo) -> datetime | None:
    """Return the start of a day written as a browser sends it (``2026-03-02``); None where it is none."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=time_zone)
    except ValueError:
        return None
    return day if MINYEAR < day.year < MAXYEAR else None  # at its ends the calendar has no day before or after
