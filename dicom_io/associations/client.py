"""Opens associations to peers: one way to call, one way to say in words why a peer could not be reached."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

import dicom_io.associations.closing
import dicom_io.associations.odd_negotiation  # noqa: F401 (of both, the import is the effect)
from dicom_io.associations.bounded_socket import BoundedSocket
from dicom_io.associations.lasting import LastingStateMachine
from dicom_io.associations.message_limits import BoundedAnswers
from dicom_io.associations.reactor_pause import reactor_held, release
from dicom_io.foundation.peer import Peer
from dicom_io.foundation.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.foundation.tls import NotingContext, TlsFileError

_config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would put each message in words that nobody reads
_config.LOG_RESPONSE_IDENTIFIERS = False  # nor decode each answer once more for it
LEAST_PDU_BYTES = 128
"""What a peer must take at a time; none that is one offers less than 4096, and PS3.8 D.1 names no least."""
_PDU_TYPES = range(1, 8)
"""First byte of all that is DICOM (PS3.8 9.3.1)."""
_TLS_ALERT = 0x15
"""First byte of what a server of TLS says to who speaks none (RFC 8446 5.1)."""
_FOR_NOW = 2
_REJECTED_BY = {1: "permanently", _FOR_NOW: "for now"}


@dataclass(frozen=True)
class ScuSettings:
    """How patiently to send."""

    connection_timeout_seconds: float = 10.0
    acse_timeout_seconds: float = 30.0
    dimse_timeout_seconds: float = 120.0
    network_timeout_seconds: float = 300.0
    maximum_pdu_bytes: int = 131072
    answers_seconds: float = 900.0
    """From one query, or the request for one object, to the last answer to it; an archive may fetch from tape first."""


class NoAssociation(str):
    """What kept an association from being one, in words."""

    for_now: bool = False
    """True when the peer rejected it for now (PS3.8 9.3.4, result 2), as one does that has no association free."""


def associate(
    peer: Peer,
    contexts: list[PresentationContext],
    calling_ae_title: str,
    settings: ScuSettings,
    handlers: Sequence[Any] = (),
    roles: Sequence[Any] = (),
) -> Association | NoAssociation:
    """Return an established association, or what kept it from being one.

    Parameters
    ----------
    handlers
        Of pynetdicom's events, for what the peer sends over this association.
    roles
        Role selection items to propose, where we are not the SCU.
    """
    ae = AE(calling_ae_title)
    ae.implementation_class_uid, ae.implementation_version_name = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = settings.connection_timeout_seconds
    ae.acse_timeout, ae.dimse_timeout = settings.acse_timeout_seconds, settings.dimse_timeout_seconds
    ae.network_timeout = settings.network_timeout_seconds
    context: NotingContext | None = None
    try:
        context = peer.tls.context(server_side=False) if peer.tls else None
        association = ae.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=settings.maximum_pdu_bytes,
            ext_neg=list(roles),
            tls_args=(context, peer.host) if context else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, _prepare), *handlers],
        )
    except TlsFileError as error:
        return NoAssociation(f"TLS file {error.filename} {error.strerror}")
    except (OSError, RuntimeError, UnicodeError) as error:  # the last: a host that no resolver can be asked for
        return NoAssociation(f"cannot reach {peer.host} port {peer.port} ({type(error).__name__})")
    if association.is_established and (hindrance := _hindrance(association)):
        association.abort()
        return NoAssociation(f"{peer.ae_title} {hindrance}")
    if association.is_established or association.rejected_contexts:
        return association  # where every context was refused pynetdicom has aborted it, and each object says why
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        kind = _REJECTED_BY.get(answer.result, "")
        rejection = NoAssociation(f"{peer.ae_title} rejected the association {kind}: {answer.reason_str}")
        rejection.for_now = answer.result == _FOR_NOW
        return rejection
    why = f": no TLS, {context.failure}" if context and context.failure else _other_language(association)
    return NoAssociation(f"no association with {peer.ae_title} at {peer.host} port {peer.port}{why}")


def _other_language(association: Association) -> str:
    """Say what the peer speaks in the place of DICOM; nothing where it said nothing, or DICOM."""
    began_with = getattr(association.dul.socket, "began_with", None)
    if began_with is None or began_with in _PDU_TYPES:
        return ""
    return ": it speaks TLS" if began_with == _TLS_ALERT else ": it speaks no DICOM"


def _hindrance(association: Association) -> str:
    """Say why nothing can be sent over an association that the peer has accepted; empty where something can.

    What it accepts without a transfer syntax is taken for not accepted (PS3.8 9.3.3.2).
    """
    accepted: Any = association._accepted_cx
    association._accepted_cx = {number: context for number, context in accepted.items() if context.transfer_syntax}
    most_bytes = association.acceptor.maximum_length or 0
    if 0 < most_bytes < LEAST_PDU_BYTES:  # 0 is any length (PS3.8 D.1)
        return f"takes no more than {most_bytes} bytes at a time, which is too little to send anything"
    return ""


def _prepare(event: Event) -> None:
    """Switch Nagle's algorithm off, which holds the last piece of each object back for 40 ms; bound what is waited for.

    A peer that takes nothing, or falls silent within a PDU, is waited for as long as one that does not answer: the
    system itself goes on sending for a quarter of an hour, and would wait for the rest of a PDU for ever.
    """
    patience = event.assoc.dimse_timeout
    if patience is None:
        raise ValueError("an association of ours needs a DIMSE timeout")
    dimse: Any = event.assoc.dimse
    dimse.__class__ = BoundedAnswers  # all made by pynetdicom, which offers no factory
    event.assoc.dul.state_machine.__class__ = LastingStateMachine
    transport: Any = event.assoc.dul.socket
    transport.__class__ = BoundedSocket
    transport.maximum_pdu_bytes, transport.pdu_timeout_seconds = event.assoc.requestor.maximum_length, patience
    transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.socket.settimeout(patience)


def end(association: Association) -> None:
    """Release the association, if there still is one."""
    if association.is_established:
        with reactor_held(association):
            release(association)
