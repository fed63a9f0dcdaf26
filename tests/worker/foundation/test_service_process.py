"""A process that dies is started again, however often, and whatever keeps it from starting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from worker.foundation.service_process import LONGEST_RESTART_SECONDS, Service, stop_in_order

ENVIRONMENT = dict(os.environ)
MORE_THAN_THE_SYSTEM_TAKES = ENVIRONMENT | {"HUGE": "x" * (1 << 22)}


@pytest.fixture
def dying() -> Iterator[Service]:
    """A process that has ended by itself."""
    service = Service("dying", ("platform",))
    service.start(ENVIRONMENT)
    assert service.process is not None
    service.process.wait(30)
    yield service
    stop_in_order([service])


def test_the_wait_grows_to_its_limit_and_no_further(dying: Service) -> None:
    """A night of restarts: at the 1025th the doubled wait was more than a float holds."""
    dying.restarts = 2000
    dying.look_after(ENVIRONMENT, ready=True)
    waits = dying.restart_at - time.monotonic()
    assert LONGEST_RESTART_SECONDS - 5 < waits <= LONGEST_RESTART_SECONDS


def test_a_process_that_the_system_cannot_start_is_tried_again(dying: Service) -> None:
    """Where memory or processes are short just now, the others go on."""
    ended = dying.process
    dying.look_after(ENVIRONMENT, ready=True)
    dying.restart_at = time.monotonic()
    dying.look_after(MORE_THAN_THE_SYSTEM_TAKES, ready=True)
    assert dying.process is ended
    assert dying.restart_at > time.monotonic()
    dying.restart_at = time.monotonic()
    dying.look_after(ENVIRONMENT, ready=True)
    assert dying.process is not ended
