"""``python -m worker demo``: the whole house on one machine, with a stand-in PACS, to see it work.

Everything lies in one fresh folder and listens on loopback. The studies go over real DICOM, to the PACS and to the
worker, as a modality would send them; the worker's results come back into the same PACS.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import send
from model.bundle import Bundle
from worker.demo.pacs import StandInPacs, installed_orthanc, stand_in_pacs
from worker.demo.report import Outcome, closing_words, print_outcomes, violations, wide_console
from worker.demo.setup import (
    MODALITY_AE_TITLE,
    OUR_AE_TITLE,
    POLL_SECONDS,
    REAL_MODALITY_AE_TITLE,
    DemoFailed,
    bundle_for_real_films,
    demo_settings,
    demonstration_bundle,
    free_ports,
    fresh_folder,
    running_worker,
    wait_until_up,
)
from worker.demo.studies import DemoStudy, phantom_studies, real_studies
from worker.rows.database import database_now, open_engine, session_factory
from worker.rows.migrate import upgrade
from worker.rows.states import StudyState
from worker.settings.config import Settings
from worker.views.study_detail import StudyDetail, study_detail

ENDED = frozenset({StudyState.TRIAGED, StudyState.OUT_OF_SCOPE, StudyState.NOT_ANALYSED, StudyState.FAILED})


def run_demo(folder: Path, *, keep: bool, deadline_seconds: float) -> int:
    """Show everything once; return 0 when every study ended as expected, else 1.

    Parameters
    ----------
    folder
        Replaced by a fresh one if an earlier demonstration made it.
    keep
        Stay up with the page until Ctrl-C.
    deadline_seconds
        For starting and for all studies together.

    Raises
    ------
    DemoFailed, StartError
        Something needed is missing or did not start.
    """
    signal.signal(signal.SIGTERM, _leave)
    console = wide_console()
    bundle = demonstration_bundle()
    with fresh_folder(folder):
        return _show(folder, console, bundle, keep=keep, deadline_seconds=deadline_seconds)


def _show(folder: Path, console: Console, bundle: Bundle, *, keep: bool, deadline_seconds: float) -> int:
    ports = free_ports()
    settings = demo_settings(folder, ports, bundle, bundle_for_real_films(bundle))
    upgrade(settings.effective_database_url)
    deadline = time.monotonic() + deadline_seconds
    known = {OUR_AE_TITLE: ports.listener, MODALITY_AE_TITLE: 0, REAL_MODALITY_AE_TITLE: 0}
    archive = stand_in_pacs(folder / "pacs", ports.pacs, ports.pacs_web, known, installed_orthanc())
    with archive as pacs, running_worker(folder) as worker:
        console.print(
            f"[bold]PACS[/bold] {pacs.name} on port {ports.pacs}, [bold]worker[/bold] on port {ports.listener}"
        )
        wait_until_up(pacs.peer, settings, worker, deadline, folder)
        outcomes = show_studies(bundle, folder, settings, pacs, console, deadline)
        print_outcomes(console, outcomes)
        wrong = violations(outcomes)
        console.print(closing_words(wrong, settings, folder, keep=keep))
        if keep:
            stay(worker, console)
    return 1 if wrong else 0


def _leave(signal_number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an orderly end, so that neither the PACS nor the worker outlives the demonstration."""
    raise SystemExit(128 + signal_number)


def show_studies(
    bundle: Bundle, folder: Path, settings: Settings, pacs: StandInPacs, console: Console, deadline: float
) -> list[Outcome]:
    """Send every study to the PACS and to the worker, wait for all of them, and return how each ended."""
    now = datetime.now()  # DICOM times are local times
    studies = [*phantom_studies(bundle, folder / "outgoing", now), *real_studies(folder / "outgoing", now)]
    listener = Peer(OUR_AE_TITLE, "127.0.0.1", settings.listen_port)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    engine = open_engine(settings.effective_database_url)
    try:
        with Progress(*columns, console=console) as progress:
            sending = progress.add_task("Sent over DICOM", total=len(studies))
            ended = progress.add_task("Analysed and delivered", total=len(studies))
            stored_at = {}
            for number, study in enumerate(studies):
                send_study(study, pacs.peer)
                stored_at[study.study_instance_uid] = send_study(study, listener)
                progress.advance(sending)
                if number == 0:  # it waits for the network to be loaded; the others show what an ordinary study takes
                    wait_for_all(engine, [study], progress, ended, deadline)
            details = wait_for_all(engine, studies, progress, ended, deadline)
    finally:
        engine.dispose()
    return [
        Outcome(study, details.get(study.study_instance_uid), stored_at[study.study_instance_uid], held)
        for study in studies
        for held in [pacs.objects(study.study_instance_uid)]
    ]


def send_study(study: DemoStudy, peer: Peer) -> datetime:
    """Send one study in one association; return the time of its last response, UTC.

    Raises
    ------
    DemoFailed
        An object was not accepted.
    """
    outcomes = send(peer, study.files, REAL_MODALITY_AE_TITLE if study.real else MODALITY_AE_TITLE)
    refused = next((outcome for outcome in outcomes if not outcome.accepted), None)
    if refused is not None:
        status = "no status" if refused.status is None else f"0x{refused.status:04X}"
        raise DemoFailed(f"{peer.ae_title} did not accept {study.title}: {status} {refused.comment}")
    return datetime.now(UTC)


def wait_for_all(
    engine: Engine, studies: Sequence[DemoStudy], progress: Progress, task: TaskID, deadline: float
) -> dict[str, StudyDetail]:
    """Return every study's rows as soon as all have ended and been delivered, or when the deadline has passed."""
    sessions = session_factory(engine, read_only=True)
    while True:
        with sessions() as session:
            moment = database_now(session)
            found = {
                study.study_instance_uid: study_detail(session, study.study_instance_uid, moment, timedelta(hours=1))
                for study in studies
            }
        details = {uid: detail for uid, detail in found.items() if detail is not None}
        done = sum(is_over(detail) for detail in details.values())
        progress.update(task, completed=done)
        if done == len(studies) or time.monotonic() > deadline:
            return details
        time.sleep(POLL_SECONDS)


def is_over(detail: StudyDetail) -> bool:
    """Return whether nothing more will happen to a study by itself."""
    if detail.line.state not in ENDED:
        return False
    return detail.line.state != StudyState.TRIAGED or detail.line.delivery.state in ("delivered", "failed")


def stay(worker: subprocess.Popen[bytes], console: Console) -> None:
    """Wait for Ctrl-C, or for the worker to end."""
    console.print("Everything stays up until Ctrl-C.")
    try:
        worker.wait()
    except KeyboardInterrupt:
        console.print("stopping")
