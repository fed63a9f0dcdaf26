"""How long until work goes on after something died, with default settings; docs/reliability.md quotes the numbers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bundles import write_test_bundle
from peers import running_pacs
from services import free_port
from sites import DELIVERY, LISTEN, SWEEP, TRIAGE, UP, Site, send_study, wait_until
from sqlalchemy import insert, select

from dicom_io.services.storage_scu import echo
from worker.rows.database import open_engine
from worker.rows.run_tables import Run
from worker.rows.states import Disposition, RunState, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

pytestmark = pytest.mark.timeout(900)
WITHIN_SECONDS = 30.0
LISTENING_WITHIN_SECONDS = 3.0
STORED = 100_000
PER_STUDY = 4
AWAY_SECONDS = 75.0
"""Long enough for every wait to have become as long as it gets."""

MakeSite = Callable[[Mapping[str, Any]], Site]


@pytest.fixture
def make_site(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[MakeSite]:
    """Maker of a site whose settings are the defaults but for addresses, the bundle and who may send."""
    made: list[Site] = []

    def make(destination: Mapping[str, Any]) -> Site:
        settings = make_settings(
            database_url=sqlite_url,
            listen_port=free_port(),
            bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
            destinations=[destination],
            accept_unknown_sources=True,
        )
        made.append(Site(settings, tmp_path / "log.txt", forked=False))  # starting is part of what is timed
        return made[-1]

    yield make
    for site in made:
        site.stop()


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["after_claim", "after_result_files"])
def test_a_study_is_run_again_within_half_a_minute_of_its_workers_death(
    make_site: MakeSite, tmp_path: Path, failpoint: str
) -> None:
    with running_pacs() as pacs:
        site = make_site(pacs.destination)
        site.start_listening(LISTEN)
        site.start(SWEEP)
        site.start(DELIVERY)
        dying = site.start(TRIAGE, failpoint)
        uid = send_study(site, tmp_path)
        wait_until(lambda: "signal 9 (SIGKILL)" in site.log(), "the process that analyses died")
        site.kill(dying)
        died = time.monotonic()
        site.start(TRIAGE)  # as a service manager does; it loads its network meanwhile
        wait_until(lambda: [run.attempts for run in site.runs(uid)] == [2], "the second attempt", 90)
        claimed = time.monotonic() - died
        wait_until(lambda: [run.state for run in site.runs(uid)] == [RunState.DONE], "the run is done", 90)
        done = time.monotonic() - died
    print(f"\n{failpoint}: run again after {claimed:.1f} s, done after {done:.1f} s")
    assert claimed <= WITHIN_SECONDS


@pytest.mark.slow
def test_delivery_goes_on_within_half_a_minute_of_the_archives_return(make_site: MakeSite, tmp_path: Path) -> None:
    with running_pacs() as pacs:
        site = make_site(pacs.destination)
        site.start_listening(UP)
        before = send_study(site, tmp_path)
        site.wait_for_delivery(before, "sent")
        pacs.stop()
        stopped, arrived = time.monotonic(), len(pacs.stored)
        uids = [send_study(site, tmp_path) for _ in range(10)]
        for uid in uids:
            site.wait_for_state(uid, "triaged")
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - stopped)))
        tried = sum(_attempts(site, uid) for uid in uids)
        away = time.monotonic() - stopped
        pacs.start()
        back = time.monotonic()
        wait_until(lambda: len(pacs.stored) > arrived, "the first result", 90)
        first = time.monotonic() - back
        for uid in uids:
            site.wait_for_delivery(uid, "sent")
        last = time.monotonic() - back
    print(f"\naway {away:.0f} s, {tried} attempts meanwhile; first result after {first:.1f} s, all after {last:.1f} s")
    assert first <= WITHIN_SECONDS
    assert tried <= 5 + away / 10, "one attempt every fifteen seconds, however many studies wait"


def _attempts(site: Site, uid: str) -> int:
    with site.session() as session:
        run = session.scalars(select(Run).where(Run.study_instance_uid == uid)).one()
        return max(delivery.attempts for result in run.results for delivery in result.deliveries)


@pytest.mark.slow
def test_a_killed_listener_answers_again_within_three_seconds_with_100_000_stored_instances(
    make_site: MakeSite, tmp_path: Path
) -> None:
    with running_pacs() as pacs:
        site = make_site(pacs.destination)
    _store(site.settings)
    took = []
    for _ in range(5):
        listener = site.start_listening(LISTEN)
        site.kill(listener)
        killed = time.monotonic()
        listener = site.start(LISTEN)
        wait_until(lambda: not _refuses(site) and echo(site.peer, "MODALITY") == "", "the listener answers a C-ECHO")
        took.append(time.monotonic() - killed)
        send_study(site, tmp_path)
        os.kill(listener.pid, signal.SIGTERM)
        assert listener.wait(60) == 0
    print("\nanswered after " + ", ".join(f"{seconds:.2f}" for seconds in took) + " s")
    assert min(took) <= LISTENING_WITHIN_SECONDS, took


def _refuses(site: Site) -> bool:
    """Look for the open port first: every association request in vain would take its time."""
    import socket

    try:
        socket.create_connection(("127.0.0.1", site.settings.listen_port), 1).close()
    except OSError:
        return True
    return False


def _store(settings: Settings) -> None:
    """Put files and rows of 100,000 instances where the worker keeps them."""
    numbers, now = itertools.count(1), datetime.now(UTC)
    studies, instances = [], []
    for _ in range(STORED // PER_STUDY):
        uid = f"2.25.{next(numbers)}"
        studies.append(
            {
                "study_instance_uid": uid,
                "state": StudyState.OUT_OF_SCOPE,
                "first_received_at": now,
                "last_received_at": now,
            }
        )
        for _ in range(PER_STUDY):
            sop_instance_uid = f"2.25.{next(numbers)}"
            path = f"{uid}/{sop_instance_uid}/0123456789abcdef.dcm"
            (settings.instances_dir / path).parent.mkdir(parents=True)
            (settings.instances_dir / path).write_bytes(b"x")
            instances.append(
                {
                    "sop_instance_uid": sop_instance_uid,
                    "study_instance_uid": uid,
                    "series_instance_uid": f"{uid}.1",
                    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
                    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                    "path": path,
                    "bytes": 1,
                    "sha256": "0" * 64,
                    "received_at": now,
                    "disposition": Disposition.IGNORED,
                }
            )
    engine = open_engine(settings.effective_database_url)
    with engine.begin() as connection:
        connection.execute(insert(Study), studies)
        connection.execute(insert(Instance), instances)
    engine.dispose()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "worker.processes.listener",
            ("torch", "openvino", "highdicom", "pydicom.sr", "alembic", "celery", "kombu", "cv2", "fastapi", "jinja2"),
        ),
        ("worker.sending.post_office, worker.sending.delivery", ("torch", "openvino", "alembic", "fastapi", "httpx")),
        (
            "worker.processes.work, worker.runs.triage, model.compiled_network",
            ("torch", "highdicom", "pydicom.sr", "psycopg", "openvino.tools.ovc", "alembic", "fastapi", "httpx"),
        ),
        ("worklist.cli", ("torch", "openvino", "alembic")),
    ],
    ids=["listener", "delivery worker", "worker that analyses", "page"],
)
def test_a_process_starts_without_loading_what_it_does_not_need(module: str, heavy: tuple[str, ...]) -> None:
    """Each of these takes as long to import as a sender's patience for a modality's test button is worth."""
    script = f"import sys, worker.cli, worker.commands.process_commands, {module}\n"
    script += f"print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert loaded.stdout.strip() == "[]"
