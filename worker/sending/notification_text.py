"""What people are told: that something waits, and nothing about whom unless the site wants that."""

from __future__ import annotations

from typing import Any

from dicom_io.results.reporting import NO_MEDICAL_DEVICE
from worker.sending.notification_rows import Message
from worker.settings.config import Settings
from worker.settings.notifications import Channel


def key(message: Message, settings: Settings) -> str:
    """Return what tells a notification sent twice from two: the same at every attempt."""
    return f"{settings.device_serial_number}-{message.notification_id}"


def as_json(message: Message, channel: Channel, settings: Settings) -> dict[str, Any]:
    """Return the body of a webhook."""
    body: dict[str, Any] = {
        "id": key(message, settings),
        "event": "study_flagged",
        "site": settings.site_name,
        "priority": message.priority,
        "flagged_at": message.flagged_at.isoformat(),
        "source": message.source,
        "unread": message.unread,
        "link": link(message, channel, settings),
        "notice": NO_MEDICAL_DEVICE,
    }
    if channel.patient_data:
        body["study"] = {
            "study_instance_uid": message.study_instance_uid,
            "patient_name": message.patient_name,
            "patient_id": message.patient_id,
            "accession_number": message.accession_number,
            "reason": message.finding,
        }
    return body


def as_lines(message: Message, channel: Channel, settings: Settings) -> list[str]:
    """Return the text of an e-mail."""
    source = _printable(message.source) or "an unnamed sender"
    lines = [
        f"A chest radiograph from {source} was flagged {message.priority} at "
        f"{message.flagged_at:%Y-%m-%d %H:%M:%S} UTC."
    ]
    lines.append(f"Unread {message.priority} studies now: {message.unread}.")
    if channel.patient_data:
        lines += [
            f"Patient: {_printable(_name(message.patient_name))} ({_printable(message.patient_id)})",
            f"Accession number: {_printable(message.accession_number)}",
            f"Reason: {_printable(message.finding)}",
        ]
    if address := link(message, channel, settings):
        lines.append(f"Read it: {address}")
    return [*lines, "", NO_MEDICAL_DEVICE]


def link(message: Message, channel: Channel, settings: Settings) -> str | None:
    """Return where to read it: the worklist, or the study where a channel may name one; None without ``page_url``."""
    if not settings.page_url:
        return None
    return f"{settings.page_url}/studies/{message.study_instance_uid}" if channel.patient_data else settings.page_url


def _name(value: str) -> str:
    """Return a PN value (PS3.5 6.2.1) with blanks between its parts; the group that comes first."""
    return " ".join(part for part in value.split("=")[0].split("^") if part)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
