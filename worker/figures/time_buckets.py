"""Counting by hour and by day on the database's side, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import InstrumentedAttribute, Session

_HOUR, _DAY = "%Y-%m-%d %H", "%Y-%m-%d"


def hour_of(session: Session, time: InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """Return the UTC hour of a time as text; `bucket_start` reads it."""
    if session.get_bind().dialect.name == "sqlite":
        return func.strftime(_HOUR, time)
    return func.to_char(func.timezone("UTC", time), "YYYY-MM-DD HH24")


def day_of(session: Session, time: InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """Return the UTC day of a time as text; `bucket_start` reads it."""
    if session.get_bind().dialect.name == "sqlite":
        return func.strftime(_DAY, time)
    return func.to_char(func.timezone("UTC", time), "YYYY-MM-DD")


def bucket_start(text: str) -> datetime:
    """Return the aware UTC start of an hour or a day as `hour_of` and `day_of` write it."""
    return datetime.strptime(text, _HOUR if " " in text else _DAY).replace(tzinfo=UTC)
