"""A Redis that answers and takes nothing (no memory left, read-only): workers stay and go on by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_client
from services import own_redis, started
from sites import LISTEN, SWEEP, TRIAGE, Site, send_study, wait_until

pytestmark = pytest.mark.timeout(300)

REFUSING_SECONDS = 15.0
"""Workers look after unanswered messages, and are refused, every ten seconds."""


@pytest.fixture
def broker_url() -> Iterator[str]:
    """URL of a Redis whose settings may be changed."""
    with ExitStack() as stack:
        yield started(stack, own_redis)


@pytest.fixture
def site(broker_url: str, site_with: Callable[..., Site]) -> Site:
    return site_with(broker_url=broker_url)


def test_everybody_outlives_a_broker_without_memory(site: Site, broker_url: str, tmp_path: Path) -> None:
    processes = [site.start(TRIAGE), site.start(SWEEP), site.start_listening(LISTEN)]
    site.wait_for_state(send_study(site, tmp_path), "triaged")
    with redis_client.Redis.from_url(broker_url) as server:
        server.config_set("maxmemory", "1")  # with noeviction, which is its default: it refuses what takes memory
        study_instance_uid = send_study(site, tmp_path)
        with pytest.raises(TimeoutError):
            wait_until(lambda: any(process.poll() is not None for process in processes), "one ends", REFUSING_SECONDS)
        server.config_set("maxmemory", "0")
    site.wait_for_state(study_instance_uid, "triaged")
    assert "a step of the sweeper failed" not in site.log()
