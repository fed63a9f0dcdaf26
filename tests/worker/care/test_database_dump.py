"""The copy of the database in a backup: whole, or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from file_limits import files_of_at_most

from worker.care.backup import back_up
from worker.care.database_dump import DumpError
from worker.settings.config import Settings


def test_a_full_disk_under_the_backup_is_told_and_leaves_no_half_copy(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url=sqlite_url)
    with files_of_at_most(100_000), pytest.raises(DumpError, match="cannot copy the database into"):
        back_up(settings, tmp_path / "backup")
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["backup.lock"]
