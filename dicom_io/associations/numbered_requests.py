"""Gives each request of ours a number of its own, and takes no answer for that of another request (PS3.7 9.1, annex E).

pynetdicom 3.0.4 numbers all its requests 1 and takes whatever answer comes next. An answer too many to one object would
then count as the next one's, which the archive may have refused.
"""

from __future__ import annotations

from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider

LARGEST_MESSAGE_ID = 0xFFFF


class NumberedRequests(DIMSEServiceProvider):
    """The messages of an association of ours; made by giving an existing provider this class."""

    _message_id = 0
    """Of the request that was made last; 0 before the first."""
    _service: type[Any] | None = None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message."""
        self.number(primitive)
        super().send_msg(primitive, context_id)

    def number(self, primitive: Any) -> None:
        """Give a message the next number if it is a request; an answer of ours keeps that of what it answers."""
        if primitive.MessageIDBeingRespondedTo is None:
            self._message_id = self._message_id % LARGEST_MESSAGE_ID + 1
            self._service = type(primitive)
            primitive.MessageID = self._message_id

    def stray(self, message: Any) -> str | None:
        """Say why a message is no answer to the last request; None where it is, or is a request itself."""
        answered = message.MessageIDBeingRespondedTo
        if answered is None or (answered == self._message_id and type(message) is self._service):
            return None
        service, asked = (_name(kind) for kind in (type(message), self._service))
        return f"{service} response to message {answered}, awaited is {asked} response to message {self._message_id}"


def _name(kind: type[Any] | None) -> str:
    return kind.__name__.replace("_", "-") if kind is not None else "no"
