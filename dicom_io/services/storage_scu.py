"""Sends DICOM files to a peer over one association and says per object what became of it (PS3.4 annex B).

An association that was kept open from an earlier delivery may be over without our having heard of it. What then got no
answer is sent once more over a new one, in the same call; the same SOP Instance UID twice does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.uid import UID
from pynetdicom import _config, build_context
from pynetdicom.association import Association

from dicom_io.associations.client import NoAssociation, ScuSettings, associate, end
from dicom_io.associations.keeper import Keeping
from dicom_io.associations.kept_association import Call, KeptAssociation, Kind, accepted_form, forms
from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.foundation.peer import Peer

__all__ = ["ScuSettings", "SendOutcome", "classify", "echo", "send"]

LOGGER = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as the bytes of its file, never decoded and encoded again

MAXIMUM_KINDS = 64
"""Of one association request: it has room for 128 contexts (PS3.8 9.3.2), and a kind takes up to two."""
PARTING_SECONDS = 1.0
"""How long a peer may take to notice that an association has ended."""
VERIFICATION = "1.2.840.10008.1.1"
_WARNING_STATUS = frozenset({0x0001, 0x0107, 0x0116})
"""Beside 0xBxxx (PS3.7 C.4)."""
_DUPLICATE = 0x0111
"""The peer has an object of this UID (PS3.7 C.5.6): that of an attempt whose answer was lost, for no UID names two."""
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
    """True for success and warning statuses, and for a duplicate: the peer has the object."""
    permanent: bool
    """True when sending the same bytes again cannot help."""
    comment_is_ours: bool = False
    """True when the comment is in our own words, which never quote a patient."""
    unreachable: bool = False
    """True when there was no association at all, so that nothing else would have arrived either."""
    withheld: bool = False
    """True when not a byte of it was sent, association or not."""
    passed_over: bool = False
    """True when it was withheld because one before it got no answer: that one may be what the peer ends over."""
    unanswered: bool = False
    """True when it was sent and no answer came: the peer may have it."""


@dataclass(frozen=True)
class _Item:
    path: Path
    kind: Kind


def send(
    destination: Peer,
    paths: Sequence[Path],
    calling_ae_title: str,
    settings: ScuSettings | None = None,
    keeping: Keeping | None = None,
) -> list[SendOutcome]:
    """Send files over one association (more only beyond 64 kinds of object) and report on each, in order.

    Never raises for what a peer does or a file holds; the outcome says it.

    Parameters
    ----------
    keeping
        Has the association stay open for the next call, or takes that of an earlier one; None opens and releases one.
    """
    call = Call(destination, calling_ae_title, settings or ScuSettings())
    outcomes: dict[Path, SendOutcome] = {}
    items: list[_Item] = []
    for path in paths:
        item = _inspect(path)
        if isinstance(item, SendOutcome):
            outcomes[path] = item
        else:
            items.append(item)
    kinds = sorted({item.kind for item in items})
    for start in range(0, len(kinds), MAXIMUM_KINDS):
        batch_kinds = frozenset(kinds[start : start + MAXIMUM_KINDS])
        batch = [item for item in items if item.kind in batch_kinds]
        sent = _send_keeping(call, batch, keeping) if keeping else _send_over_new(call, batch)
        outcomes.update((outcome.path, outcome) for outcome in sent)
    return [outcomes[path] for path in paths]


def echo(peer: Peer, calling_ae_title: str, settings: ScuSettings | None = None) -> str:
    """Verify a peer by C-ECHO (PS3.4 annex A); return an empty text when it answered, else what went wrong."""
    association = associate(peer, [build_context(VERIFICATION)], calling_ae_title, settings or ScuSettings())
    if isinstance(association, str):
        return association
    try:
        if not association.accepted_contexts:
            return "peer does not accept C-ECHO"
        with reactor_held(association):
            status = association.send_c_echo().get("Status")
    except RuntimeError:  # the peer has ended the association before it could be asked
        status = None
    finally:
        end(association)
    if status is None:
        return "no answer to C-ECHO"
    return "" if status == 0 else f"C-ECHO answered with status 0x{status:04X}"


def _inspect(path: Path) -> _Item | SendOutcome:
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        kind = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
        instance = meta.MediaStorageSOPInstanceUID
    except (OSError, AttributeError, pydicom.errors.InvalidDicomError, EOFError, ValueError, KeyError) as error:
        missing = isinstance(error, OSError)
        why = f"file cannot be read ({type(error).__name__})" if missing else "this is not a DICOM file (PS3.10)"
        return SendOutcome(path, None, why, False, permanent=not missing)
    if not (kind[0] and instance):  # peers end the association over a request that names nothing (PS3.7 9.3.1.1)
        return SendOutcome(path, None, "no SOP class or instance is named in its file meta", False, permanent=True)
    return _Item(path, kind)


def _send_keeping(call: Call, items: Sequence[_Item], keeping: Keeping) -> list[SendOutcome]:
    """Send over the association that is open; over a new one where there is none or it turns out to be over."""
    kept = keeping.keeper.take(call, frozenset(item.kind for item in items))
    if kept is None:
        return _send_over_new(call, items, keeping)
    outcomes, ended = _send_over(kept, items, keeping)
    if not ended:
        return outcomes
    lost = {outcome.path for outcome in outcomes if outcome.unanswered or outcome.withheld}
    if not lost:
        return outcomes
    LOGGER.info("the association kept open with %s was over; a new one is opened", call.peer.ae_title)
    again = _send_over_new(call, [item for item in items if item.path in lost], keeping)
    later = {outcome.path: outcome for outcome in again}
    return [_told(outcome, later[outcome.path]) if outcome.path in lost else outcome for outcome in outcomes]


def _told(first: SendOutcome, second: SendOutcome) -> SendOutcome:
    """Return the outcome of the second try; where that failed, too, the first may have brought the object there."""
    if first.unanswered and not second.accepted:
        return replace(second, unanswered=True, withheld=False, passed_over=False)
    return second


def _send_over_new(call: Call, items: Sequence[_Item], keeping: Keeping | None = None) -> list[SendOutcome]:
    """Open an association, where it is kept for later objects, too, and send."""
    kinds = frozenset(item.kind for item in items)
    if keeping and len(kinds | keeping.kinds) <= MAXIMUM_KINDS:
        kinds |= keeping.kinds
    opened = KeptAssociation.open(call, kinds)
    # another process of ours may keep the peer's last place, and takes a while over its release on a busy machine
    for seconds in (keeping.idle_seconds + PARTING_SECONDS, PARTING_SECONDS, PARTING_SECONDS) if keeping else ():
        if not isinstance(opened, NoAssociation) or not opened.for_now:
            break
        time.sleep(seconds)
        opened = KeptAssociation.open(call, kinds)
    if isinstance(opened, NoAssociation):
        return _nobody_there(items, opened)
    return _send_over(opened, items, keeping)[0]


def _send_over(
    association: KeptAssociation, items: Sequence[_Item], keeping: Keeping | None
) -> tuple[list[SendOutcome], bool]:
    """Send, then release the association or keep it; also say whether the peer ended it or it was lost."""
    if not association.begin():
        association.release()  # pynetdicom has ended it where the peer takes nothing at all: each object says so
        return [_refusal(association.association, item) or _withheld(item) for item in items], True
    well = False
    try:
        outcomes = _send_until_unanswered(association.association, items)
        well = all(outcome.accepted or _is_no_context(outcome) for outcome in outcomes)
    finally:
        ended = association.finish()
        if keeping and well and not ended:
            keeping.keeper.keep(association, keeping.idle_seconds)
        else:
            association.release()
    return outcomes, ended


def _is_no_context(outcome: SendOutcome) -> bool:
    """Say whether the object was not sent because the peer has not accepted its kind."""
    return outcome.status is None and outcome.permanent


def _nobody_there(items: Sequence[_Item], why: NoAssociation) -> list[SendOutcome]:
    return [SendOutcome(item.path, None, str(why), False, permanent=False, unreachable=True) for item in items]


def _send_until_unanswered(association: Association, items: Sequence[_Item]) -> list[SendOutcome]:
    """Send one object after the other; after one without an answer nobody is there, and the rest is withheld."""
    outcomes: list[SendOutcome] = []
    answered = True
    for item in items:
        outcome = _send_one(association, item) if answered else replace(_withheld(item), passed_over=True)
        answered = answered and not outcome.unanswered
        outcomes.append(outcome)
    return outcomes


def _withheld(item: _Item) -> SendOutcome:
    why = "association ended before this object was sent"
    return SendOutcome(item.path, None, why, False, permanent=False, withheld=True)


def _refusal(association: Association, item: _Item) -> SendOutcome | None:
    """Return what to say of an object whose kind the peer has not accepted; None where it has."""
    if accepted_form(association, item.kind) is not None:
        return None
    tried = " or ".join(UID(transfer_syntax_uid).name for _sop_class_uid, transfer_syntax_uid in forms(item.kind))
    comment = f"peer does not accept {UID(item.kind[0]).name} in {tried}"
    return SendOutcome(item.path, None, comment, False, permanent=True)


def _send_one(association: Association, item: _Item) -> SendOutcome:
    if refusal := _refusal(association, item):
        return refusal
    said_by_peer = association.dul.peek_next_pdu()  # a release or an abort; the thread that would note it is held
    if not association.is_established or said_by_peer is not None:
        return _withheld(item)
    try:
        as_stored = accepted_form(association, item.kind) == item.kind
        response = association.send_c_store(item.path if as_stored else pydicom.dcmread(item.path))
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

    Warnings mean stored, and so does 0x0111: the peer has it already. 0xA9xx, 0xCxxx, 0x0122 and 0x0124 will be the
    same next time; 0xA7xx, 0x0110 and anything unknown may not be.
    """
    if status in (0, _DUPLICATE) or status in _WARNING_STATUS or status >> 12 == 0xB:
        return True, False
    return False, status in _PERMANENT_STATUS or status >> 8 in _PERMANENT_CLASSES
