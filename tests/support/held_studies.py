"""What a held study is told and asked in tests: messages, rejections, sweeps, and whether it goes on."""

from __future__ import annotations

from benches import Bench
from pydicom.dataset import Dataset
from sqlalchemy import select

from dicom_io.data_sets.rejection_title import RejectionTitle
from worker.care.image_rejection import reject_by_hand
from worker.hl7.inbox import Inbox
from worker.processes.ringing import Bells
from worker.processes.sweep import Sweeper
from worker.rows.site_tables import Event
from worker.runs.triage import triage


def sweep(bench: Bench) -> list[str]:
    """Sweep as often as something may follow from it; return the studies rung for, and analyse them."""
    rung: list[str] = []
    bells = Bells(lambda uid, _queue: rung.append(uid), lambda _uid: None, lambda _queue: 1)
    sweeper = Sweeper(bench.settings, bench.sessions, bench.workplace.instances, bells, "sweeper-1")
    for _ in range(3):
        sweeper.sweep()
    for uid in dict.fromkeys(rung):
        triage(uid, bench.workplace)
    return rung


def tell(bench: Bench, content: bytes) -> None:
    """Take an HL7 message in; `sweep` applies it."""
    listener = bench.settings.hl7_listener
    assert listener is not None
    assert b"\rMSA|AA|" in Inbox(bench.settings, listener, bench.sessions).take(content, "127.0.0.1")


def lifted(bench: Bench, uid: str) -> list[Event]:
    """Return the events that say that the study goes on."""
    with bench.sessions() as session:
        of_study = select(Event).where(Event.study_instance_uid == uid, Event.kind == "hold_lifted")
        return list(session.scalars(of_study))


def reject(bench: Bench, image: Dataset) -> None:
    """Reject an image in a person's name."""
    with bench.sessions.begin() as session:
        reject_by_hand(
            session, image.StudyInstanceUID, [image.SOPInstanceUID], title=RejectionTitle.QUALITY, reason="moved",
            by="Ada Admin", settings=bench.settings,
        )  # fmt: skip
