"""On SQLite one transaction writes at a time, and an image that arrives waits for it: what only looks begins none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from peers import StandInPacs
from sqlalchemy import event

from worker.rows.database import open_engine, session_factory
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import Settings

LOOKS, WRITES = "BEGIN", "BEGIN IMMEDIATE"


@pytest.fixture
def begun() -> list[str]:
    """How each transaction began, in turn."""
    return []


@pytest.fixture
def bench(
    sqlite_url: str, make_settings: Callable[..., Settings], pacs: StandInPacs, tmp_path: Path, begun: list[str]
) -> Iterator[Bench]:
    def note(statement: str) -> None:
        if statement.startswith("BEGIN"):
            begun.append(statement)

    engine = open_engine(sqlite_url)
    event.listen(engine, "connect", lambda connection, _record: connection.set_trace_callback(note))
    write_test_bundle(tmp_path / "bundle")
    archive = pacs.destination
    settings = make_settings(
        bundles={"default": tmp_path / "bundle"},
        destinations=[archive],
        lease_seconds=4000,  # a renewal writes
        lease_renewal_seconds=2000,
    )
    yield Bench(settings, session_factory(engine))
    engine.dispose()


def test_a_run_writes_when_it_claims_and_when_it_ends(bench: Bench, begun: list[str]) -> None:
    uid = bench.receive(chest_radiograph())
    begun.clear()
    assert triage(uid, bench.workplace)
    assert begun == [WRITES, LOOKS, LOOKS, WRITES]  # between: the images, and what the report follows


def test_a_delivery_writes_when_it_takes_offers_and_notes(bench: Bench, begun: list[str], pacs: StandInPacs) -> None:
    study = bench.triage(chest_radiograph())
    begun.clear()
    deliver(study.study_instance_uid, bench.office)
    assert pacs.stored
    assert begun == [LOOKS, WRITES, LOOKS, WRITES, WRITES]  # looked for: what is due, and whose study it is


def test_where_nothing_is_due_a_delivery_writes_nothing(bench: Bench, begun: list[str]) -> None:
    study = bench.triage(chest_radiograph())
    deliver(study.study_instance_uid, bench.office)
    begun.clear()
    deliver(study.study_instance_uid, bench.office)
    assert begun == [LOOKS]
