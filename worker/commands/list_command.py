"""``list``: the rows of the admin API in the terminal, as a table, JSON or CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.orm import Session

from worker.commands.at_hand import opened, print_json
from worker.commands.listed_rows import listed_rows
from worker.commands.options import TIME_FORM, TIME_FORMATS, ConfigOption, JsonOption
from worker.settings.config import load_settings
from worker.views.listing_pages import (
    MAXIMUM_ROWS,
    ListingRefused,
    Page,
    Wanted,
    csv_of,
    parse_filter,
    read_page,
    require_filters,
)
from worker.views.listings import LISTINGS, Listing

_FILTERS = "; ".join(f"{name}: {', '.join(listing.filters)}" for name, listing in LISTINGS.items())


def list_rows(
    name: Annotated[str, typer.Argument(metavar="WHAT", help=f"One of {', '.join(LISTINGS)}.")],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="NAME=VALUE", help=f"Only these rows; may be repeated. Names of {_FILTERS}."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            metavar=TIME_FORM, formats=TIME_FORMATS, help="Only rows of this UTC time or later; all have one time."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar=TIME_FORM, formats=TIME_FORMATS, help="Only rows before this UTC time.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest rows first. Default: the oldest.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAXIMUM_ROWS, help="Rows of one page.")] = 100,
    after: Annotated[
        str | None, typer.Option(metavar="NEXT", help="Go on behind an earlier page: the `next` it ended with.")
    ] = None,
    all_pages: Annotated[bool, typer.Option("--all", help="All pages, not only one.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV with a header to standard output.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Rows for programs and spreadsheets, the same as the admin API gives: each once, whatever is written meanwhile.

    For the worklist in reading order use `studies`. docs/api.md describes every column.
    """
    if as_csv and json_output:
        raise typer.BadParameter("choose one of --csv and --json")
    chosen = LISTINGS.get(name)
    if chosen is None:
        raise typer.BadParameter(f"there is no list of {name}; there are {', '.join(LISTINGS)}", param_hint="WHAT")
    with _said_of("--where"):
        filters = dict(parse_filter(chosen, text) for text in where or ())
        require_filters(chosen, filters)
    wanted = Wanted(filters, _utc(since), _utc(until), after, limit, newest)
    with _said_of("--after"), opened(load_settings(config)) as session:
        pages = _pages(session, chosen, wanted) if all_pages else iter([read_page(session, chosen, wanted)])
        _write(chosen, pages, as_csv=as_csv, as_json=json_output)


@contextmanager
def _said_of(option: str) -> Iterator[None]:
    """Say of this option what the listing refuses."""
    try:
        yield
    except ListingRefused as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _pages(session: Session, listing: Listing, wanted: Wanted) -> Iterator[Page]:
    page = read_page(session, listing, wanted)
    yield page
    while page.next is not None:
        page = read_page(session, listing, replace(wanted, after=page.next))
        yield page


def _write(listing: Listing, pages: Iterator[Page], *, as_csv: bool, as_json: bool) -> None:
    if as_csv:
        following = None
        for number, page in enumerate(pages):
            sys.stdout.write(csv_of(listing, page.rows, header=number == 0))
            following = page.next
        _point_on(following, Console(stderr=True))  # beside the rows, which go into a file
        return
    read = list(pages)
    rows = [row for page in read for row in page.rows]
    if as_json:
        print_json({"rows": rows, "next": read[-1].next})
        return
    Console().print(listed_rows(listing, rows))
    _point_on(read[-1].next, Console())


def _point_on(following: str | None, console: Console) -> None:
    """Say how to read on where the rows end before the last one."""
    if following is not None:
        console.print(f"There are more: --after {following}, or --all", highlight=False, soft_wrap=True)
