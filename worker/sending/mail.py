"""Tells people by e-mail; told means that the mail server took the message for at least one of them."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import formatdate

from worker.sending.webhook import NotTold
from worker.settings.notifications import Mail


def mail(channel: Mail, subject: str, lines: Sequence[str], key: str) -> str:
    """Hand one message to the mail server and return its answer in a few words.

    Parameters
    ----------
    key
        Makes the Message-ID, so that a message sent twice is one message to a mail program.

    Raises
    ------
    NotTold
        Refused, unreachable or silent, or a file or a name of the configuration cannot be used.
    """
    with _in_our_words(), _connected(channel) as server:
        refused = server.send_message(_message(channel, subject, lines, key))
    taken = len(channel.recipients) - len(refused)
    return f"taken for {taken} of {len(channel.recipients)} recipients"


def require_server(channel: Mail) -> None:
    """Connect and log in, and send nothing.

    Raises
    ------
    NotTold
        The mail server does not answer or does not let us in.
    """
    with _in_our_words(), _connected(channel) as server:
        server.noop()


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Say what went wrong without the server's text, which may quote addresses."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        raise NotTold("the mail server refused every recipient") from error
    except smtplib.SMTPResponseException as error:
        raise NotTold(f"the mail server answered {error.smtp_code}") from error
    except (smtplib.SMTPException, OSError, UnicodeError) as error:  # the last: a password beyond ASCII, no host name
        raise NotTold(f"no mail server ({type(error).__name__})") from error


@contextmanager
def _connected(channel: Mail) -> Iterator[smtplib.SMTP]:
    """Give a server that let us in; however it answers QUIT, what it took is taken (RFC 5321 4.1.1.10)."""
    server = _logged_in(channel)
    try:
        yield server
    finally:
        with suppress(smtplib.SMTPException):  # that of `SMTP.__exit__` reads as if nothing had been taken
            server.quit()
        server.close()


def _logged_in(channel: Mail) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=str(channel.ca_file) if channel.ca_file else None)
    if channel.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            channel.host, channel.port, timeout=channel.timeout_seconds, context=context
        )
    else:
        server = smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_seconds)
    try:
        if channel.security == "starttls":
            server.starttls(context=context)
        if channel.username:
            password = channel.password_file.read_text(encoding="utf-8").strip() if channel.password_file else ""
            server.login(channel.username, password)
    except BaseException:
        server.close()
        raise
    return server


def _message(channel: Mail, subject: str, lines: Sequence[str], key: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = channel.sender
    message["To"] = ", ".join(channel.recipients)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<cxr-{key}@{channel.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes in return
    message.set_content("\n".join(lines) + "\n")
    return message
