"""A Redis that answers and takes nothing (no memory left, read-only): workers stay and go on by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_client
from bundles import write_test_bundle
from services import ServiceMissingError, free_port, redis
from sites import LISTEN, QUICK, SWEEP, TRIAGE, Site, send_study, wait_until

from worker.settings.config import Settings

pytestmark = pytest.mark.timeout(300)

REFUSING_SECONDS = 15.0
"""Workers look after unanswered messages, and are refused, every ten seconds."""


@pytest.fixture
def own_redis() -> Iterator[str]:
    """URL of a Redis whose settings may be changed."""
    try:
        with redis() as url:
            yield url
    except ServiceMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def site(make_settings: Callable[..., Settings], sqlite_url: str, own_redis: str, tmp_path: Path) -> Iterator[Site]:
    settings = make_settings(
        database_url=sqlite_url,
        broker_url=own_redis,
        listen_port=free_port(),
        bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
        **QUICK,
    )
    made = Site(settings, tmp_path / "log.txt")
    yield made
    made.stop()


def test_everybody_outlives_a_broker_without_memory(site: Site, own_redis: str, tmp_path: Path) -> None:
    processes = [site.start(TRIAGE), site.start(SWEEP), site.start_listening(LISTEN)]
    site.wait_for_state(send_study(site, tmp_path), "triaged")
    with redis_client.Redis.from_url(own_redis) as server:
        server.config_set("maxmemory", "1")  # with noeviction, which is its default: it refuses what takes memory
        study_instance_uid = send_study(site, tmp_path)
        with pytest.raises(TimeoutError):
            wait_until(lambda: any(process.poll() is not None for process in processes), "one ends", REFUSING_SECONDS)
        server.config_set("maxmemory", "0")
    site.wait_for_state(study_instance_uid, "triaged")
    assert "a step of the sweeper failed" not in site.log()
