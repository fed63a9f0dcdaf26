"""An archive that answers what was not asked: an answer too many, to another message, or of another service.

PS3.7 9.3.1.2: an answer names the message that it responds to. What does not is no answer to an object, which would
otherwise count as stored though it was refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import chest_radiograph, write_dicom
from peers import StandInPacs
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_EVENT_REPORT
from pynetdicom.events import Event

from dicom_io.associations.client import ScuSettings
from dicom_io.associations.keeper import AssociationKeeper, Keeping
from dicom_io.services.storage_scu import SendOutcome, send

PATIENCE = ScuSettings(acse_timeout_seconds=5, dimse_timeout_seconds=5)
FULL = 0xA700


def answer(event: Event, kind: type[Any], message_id: int) -> None:
    """Send an answer of success."""
    response = kind()
    response.MessageIDBeingRespondedTo, response.Status = message_id, 0x0000
    response.AffectedSOPClassUID = event.request.AffectedSOPClassUID
    if kind is C_STORE:
        response.AffectedSOPInstanceUID = event.request.AffectedSOPInstanceUID
    event.assoc.dimse.send_msg(response, event.context.context_id)


def twice(event: Event) -> None:
    answer(event, C_STORE, event.request.MessageID)


def to_another_message(event: Event) -> None:
    answer(event, C_STORE, event.request.MessageID + 100)


def of_another_service(event: Event) -> None:
    answer(event, C_ECHO, event.request.MessageID)


class StrayPacs(StandInPacs):
    """Says something stray with its answer to the first object, and is full from then on."""

    stray: Callable[[Event], None]

    def _store(self, event: Event) -> int:
        if not self.arrivals:
            self.stray(event)
        self.status = (lambda _sop_class, _instance: FULL) if self.arrivals else self.status
        return super()._store(event)


@pytest.fixture
def archive() -> Iterator[StrayPacs]:
    pacs = StrayPacs()
    yield pacs
    pacs.stop()


@pytest.fixture
def keeper() -> Iterator[AssociationKeeper]:
    made = AssociationKeeper()
    yield made
    made.release_all()


def sent(
    archive: StrayPacs, stray: Callable[[Event], None], folder: Path, keeping: Keeping | None
) -> list[SendOutcome]:
    archive.stray = stray
    archive.start()
    files = [write_dicom(chest_radiograph(), folder / f"{number}.dcm") for number in range(2)]
    if keeping is None:
        return send(archive.peer, files, "CXRAI", PATIENCE)
    return [send(archive.peer, [file], "CXRAI", PATIENCE, keeping)[0] for file in files]


@pytest.mark.parametrize("kept", [False, True], ids=["one association each", "kept open"])
@pytest.mark.parametrize("stray", [twice, to_another_message, of_another_service])
def test_nothing_counts_as_stored_that_the_archive_has_refused(
    archive: StrayPacs, stray: Callable[[Event], None], kept: bool, tmp_path: Path, keeper: AssociationKeeper,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    keeping = Keeping(keeper, 30.0, frozenset()) if kept else None
    outcomes = sent(archive, stray, tmp_path, keeping)
    stored = {arrival.sop_instance_uid for arrival in archive.stored}
    assert all(outcome.path.stem == "0" for outcome in outcomes if outcome.accepted), stored
    assert not outcomes[1].accepted
    assert len(stored) == 1
    assert "timeout" not in caplog.text
    assert stray is not twice or "is not taken: C-STORE response to message 1, awaited is" in caplog.text


def test_an_event_that_nobody_asked_for_holds_nothing_up(archive: StrayPacs, tmp_path: Path) -> None:
    def report(event: Event) -> None:
        told = N_EVENT_REPORT()
        told.MessageID, told.EventTypeID = 9, 1
        told.AffectedSOPClassUID, told.AffectedSOPInstanceUID = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
        event.assoc.dimse.send_msg(told, event.context.context_id)
        time.sleep(0.3)  # until it is answered, by a thread of its own

    outcomes = sent(archive, report, tmp_path, None)
    assert [outcome.status for outcome in outcomes] == [0x0000, FULL]
