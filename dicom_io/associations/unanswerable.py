"""Requests that nobody can answer: what their sender would wait for in vain, or hear a wrong success of.

pynetdicom 3.0.4 notes a request that lacks what it must have and says nothing; a sender without a timeout then waits
for ever. And it looks for the service in the class that a request names: a C-STORE of Verification is a success there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class


def unanswerable(message: Any, mapped_classes: Mapping[Any, Any]) -> str:
    """Say why a message is a request that cannot be answered; nothing where it is another.

    Parameters
    ----------
    mapped_classes
        SOP classes that stand for another service, which comes first in the value, by negotiation (PS3.7 D.3.3.6).
    """
    if message.MessageIDBeingRespondedTo is not None:
        return ""
    kind = type(message).__name__.replace("_", "-")
    if not message.is_valid_request:
        return f"a {kind} request lacks an element that it must have (PS3.7 9.1, 10.1)"
    if isinstance(message, C_STORE):
        named = message.AffectedSOPClassUID
        service, *_ = mapped_classes.get(named, (named,))
        if uid_to_service_class(service) is not StorageServiceClass:
            return "a C-STORE request names a SOP class that is none of storage"
    return ""
