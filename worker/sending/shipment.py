"""What a destination is sent: the report always, pictures as its configuration says."""

from __future__ import annotations

from collections.abc import Iterable

from worker.rows.states import ResultKind
from worker.settings.peers import Destination


def ships(destination: Destination, kind: ResultKind) -> bool:
    """Return whether results of this kind go to this destination."""
    if kind is ResultKind.HL7_MESSAGE:
        return False
    if kind is ResultKind.SECONDARY_CAPTURE:
        return destination.pictures != "none"
    if kind is ResultKind.PRESENTATION_STATE:
        return destination.pictures == "sc+gsps"
    if kind is ResultKind.SUMMARY_CAPTURE:
        return destination.summary_capture
    return True


def shipped_anywhere(destinations: Iterable[Destination], kind: ResultKind) -> bool:
    """Return whether results of this kind have to be made."""
    return any(ships(destination, kind) for destination in destinations)
