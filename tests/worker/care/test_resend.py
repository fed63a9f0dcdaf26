"""Results sent once more by hand: the same bytes, only what counts, only where asked; commitment is asked for anew."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from committing import running_archive
from factories import chest_radiograph
from peers import StandInPacs, running_pacs
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from sqlalchemy import select
from typer.testing import CliRunner

from worker.care.resend import NothingToResend, resend_study
from worker.cli import app
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.site_tables import Event
from worker.rows.states import StudyState
from worker.rows.study_tables import Study
from worker.sending.delivery import deliver
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

MakeBench = Callable[..., Bench]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: the outbox is tried on both elsewhere."""
    return sqlite_url


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")

    def make(*pacs: StandInPacs, **asked: object) -> Bench:
        destinations = [
            {"name": peer.ae_title.lower(), "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port} | asked
            for peer in pacs
        ]
        return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, destinations=destinations), sessions)

    return make


def delivered(bench: Bench) -> str:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    return uid


def resend(bench: Bench, uid: str, *destinations: str) -> dict[str, int]:
    with bench.sessions.begin() as session:
        resent = resend_study(session, uid, destinations, "ann", bench.settings)
    deliver(uid, bench.office)
    return resent.deliveries


def digests(pacs: StandInPacs) -> Counter[str]:
    return Counter(hashlib.sha256(arrival.file_bytes).hexdigest() for arrival in pacs.stored)


def test_one_destination_gets_the_same_bytes_again_and_the_others_nothing(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    with running_pacs("OTHER") as other:
        bench = make_bench(pacs, other)
        uid = delivered(bench)
        assert resend(bench, uid, other.ae_title.lower()) == {"other": 3}
    assert set(digests(other).values()) == {2} and len(digests(other)) == 3
    assert set(digests(pacs).values()) == {1}
    assert {row.state for row in bench.deliveries(bench.runs(uid)[-1])} == {"sent"}
    with bench.sessions() as session:
        event = session.scalars(select(Event).where(Event.kind == "resend")).one()
        assert (event.actor, event.reason, event.details) == (
            "ann", "sent again (by hand): 3 to other", {"deliveries": {"other": 3}},
        )  # fmt: skip


def test_what_was_committed_is_asked_about_again(make_bench: MakeBench) -> None:
    with running_archive() as archive:
        bench = make_bench(archive.pacs, storage_commitment=True, commitment_wait_seconds=2.0)
        uid = delivered(bench)
        assert resend(bench, uid) == {archive.pacs.ae_title.lower(): 3}
        assert len(set(archive.transaction_uids)) == 2
    assert {row.state for row in bench.deliveries(bench.runs(uid)[-1])} == {"committed"}


def test_only_the_class_that_the_archive_took_is_sent_again(make_bench: MakeBench) -> None:
    taken = [ComprehensiveSRStorage, SecondaryCaptureImageStorage]
    with running_pacs(sop_classes=taken) as old:
        bench = make_bench(old)
        uid = delivered(bench)
        assert sum(resend(bench, uid).values()) == 3
        assert set(digests(old).values()) == {2}
    assert Counter(row.state for row in bench.deliveries(bench.runs(uid)[-1])) == {"sent": 3, "superseded": 1}


def test_what_an_archive_had_refused_for_good_is_tried_again_with_short_waits(make_bench: MakeBench) -> None:
    with running_pacs(status=lambda sop_class, sop_instance: 0xC000) as strict:
        bench = make_bench(strict)
        uid = delivered(bench)
        assert {row.state for row in bench.deliveries(bench.runs(uid)[-1])} == {"refused", "superseded"}
        strict.status = lambda sop_class, sop_instance: 0x0000
        assert sum(resend(bench, uid).values()) == 3
    rows = bench.deliveries(bench.runs(uid)[-1])
    assert Counter((row.state, row.attempts) for row in rows if row.state == "sent") == {("sent", 1): 3}


def test_nothing_is_sent_of_a_held_study_to_an_unknown_destination_or_where_there_is_nothing(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    bench = make_bench(pacs)
    uid = delivered(bench)
    with pytest.raises(NothingToResend, match=r"no destination elsewhere is configured \(known: pacs\)"):
        resend(bench, uid, "elsewhere")
    quiet = bench.receive(chest_radiograph())
    with pytest.raises(NothingToResend, match="no results that count now"):
        resend(bench, quiet)
    with bench.sessions.begin() as session:
        session.get_one(Study, uid).state = StudyState.HELD
    with pytest.raises(NothingToResend, match="release it first"):
        resend(bench, uid)
    assert set(digests(pacs).values()) == {1}


def test_the_command_makes_the_rows_due_and_says_where_to(
    make_bench: MakeBench, pacs: StandInPacs, sessions: SessionFactory, database_url: str, tmp_path: Path
) -> None:
    bench = make_bench(pacs)
    uid = delivered(bench)
    site = tmp_path / "site.toml"
    site.write_text(
        f'data_dir = "{bench.settings.data_dir}"\ndatabase_url = "{database_url}"\n'
        f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
    )
    said = CliRunner().invoke(app, ["resend", uid, "--destination", "pacs", "--config", str(site), "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == {"study_instance_uid": uid, "deliveries": {"pacs": 3}}
    with sessions() as session:
        assert set(session.scalars(select(Delivery.state))) == {"pending"}
    said = CliRunner().invoke(app, ["resend", uid, "--config", str(site)])
    assert said.stdout.strip() == f"study {uid}: sending again 3 to pacs"
