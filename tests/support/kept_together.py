"""Test files that need the same costly thing, which is made once in each process: one process is given all of them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = (
    # a server of forks that has loaded PyTorch (`forked_members`)
    ("test_training_pipeline", "test_parallel", "test_head_sweep", "test_head_features"),
    # the published lists of 112,120 pictures (`published_lists`)
    ("test_chestxray14", "test_head_split", "test_adjudicated", "test_audit"),
)


class Together(LoadFileScheduling):
    """``--dist loadfile`` with some files taken for one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((group[0] for group in TOGETHER if PurePosixPath(file).stem in group), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together | None:
    """Schedule as ``--dist loadfile`` asks."""
    return Together(config, log) if config.getvalue("dist") == "loadfile" else None
