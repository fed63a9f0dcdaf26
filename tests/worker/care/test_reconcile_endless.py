"""A study about which an archive never comes to an end does not keep the others from being asked for, nor do many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from endless_answers import PENDING, always_pending
from peers import StandInPacs
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event
from storage_ends import FolderReceiver
from ups_clients import dataset

from dicom_io.associations.client import ScuSettings
from dicom_io.services.query import STUDY_ROOT_FIND
from dicom_io.services.retrieve import Wanted
from worker.care.reconciled import Window
from worker.care.reconciliation import Reconciler
from worker.rows.database import SessionFactory
from worker.settings.config import Settings

HASTE = ScuSettings(dimse_timeout_seconds=10.0, answers_seconds=0.6)
FIND_RESPONSE = 0x8020
CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture
def archive() -> Iterator[StandInPacs]:
    pacs = StandInPacs()
    yield pacs
    pacs.stop()


def test_reconciling_passes_over_a_study_whose_answers_trickle(
    archive: StandInPacs, make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        keys = event.identifier
        if keys.QueryRetrieveLevel == "STUDY":
            for uid in ("1.2.1", "1.2.2"):
                yield PENDING, dataset(StudyInstanceUID=uid)
        elif keys.QueryRetrieveLevel == "SERIES" and keys.StudyInstanceUID == "1.2.1":
            always_pending(FIND_RESPONSE, STUDY_ROOT_FIND, 0.2)(event)
        elif keys.QueryRetrieveLevel == "SERIES":
            yield PENDING, dataset(SeriesInstanceUID="1.2.2.1", Modality="DX")
        else:
            yield PENDING, dataset(SOPInstanceUID="1.2.2.1.1", SOPClassUID=CR)
        yield 0x0000, None

    archive.offer(STUDY_ROOT_FIND, (evt.EVT_C_FIND, find))
    archive.start()
    peer = {"ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port}
    settings = make_settings(reconcile=peer)
    monkeypatch.setattr(Reconciler, "_patience", lambda _self: HASTE)
    reconciler = Reconciler(settings, sessions, FolderReceiver(tmp_path))
    now = datetime.now(UTC)
    found = reconciler.reconcile(Window(now - timedelta(hours=1), now), "person", fetch=False)
    assert (found.unanswered, found.problem, found.complete) == (1, "", False)
    assert [item.sop_instance_uid for item in found.missing] == ["1.2.2.1.1"]
    assert "1 studies were passed over" in found.summary


def test_a_month_that_was_missed_is_no_more_than_a_database_can_be_asked(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> None:
    """PostgreSQL takes 65,535 parameters: what was fetched was never noted, and its gap stayed open."""
    missing = [Wanted("1.2", "1.2.3", f"1.2.3.{number}", CR) for number in range(70_000)]
    assert Reconciler(make_settings(), sessions, FolderReceiver(tmp_path))._not_here(missing) == missing
