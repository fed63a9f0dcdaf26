"""Reading a listing page by page, and its rows as JSON values or as CSV that a spreadsheet runs nothing from."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, select, tuple_
from sqlalchemy.orm import Session

from worker.foundation.errors import WorkerError
from worker.views.listings import Listing
from worker.views.rendering import inert

MAXIMUM_ROWS = 1000
"""Of one page."""


class ListingRefused(WorkerError):
    """The listing cannot be read as asked; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """Which rows of a listing."""

    filters: Mapping[str, Any] = field(default_factory=dict)
    """By name, as in the listing; values of the filter's kind."""
    since: datetime | None = None
    """At or after, aware UTC."""
    until: datetime | None = None
    """Before, aware UTC."""
    after: str | None = None
    """Where the page before ended (`Page.next`)."""
    limit: int = 100
    newest_first: bool = False
    patients: bool = True
    """False leaves the columns empty that identify a patient, and refuses filters that would tell."""


@dataclass(frozen=True)
class Page:
    """Some rows, and where to go on; ``next`` is None on the last page."""

    rows: tuple[dict[str, Any], ...]
    next: str | None


def read_page(session: Session, listing: Listing, wanted: Wanted) -> Page:
    """Return the next rows in the order of the listing's key.

    Raises
    ------
    ListingRefused
        A filter does not exist or would tell a patient who must not be seen, ``after`` is not from this listing, or
        ``limit`` is out of range.
    """
    if not 1 <= wanted.limit <= MAXIMUM_ROWS:
        raise ListingRefused(f"limit must be 1 to {MAXIMUM_ROWS}, not {wanted.limit}")
    statement = _ordered(_narrowed(_selected(listing, wanted), listing, wanted), listing, wanted)
    found = [dict(row) for row in session.execute(statement.limit(wanted.limit + 1)).mappings()]
    rows = tuple(found[: wanted.limit])
    more = len(found) > wanted.limit
    return Page(tuple(_plain(row) for row in rows), _cursor(listing, rows[-1]) if more else None)


def parse_filter(listing: Listing, text: str) -> tuple[str, Any]:
    """Return name and value of a filter written as ``name=value``.

    Raises
    ------
    ListingRefused
        It is not written so, or the value is not of its kind.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ListingRefused(f"write a filter as name=value, not {text!r}; known are {', '.join(listing.filters)}")
    if name in listing.filters and listing.filters[name].kind is bool:
        if value not in ("true", "false"):
            raise ListingRefused(f"{name} is true or false, not {value!r}")
        return name, value == "true"
    if name in listing.filters and (known := listing.filters[name].values) and value not in known:
        raise ListingRefused(f"{name} is one of {', '.join(known)}, not {value!r}")
    return name, value


def require_filters(listing: Listing, names: Iterable[str]) -> None:
    """Refuse names that are no filters of the listing.

    Raises
    ------
    ListingRefused
        One is not.
    """
    for name in names:
        if name not in listing.filters:
            known = ", ".join(listing.filters)
            raise ListingRefused(f"{listing.name} cannot be narrowed by {name}; known are {known}")


def csv_of(listing: Listing, rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return rows as CSV; cells that a spreadsheet would run as a formula get a leading ``'``."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow(listing.columns)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in listing.columns])
    return stream.getvalue()


def _selected(listing: Listing, wanted: Wanted) -> Select[Any]:
    columns = [
        (literal(None) if column.patient and not wanted.patients else column.expression).label(name)
        for name, column in listing.columns.items()
    ]
    return select(*columns).select_from(listing.source)


def _narrowed(statement: Select[Any], listing: Listing, wanted: Wanted) -> Select[Any]:
    require_filters(listing, wanted.filters)
    for name, value in wanted.filters.items():
        if listing.filters[name].patient and not wanted.patients:
            raise ListingRefused(f"{listing.name} cannot be narrowed by {name} with a token that shows no patients")
        statement = statement.where(listing.filters[name].condition(value))
    time = listing.expression(listing.time)
    if wanted.since is not None:
        statement = statement.where(time >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(time < wanted.until)
    return statement


def _ordered(statement: Select[Any], listing: Listing, wanted: Wanted) -> Select[Any]:
    key = [listing.expression(name) for name in listing.key]
    statement = statement.order_by(*(part.desc() if wanted.newest_first else part.asc() for part in key))
    if wanted.after is None:
        return statement
    last = tuple_(
        *(literal(value, part.type) for value, part in zip(_position(listing, wanted.after), key, strict=True))
    )
    here: Any = tuple_(*key)
    beyond: ColumnElement[bool] = here < last if wanted.newest_first else here > last
    return statement.where(beyond)


def _cursor(listing: Listing, row: Mapping[str, Any]) -> str:
    values = [_plain_value(row[name]) for name in listing.key]
    return base64.urlsafe_b64encode(json.dumps([listing.name, *values]).encode()).decode().rstrip("=")


def _position(listing: Listing, after: str) -> list[Any]:
    try:
        name, *values = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        kinds = [listing.expression(part).type.python_type for part in listing.key]
        if name != listing.name or len(values) != len(kinds):
            raise ValueError(name)
        return [_typed(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ListingRefused("`after` is not the `next` of an earlier page of this listing") from error


def _typed(value: Any, kind: type) -> Any:
    if issubclass(kind, datetime):
        return datetime.fromisoformat(value).astimezone(UTC)
    if not isinstance(value, kind):
        raise TypeError(kind)
    return value


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date, too


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return str(value)
    return inert(str(value))
