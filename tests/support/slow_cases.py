"""Parameters of which a few run by default and the others, which repeat the proof elsewhere, with ``-m slow``."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import pytest

DATABASES = ("sqlite", "postgresql")


def mostly_slow(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """Return the cases for ``parametrize``, all but ``quick`` marked slow.

    Raises
    ------
    ValueError
        One of ``quick`` is not among the cases: it would run never.
    """
    chosen = list(cases)
    if missing := [case for case in quick if case not in chosen]:
        raise ValueError(f"not among the cases: {missing}")
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in chosen]


def leave_one_database(items: Iterable[pytest.Item]) -> None:
    """Mark one of each pair slow that differs in its database only, where the test is marked ``either_database``.

    The name of the test chooses, so that about half of a file's tests run on each database, and adding one does not
    move another.
    """
    pairs: dict[str, dict[str, pytest.Item]] = {}
    for item in items:
        database = getattr(item, "callspec", None) and item.callspec.params.get("database_url")  # type: ignore[attr-defined]
        if database in DATABASES and item.get_closest_marker("either_database"):
            pairs.setdefault(item.nodeid.replace(database, ""), {})[database] = item
    for name, pair in pairs.items():
        if len(pair) == len(DATABASES):
            pair[DATABASES[zlib.crc32(name.encode()) % 2]].add_marker(pytest.mark.slow)
