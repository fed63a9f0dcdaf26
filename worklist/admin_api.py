"""The admin API: every listing as JSON or CSV, page by page, for people who are logged in and programs with a token.

Routes, parameters and answers, in OpenAPI too, follow from ``worker.views.listings``; only reading is offered.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from worker.views.listing_pages import MAXIMUM_ROWS, ListingRefused, Page, Wanted, csv_of, read_page
from worker.views.listings import LISTINGS, Filter, Listing
from worklist.api_access import ApiReader, api_reader
from worklist.looks import note_listed
from worklist.site import Site, site_of

router = APIRouter(prefix="/api/v1", tags=["admin"])
OpenedSite = Annotated[Site, Depends(site_of)]
Reader = Annotated[ApiReader, Depends(api_reader)]


class ListingQuery(BaseModel):
    """The parameters that every listing has."""

    model_config = ConfigDict(extra="forbid")

    since: datetime | None = Field(None, description="only rows of this time or later; without an offset UTC")
    until: datetime | None = Field(None, description="only rows before this time")
    after: str | None = Field(None, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAXIMUM_ROWS, description="rows of one page")
    newest_first: bool = Field(False, description="the newest rows first")
    format: Literal["json", "csv"] = Field("json", description="csv: a header and one line per row")

    def wanted(self, patients: bool) -> Wanted:
        """Return the rows that are asked for."""
        shared = set(ListingQuery.model_fields)
        filters = {name: value for name, value in self if name not in shared and value is not None}
        since, until = _utc(self.since), _utc(self.until)
        return Wanted(filters, since, until, self.after, self.limit, self.newest_first, patients)


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _add_route(listing: Listing) -> None:
    query_model, page_model = _query_model(listing), _page_model(listing)

    names_patients = any(column.patient for column in listing.columns.values())

    def read(request: Request, site: OpenedSite, reader: Reader, tasks: BackgroundTasks, query: Any) -> Response:
        _require_one_each(request)
        try:
            with site.reading() as session:
                page = read_page(session, listing, query.wanted(reader.patients))
        except ListingRefused as error:
            raise HTTPException(422, str(error)) from error
        if names_patients and reader.patients:
            tasks.add_task(note_listed, site, listing.name, reader.name)
        return _answer(request, listing, page, query.format)

    read.__annotations__["query"] = Annotated[query_model, Query()]
    router.add_api_route(
        f"/{listing.name}",
        read,
        summary=listing.title,
        operation_id=f"list_{listing.name}",
        response_model=None,
        responses={200: {"model": page_model, "content": {"text/csv": {}}, "description": "One page of rows"}},
    )


def _query_model(listing: Listing) -> type[ListingQuery]:
    filters: dict[str, Any] = {
        name: (_kind_of(each) | None, Field(None, description=each.meaning)) for name, each in listing.filters.items()
    }
    return create_model(f"{listing.name.capitalize()}Query", __base__=ListingQuery, **filters)


def _kind_of(each: Filter) -> Any:
    """Return what a filter takes: where all its values are known another one is a mistake, and no row would fit it."""
    return Literal[tuple(str(value) for value in each.values)] if each.values else each.kind


def _require_one_each(request: Request) -> None:
    """Refuse a parameter that is given twice: one of the two would be left out, and its rows with it."""
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if times > 1:
            raise HTTPException(422, f"Give {name} once.")


def _page_model(listing: Listing) -> type[BaseModel]:
    columns: dict[str, Any] = {
        name: (column.python_type | None, Field(description=column.meaning)) for name, column in listing.columns.items()
    }
    row = create_model(f"{listing.name.capitalize()}Row", **columns)
    fields: dict[str, Any] = {
        "rows": (list[row], Field(description="in the order in which they are kept")),  # type: ignore[valid-type]
        "next": (str | None, Field(description="give it as `after` for the next page; null = this is the last")),
    }
    return create_model(f"{listing.name.capitalize()}Page", **fields)


def _answer(request: Request, listing: Listing, page: Page, wanted_format: str) -> Response:
    headers = {}
    if page.next is not None:
        query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "after"])
        parameters = f"{query}&after={page.next}" if query else f"after={page.next}"
        headers["Link"] = f'<{request.url.path}?{parameters}>; rel="next"'
    if wanted_format == "json":
        return JSONResponse({"rows": page.rows, "next": page.next}, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{listing.name}.csv"'
    return Response(csv_of(listing, page.rows), media_type="text/csv; charset=utf-8", headers=headers)


for _listing in LISTINGS.values():
    _add_route(_listing)
