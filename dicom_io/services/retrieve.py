"""Fetches objects from an archive, one request per object: C-MOVE to our own listener, or C-GET (PS3.4 C.4.2, C.4.3).

One request per object keeps its status apart from the others', and suits archives that take no lists of UIDs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_io.associations.client import ScuSettings, associate, end
from dicom_io.associations.message_limits import answered_within, was_too_slow
from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.data_sets import transfer_syntaxes
from dicom_io.foundation.peer import Peer
from dicom_io.services.query import PENDING, ArchiveError
from dicom_io.services.store_service import Origin, answer_store
from dicom_io.storing.receiving import Receiver

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
USUAL_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.59",
)
"""CR, DX for presentation, Secondary Capture, Key Object Selection: where an archive does not say the SOP class."""
_SYNTAXES: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_MAXIMUM_CONTEXTS = 128
_VIDEO = ("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")
_STORED_SYNTAXES = [syntax for syntax in transfer_syntaxes.KNOWN if not syntax.startswith(_VIDEO)]
"""Of radiographs; without those of video 128 contexts are enough for five SOP classes in every syntax."""
_IN_WORDS = {
    0xA701: "archive out of resources",
    0xA702: "archive could not send",
    0xA801: "archive does not know our AE title as a destination of C-MOVE",
}


@dataclass(frozen=True)
class Wanted:
    """One object of an archive."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    """Empty where the archive does not say."""


MOST_ANSWERS = 10_000
"""To the request for one object: one says what became of it, the others that it is not done."""
MOST_LOST_IN_A_ROW = 3
"""Objects over which the association ended; one that the archive cannot send keeps the others from nothing."""
PARTING_SECONDS, _LOOK_SECONDS = 1.0, 0.01
_NO_ANSWER = "no answer: timeout, abort or lost connection"
MOST_UNENDING = 3
"""Answers of a retrieval without an end; then the archive is not called again, for each may take its whole time."""
Answers = Iterator[tuple[Dataset, Dataset | None]]
"""Status, and what comes with it."""
Outcome = tuple[Wanted, str]
"""An object and what hindered it; empty when the archive says that it was sent."""


def move(archive: Peer, wanted: Iterable[Wanted], our_ae_title: str, settings: ScuSettings) -> Iterator[Outcome]:
    """Have the archive send each object to the system it knows by our AE title: our listener.

    Raises
    ------
    ArchiveError
        The archive cannot be reached, rejects us or offers no C-MOVE.
    """
    contexts = [build_context(STUDY_ROOT_MOVE, _SYNTAXES)]

    def ask(association: Association, keys: Dataset) -> Answers:
        return association.send_c_move(keys, our_ae_title, STUDY_ROOT_MOVE)

    yield from _each(wanted, lambda: _open(archive, contexts, our_ae_title, settings), ask, settings)


def get(
    archive: Peer, wanted: Sequence[Wanted], our_ae_title: str, settings: ScuSettings, receiver: Receiver
) -> Iterator[Outcome]:
    """Take each object over the association we open; `receiver` makes it durable before the archive hears success.

    Raises
    ------
    ArchiveError
        As `move`.
    """
    studies: set[str] = set()
    origin = Origin(archive.ae_title, our_ae_title, archive.host)

    def store(event: Event) -> Dataset:
        answer = answer_store(event, receiver, origin)
        if answer.study_instance_uid is not None:
            studies.add(answer.study_instance_uid)
        return answer.response

    classes = sorted({item.sop_class_uid for item in wanted if item.sop_class_uid}) or list(USUAL_CLASSES)
    storage = [build_context(name, syntax) for syntax in _STORED_SYNTAXES for name in classes]
    contexts = [build_context(STUDY_ROOT_GET, _SYNTAXES), *storage[: _MAXIMUM_CONTEXTS - 1]]
    roles = [build_role(name, scp_role=True) for name in classes]

    def open_association() -> Association:
        return _open(archive, contexts, our_ae_title, settings, [(evt.EVT_C_STORE, store)], roles)

    def ask(association: Association, keys: Dataset) -> Answers:
        return association.send_c_get(keys, STUDY_ROOT_GET)

    try:
        yield from _each(wanted, open_association, ask, settings)
    finally:
        if studies:
            receiver.association_closed(studies, aborted=False)


def _open(
    archive: Peer,
    contexts: list[Any],
    our_ae_title: str,
    settings: ScuSettings,
    handlers: Sequence[Any] = (),
    roles: Sequence[Any] = (),
) -> Association:
    association = associate(archive, contexts, our_ae_title, settings, handlers, roles)
    if isinstance(association, str):
        raise ArchiveError(association)
    service = contexts[0].abstract_syntax
    if service not in {context.abstract_syntax for context in association.accepted_contexts}:
        end(association)
        raise ArchiveError(f"{archive.ae_title} does not offer {service.name}")
    return association


class _Unending(Exception):
    """The archive does not come to the end of its answer; the message says why the association was ended."""


class _Line:
    """The association over which objects are asked for; opened anew where one of them was the end of it."""

    def __init__(self, open_association: Callable[[], Association]) -> None:
        self.association = open_association()
        self._open = open_association
        self._unending = self._lost_in_a_row = 0

    def hindrance(self) -> str:
        """Return what keeps the next object from being asked for; nothing where there is an association for it."""
        if self.association.is_established:
            return ""
        if self._unending >= MOST_UNENDING or self._lost_in_a_row >= MOST_LOST_IN_A_ROW:
            return "association ended before this object was asked for"
        try:
            self.association = self._open()
        except ArchiveError as error:
            self._lost_in_a_row = MOST_LOST_IN_A_ROW
            return str(error)
        return ""

    def ask(self, ask: Callable[[Association, Dataset], Answers], item: Wanted, answers_seconds: float) -> str:
        """Ask for one object; return what hindered it."""
        try:
            hindrance = _asked(self.association, ask, item, answers_seconds)
        except _Unending as error:
            hindrance, self._unending = str(error), self._unending + 1
        if hindrance == _NO_ANSWER:
            self._wait_for_end()
        self._lost_in_a_row = 0 if self.association.is_established else self._lost_in_a_row + 1
        return hindrance

    def _wait_for_end(self) -> None:
        """Wait until what ended the association has been noticed, or the next object would be lost with it."""
        until = time.monotonic() + PARTING_SECONDS
        while self.association.is_established and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)


def _each(
    wanted: Iterable[Wanted],
    open_association: Callable[[], Association],
    ask: Callable[[Association, Dataset], Answers],
    settings: ScuSettings,
) -> Iterator[Outcome]:
    """Ask for one object after the other; over another association after one that ended over an object."""
    line = _Line(open_association)
    try:
        for item in wanted:
            yield item, line.hindrance() or line.ask(ask, item, settings.answers_seconds)
    finally:
        end(line.association)


def _asked(
    association: Association, ask: Callable[[Association, Dataset], Answers], item: Wanted, answers_seconds: float
) -> str:
    """Ask for one object; return what hindered it.

    Raises
    ------
    _Unending
    """
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.StudyInstanceUID, keys.SeriesInstanceUID = item.study_instance_uid, item.series_instance_uid
    keys.SOPInstanceUID = item.sop_instance_uid
    last = Dataset()
    try:
        with reactor_held(association), answered_within(association, answers_seconds):
            for number, (response, _identifier) in enumerate(ask(association, keys), 1):
                last = response
                if number > MOST_ANSWERS:
                    association.abort()
                    raise _Unending(f"archive answers more than {MOST_ANSWERS} times that it is not done")
    except (ValueError, RuntimeError, OSError) as error:
        return f"not asked for ({type(error).__name__})"
    if was_too_slow(association):
        raise _Unending(f"archive did not say within {answers_seconds:g} s that it was sent")
    return _problem(last)


def _problem(response: Dataset) -> str:
    status = response.get("Status")
    if status is None or status in PENDING:
        return _NO_ANSWER
    if status != 0x0000:
        words = _IN_WORDS.get(status, "archive failed to send it")
        return f"{words} (status 0x{status:04X})"
    if response.get("NumberOfFailedSuboperations"):
        return "archive failed to send it"
    return ""
