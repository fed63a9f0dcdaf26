"""Messages that wait as files: what is left half written goes, while others write and read."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from worker.queue.broker import LEFTOVER_AFTER_SECONDS, TAKEN_SUFFIX, UNFINISHED_SUFFIX, remove_leftovers


def test_what_killed_processes_left_goes_and_what_is_under_way_stays(tmp_path: Path) -> None:
    old = time.time() - LEFTOVER_AFTER_SECONDS - 1
    for name in (f"1{UNFINISHED_SUFFIX}", f"2.stat.msg{TAKEN_SUFFIX}", "3.stat.msg"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    (tmp_path / f"4{UNFINISHED_SUFFIX}").touch()
    assert remove_leftovers(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"3.stat.msg", f"4{UNFINISHED_SUFFIX}"}


def test_files_are_as_old_as_the_clock_that_stamped_them_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share's server may be hours behind; a message that is being written now would be lost."""
    (tmp_path / f"1{UNFINISHED_SUFFIX}").touch()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 2 * LEFTOVER_AFTER_SECONDS)
    assert remove_leftovers(tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"1{UNFINISHED_SUFFIX}"]


def test_messages_may_come_and_go_meanwhile(tmp_path: Path) -> None:
    """A message lies under such a name for a moment, so that one is always just gone where much is sent."""
    over = threading.Event()

    def send(number: int) -> None:
        unfinished, message = tmp_path / f"{number}{UNFINISHED_SUFFIX}", tmp_path / f"{number}.stat.msg"
        while not over.is_set():
            unfinished.touch()
            unfinished.replace(message)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    try:
        assert sum(remove_leftovers(tmp_path) for _ in range(300)) == 0
    finally:
        over.set()
        for sender in senders:
            sender.join()
