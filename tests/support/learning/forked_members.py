"""Processes of a training run without their seconds of imports: forks of one that has loaded PyTorch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

LOADED = ["torch", "training.heads.sweep", "training.heads.extraction"]


@pytest.fixture(scope="module")
def forked_members() -> Iterator[None]:
    """Let what this process would start from nothing (``spawn``) be forks of a server, which it keeps to its end.

    To those who start them and wait for them they are the same. ``test_torchrun.py`` starts a run's processes from
    nothing, and so does what runs as a command of its own.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(LOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", lambda method=None: server)
        yield
