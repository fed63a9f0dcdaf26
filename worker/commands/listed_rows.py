"""Rows of a listing in the terminal: each in a few lines, for a table of nine columns cuts words in two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from worker.views.listings import Listing
from worker.views.rendering import plain

_UID = "_instance_uid"


def listed_rows(listing: Listing, rows: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Return the brief columns of each row: the first, the others by name, and UIDs in lines of their own to copy."""
    title = Text(f"{listing.title}. Times are UTC.", style="italic")
    return Stack(title, *(part for row in rows for part in _row(listing, row)))


def _row(listing: Listing, row: Mapping[str, Any]) -> Iterator[RenderableType]:
    key, *others = (name for name in listing.brief if not name.endswith(_UID))
    facts = Text("; ").join(
        Text.assemble((f"{name.replace('_', ' ')} ", "dim"), text)
        for name in others
        if (text := _text(listing, name, row[name]))
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text(_text(listing, key, row[key]), style="bold"), facts)
    yield grid
    for name in listing.brief:
        if name.endswith(_UID) and row[name]:
            yield Text.assemble((f"  {name.removesuffix(_UID).replace('_', ' ')} ", "dim"), plain(row[name]))


def _text(listing: Listing, name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if issubclass(listing.columns[name].expression.type.python_type, datetime):
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S}"
    return plain(str(value))
