"""From the outbox to people: one attempt through one channel for what is due of a study, noted, tried again later."""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from worker.rows.events import record
from worker.sending.mail import mail
from worker.sending.notification_rows import Message, note_not_told, note_told, take_due
from worker.sending.notification_text import as_json, as_lines, key
from worker.sending.post_office import PostOffice
from worker.sending.webhook import NotTold, post
from worker.settings.notifications import Channel, Mail, Webhook

logger = logging.getLogger(__name__)


def notify(study_instance_uid: str, name: str, office: PostOffice) -> None:
    """Tell what is due of the study through the channel of this name."""
    channel = next((each for each in office.settings.channels if each.name == name), None)
    with office.sessions.begin() as session:
        messages = take_due(session, study_instance_uid, channel, name, office.settings)
    if channel is not None:
        for message in messages:
            _tell(message, channel, office)


def _tell(message: Message, channel: Channel, office: PostOffice) -> None:
    try:
        answer = _sent(message, channel, office)
    except NotTold as error:
        logger.warning("%s was not told of a study: %s", channel.name, error)
        with office.sessions.begin() as session:
            noted = note_not_told(session, message, channel, str(error), office.settings)
            if noted and message.attempts == 1:
                _record(office, session, "notification_delayed", message, str(error))
        return
    with office.sessions.begin() as session:
        if note_told(session, message, answer):
            _record(office, session, "notified", message, answer)
    logger.info("%s was told of a study: %s", channel.name, answer)


def _record(office: PostOffice, session: Session, kind: str, message: Message, answer: str) -> None:
    details = {"channel": message.channel, "priority": message.priority, "attempts": message.attempts}
    record(
        session,
        kind,
        actor=office.worker_name,
        study_instance_uid=message.study_instance_uid,
        run_id=message.run_id,
        reason=f"{message.channel}: {answer}",
        details=details,
    )


def _sent(message: Message, channel: Channel, office: PostOffice) -> str:
    settings = office.settings
    if isinstance(channel, Webhook):
        return post(channel, as_json(message, channel, settings))
    if isinstance(channel, Mail):
        subject = f"{message.priority}: a chest radiograph waits"
        return mail(channel, subject, as_lines(message, channel, settings), key(message, settings))
    raise TypeError(f"channel {channel.name} is neither a webhook nor a mail")
