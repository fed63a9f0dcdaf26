"""SQLite alone, for files whose tests need not be tried on PostgreSQL, too: import the fixture, and say there why."""

from __future__ import annotations

import pytest


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """URL of a fresh migrated SQLite database, in place of one of each kind."""
    return sqlite_url
