"""Mutated associations, PDUs, commands and data sets against a real listener: none kills, hangs or feeds it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pdu_mutations
import pytest
from listener_watch import CLEAN_SECONDS, calm_cost, cost_of, honest, stray_files, watched_memory
from pdu_fuzzing import KINDS, PduReport, fuzz
from services import free_port
from sites import LISTEN, QUICK, Site

from worker.settings.config import Settings

WARM_UP = 0.25
"""The share of mutations before the first look at the memory: caches fill, threads leave their arenas behind."""
MOST_GROWTH_BYTES = 48 << 20
UNEXPECTED = re.compile(r"Traceback|Exception in thread|unexpected \w+Error|CRITICAL|[\x00-\x08\x0b-\x1f]")


@pytest.fixture
def site(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    settings = make_settings(database_url=sqlite_url, listen_port=free_port(), **QUICK)
    made = Site(settings, tmp_path / "log.txt")
    yield made
    made.stop()


def attacked(site: Site, folder: Path, seed: int, mutations: int) -> tuple[PduReport, str]:
    """Fuzz a listener of the site with an honest sender beside; require that nothing came of it, return the numbers."""
    listener = site.start_listening(LISTEN)
    address = ("127.0.0.1", site.settings.listen_port)
    sender = honest(site, folder)
    sender.send()
    fuzz(address, seed + 1, int(WARM_UP * mutations))
    before = calm_cost(listener, cost_of(listener))
    with sender.beside(), watched_memory(listener) as memory:
        report = fuzz(address, seed, mutations)
    assert listener.poll() is None, site.log()[-4000:]
    after = calm_cost(listener, before)
    numbers = (
        f"seed {seed}: {report.sent.total()} mutations {dict(report.sent)} in {report.seconds:.0f} s;"
        f" resident {before.resident_bytes >> 20} -> {after.resident_bytes >> 20} MiB, meanwhile {memory},"
        f" threads {before.threads} -> {after.threads}, descriptors {before.descriptors} -> {after.descriptors};"
        f" longest end {report.longest_end_seconds:.1f} s; honest sender {len(sender.durations_seconds)} times,"
        f" longest {max(sender.durations_seconds):.1f} s; outcomes {dict(report.outcomes.most_common())}"
    )
    assert report.hangs == [], numbers
    assert sender.failures == [], numbers
    assert max(sender.durations_seconds) < CLEAN_SECONDS
    assert after.threads <= before.threads + 2 and after.descriptors <= before.descriptors + 4, numbers
    assert after.resident_bytes < before.resident_bytes + MOST_GROWTH_BYTES, numbers
    assert stray_files(site) == []
    assert [line for line in site.log().split("\n") if UNEXPECTED.search(line)] == []
    return report, numbers


@pytest.mark.timeout(120)
def test_some_mutated_messages_do_no_harm(site: Site, tmp_path: Path) -> None:
    report, numbers = attacked(site, tmp_path, seed=1, mutations=320)
    assert set(report.sent) == set(KINDS)
    reached = {"association: accepted", "PDU: aborted", "command: aborted", "data set: status 0000"}
    assert reached <= set(report.outcomes), numbers  # the damage reaches more than the front door


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_many_mutated_messages_do_no_harm(
    site: Site, tmp_path: Path, database: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(request.getfixturevalue(f"{database}_url"))
    site.settings = site.settings.model_copy(update={"database_url": url})
    _, numbers = attacked(site, tmp_path, seed=20_261_126, mutations=50_000 if database == "sqlite" else 10_000)
    with capsys.disabled():
        print(f"\n{database}, {numbers}")


def test_a_message_is_the_same_every_time() -> None:
    for mutate, *_ in KINDS.values():
        drawn = [mutate(random.Random(f"3/{number}")) for number in range(30)]
        assert drawn == [mutate(random.Random(f"3/{number}")) for number in range(30)]
        assert len(set(drawn)) > 20
    assert pdu_mutations.associate_request() == pdu_mutations.associate_request()
