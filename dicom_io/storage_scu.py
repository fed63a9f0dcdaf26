"""Sends DICOM files to a peer over one association and says per object what became of it (PS3.4 annex B)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID
from pynetdicom import _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicom_io.association_client import ScuSettings, associate, end
from dicom_io.peer import Peer
from dicom_io.reactor_pause import reactor_held

__all__ = ["ScuSettings", "SendOutcome", "classify", "echo", "send"]

LOGGER = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as the bytes of its file, never decoded and encoded again

MAXIMUM_CONTEXTS = 128
"""Of one association request (PS3.8 9.3.2: odd numbers 1 to 255)."""
VERIFICATION = "1.2.840.10008.1.1"
_PERMANENT_STATUS = frozenset({0x0122, 0x0124})
_PERMANENT_CLASSES = frozenset({0xA9, *range(0xC0, 0xD0)})


@dataclass(frozen=True)
class SendOutcome:
    """What became of one file."""

    path: Path
    status: int | None
    """DIMSE status of the peer; None when none came (no association, no context, abort, timeout; HL7 has none)."""
    comment: str
    accepted: bool
    """True for success and warning statuses: the peer has the object."""
    permanent: bool
    """True when sending the same bytes again cannot help."""
    comment_is_ours: bool = False
    """True when the comment is in our own words, which never quote a patient."""
    unreachable: bool = False
    """True when there was no association at all, so that nothing else would have arrived either."""
    withheld: bool = False
    """True when not a byte of it was sent, association or not."""
    unanswered: bool = False
    """True when it was sent and no answer came: the peer may have it."""


@dataclass(frozen=True)
class _Item:
    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str


def send(
    destination: Peer, paths: Sequence[Path], calling_ae_title: str, settings: ScuSettings | None = None
) -> list[SendOutcome]:
    """Send files over one association (more only beyond 128 kinds of object) and report on each, in order.

    Never raises for what a peer does or a file holds; the outcome says it.
    """
    settings = settings or ScuSettings()
    outcomes: dict[Path, SendOutcome] = {}
    items: list[_Item] = []
    for path in paths:
        item = _inspect(path)
        if isinstance(item, SendOutcome):
            outcomes[path] = item
        else:
            items.append(item)
    kinds = sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in items})
    for start in range(0, len(kinds), MAXIMUM_CONTEXTS):
        batch_kinds = kinds[start : start + MAXIMUM_CONTEXTS]
        batch = [item for item in items if (item.sop_class_uid, item.transfer_syntax_uid) in batch_kinds]
        contexts = [build_context(sop_class_uid, syntax) for sop_class_uid, syntax in batch_kinds]
        for outcome in _send_batch(destination, batch, contexts, calling_ae_title, settings):
            outcomes[outcome.path] = outcome
    return [outcomes[path] for path in paths]


def echo(peer: Peer, calling_ae_title: str, settings: ScuSettings | None = None) -> str:
    """Verify a peer by C-ECHO (PS3.4 annex A); return an empty text when it answered, else what went wrong."""
    association = associate(peer, [build_context(VERIFICATION)], calling_ae_title, settings or ScuSettings())
    if isinstance(association, str):
        return association
    try:
        if not association.accepted_contexts:
            return "peer does not accept C-ECHO"
        status = association.send_c_echo().get("Status")
    finally:
        end(association)
    if status is None:
        return "no answer to C-ECHO"
    return "" if status == 0 else f"C-ECHO answered with status 0x{status:04X}"


def _inspect(path: Path) -> _Item | SendOutcome:
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        return _Item(path, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
    except (OSError, AttributeError, pydicom.errors.InvalidDicomError, EOFError, ValueError, KeyError) as error:
        missing = isinstance(error, OSError)
        return SendOutcome(path, None, f"file cannot be read ({type(error).__name__})", False, permanent=not missing)


def _send_batch(
    destination: Peer,
    items: Sequence[_Item],
    contexts: list[PresentationContext],
    calling_ae_title: str,
    settings: ScuSettings,
) -> list[SendOutcome]:
    association = associate(destination, contexts, calling_ae_title, settings)
    if isinstance(association, str):
        return [SendOutcome(item.path, None, association, False, permanent=False, unreachable=True) for item in items]
    try:
        with reactor_held(association):
            return _send_until_unanswered(association, items)
    finally:
        end(association)


def _send_until_unanswered(association: Association, items: Sequence[_Item]) -> list[SendOutcome]:
    """Send one object after the other; after one without an answer nobody is there, and the rest is withheld."""
    outcomes: list[SendOutcome] = []
    answered = True
    for item in items:
        outcome = _send_one(association, item) if answered else _withheld(item)
        answered = answered and not outcome.unanswered
        outcomes.append(outcome)
    return outcomes


def _withheld(item: _Item) -> SendOutcome:
    why = "association ended before this object was sent"
    return SendOutcome(item.path, None, why, False, permanent=False, withheld=True)


def _send_one(association: Association, item: _Item) -> SendOutcome:
    accepted_kinds = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
    }
    if (item.sop_class_uid, item.transfer_syntax_uid) not in accepted_kinds:
        comment = f"peer does not accept {UID(item.sop_class_uid).name} in {UID(item.transfer_syntax_uid).name}"
        return SendOutcome(item.path, None, comment, False, permanent=True)
    if not association.is_established or association.acse.is_aborted():  # the held thread cannot note an abort
        return _withheld(item)
    try:
        response = association.send_c_store(item.path)
    except (ValueError, RuntimeError, AttributeError, OSError) as error:
        return SendOutcome(item.path, None, f"not sent ({type(error).__name__})", False, permanent=False)
    status = response.get("Status")
    if status is None:
        why = "no answer: timeout, abort or lost connection"
        return SendOutcome(item.path, None, why, False, permanent=False, unanswered=True)
    comment = str(response.get("ErrorComment") or "")
    accepted, permanent = classify(int(status))
    return SendOutcome(item.path, int(status), comment, accepted, permanent)


def classify(status: int) -> tuple[bool, bool]:
    """Return (accepted, permanent) for a C-STORE status (PS3.4 B.2.3, PS3.7 C).

    Warnings (0xBxxx) mean stored. 0xA9xx, 0xCxxx, 0x0122 and 0x0124 will be the same next time; 0xA7xx, 0x0110 and
    anything unknown may not be.
    """
    if status == 0 or status >> 12 == 0xB:
        return True, False
    return False, status in _PERMANENT_STATUS or status >> 8 in _PERMANENT_CLASSES
