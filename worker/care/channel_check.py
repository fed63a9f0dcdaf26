"""What `check` finds of the ways to tell people: files that can be read, a server that answers; nothing is sent."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from worker.care.listener_check import CheckFailed
from worker.sending.mail import require_server
from worker.sending.webhook import NotTold
from worker.settings.notifications import Mail, Webhook


def answer_of_webhook(webhook: Webhook) -> str:
    """Say whether something listens there; nothing is posted.

    Raises
    ------
    CheckFailed
        Nothing does, or a file that is needed to post cannot be used.
    """
    _require_trust(webhook.ca_file)
    _require_secret("secret_file", webhook.secret_file)
    address = urlsplit(webhook.url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), webhook.timeout_seconds).close()
    except (OSError, UnicodeError) as error:
        raise CheckFailed(
            f"{address.hostname}:{port} does not answer ({type(error).__name__}); check its url"
        ) from error
    return f"{address.hostname}:{port} answers; told of {', '.join(webhook.levels)}"


def answer_of_mail_server(channel: Mail) -> str:
    """Say whether the mail server lets us in; nothing is sent.

    Raises
    ------
    CheckFailed
        It does not, or a file that is needed for it cannot be used.
    """
    _require_trust(channel.ca_file)
    if channel.username:
        _require_secret("password_file", channel.password_file)
    try:
        require_server(channel)
    except NotTold as error:
        raise CheckFailed(f"{channel.host}:{channel.port}: {error}") from error
    return f"{channel.host}:{channel.port} lets us in; {len(channel.recipients)} told of {', '.join(channel.levels)}"


def _require_secret(key: str, file: Path | None) -> None:
    if file is None:
        return
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckFailed(f"{key} {file} cannot be read ({type(error).__name__}); check its name and owner") from error
    if not found:
        raise CheckFailed(f"{key} {file} is empty; write the secret into it")


def _require_trust(file: Path | None) -> None:
    if file is None:
        return
    try:
        ssl.create_default_context(cafile=str(file))
    except OSError as error:
        raise CheckFailed(f"ca_file {file} holds no certificates ({type(error).__name__}); check its name") from error
