"""Requests that nobody can answer: what their sender would wait for in vain, hear a wrong success of, or may not do.

pynetdicom 3.0.4 notes a request that lacks what it must have and says nothing; a sender without a timeout then waits
for ever. And it looks for the service in the class that a request names, whatever context it came under: a C-STORE of
Verification is a success there, and whoever may verify might send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class


def unanswerable(message: Any, abstract_syntax: str | None, mapped_classes: Mapping[Any, Any]) -> str:
    """Say why a message is a request that cannot be answered; nothing where it is another.

    Parameters
    ----------
    abstract_syntax
        Of the presentation context that it came under; None where that was not accepted, which pynetdicom says.
    mapped_classes
        SOP classes that stand for another service, which comes first in the value, by negotiation (PS3.7 D.3.3.6).
    """
    if message.MessageIDBeingRespondedTo is not None:
        return ""
    kind = type(message).__name__.replace("_", "-")
    if not message.is_valid_request:
        return f"a {kind} request lacks an element that it must have (PS3.7 9.1, 10.1)"
    named = getattr(message, "AffectedSOPClassUID", None) or getattr(message, "RequestedSOPClassUID", None) or ""
    service = _service_of(named, mapped_classes)
    if isinstance(message, C_STORE) and service is not StorageServiceClass:
        return "a C-STORE request names a SOP class that is none of storage"
    if abstract_syntax is not None and _service_of(abstract_syntax, mapped_classes) is not service:
        return f"a {kind} request came under a presentation context of another service"
    return ""


def _service_of(sop_class_uid: str, mapped_classes: Mapping[Any, Any]) -> type[ServiceClass]:
    service, *_ = mapped_classes.get(sop_class_uid, (sop_class_uid,))
    return uid_to_service_class(service)
