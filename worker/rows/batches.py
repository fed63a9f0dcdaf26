"""Many values for a few conditions: a statement takes a limited number of parameters (PostgreSQL 65,535)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

BATCH_VALUES = 500

Value = TypeVar("Value")


def in_batches(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield the values in their order, ``BATCH_VALUES`` at most at a time."""
    return (values[start : start + BATCH_VALUES] for start in range(0, len(values), BATCH_VALUES))
