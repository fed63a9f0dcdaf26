"""Work given to threads: done once, waited for by anybody, its trouble told to who asks."""

from __future__ import annotations

import os
import threading

import pytest

from dicom_io.foundation.errands import ErrandThreads


def test_an_errand_is_done_by_another_thread_while_its_giver_goes_on() -> None:
    threads, gate, done_by = ErrandThreads(1, "test"), threading.Event(), []

    def act(what: str) -> None:
        gate.wait(10)
        done_by.append((what, threading.current_thread()))

    errands = [threads.begin(act, what) for what in ("first", "second")]
    assert not any(errand.is_done for errand in errands)
    gate.set()
    for errand in errands:
        errand.finish()
    assert [what for what, _ in done_by] == ["first", "second"]
    assert threading.current_thread() not in {thread for _, thread in done_by}
    assert all(errand.is_done for errand in errands)


def test_trouble_is_raised_where_the_errand_is_finished_and_the_thread_goes_on() -> None:
    threads = ErrandThreads(1, "test")

    def fail() -> None:
        raise OSError(5, "the disk refused")

    failing, after = threads.begin(fail), threads.begin(int)
    failing.wait()
    with pytest.raises(OSError, match="the disk refused"):
        failing.finish()
    after.finish()


def test_no_more_threads_are_started_than_allowed_and_those_run_at_once() -> None:
    threads, together = ErrandThreads(3, "test"), threading.Barrier(3, timeout=10)
    before = threading.active_count()
    for errand in [threads.begin(together.wait) for _ in range(9)]:
        errand.finish()
    assert threading.active_count() == before + 3


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    threads = ErrandThreads(1, "test")
    threads.begin(int).finish()
    child = os.fork()
    if child == 0:
        threads.begin(int).finish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
