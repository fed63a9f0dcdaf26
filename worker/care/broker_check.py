"""Whether the broker answers, and takes messages: a server without memory left, or a replica, does only the first."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError

from worker.care.folder_check import require_writable
from worker.care.listener_check import CheckFailed
from worker.queue.celery_app import app, configure, message_folder
from worker.settings.config import Settings

BROKER_TIMEOUT_SECONDS = 5.0


def state_of_broker(settings: Settings) -> str:
    """Say where the broker is, which has answered and taken a change.

    Raises
    ------
    CheckFailed
        It does not answer, or takes nothing.
    """
    messages = message_folder(settings)
    if messages is not None and not messages.is_dir():  # it is not made here, perhaps beneath a disk to be mounted
        require_writable("the folder of messages", messages)
        return f"folder {messages.parent}, made when the first process starts"
    try:
        configure(settings)
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT_SECONDS)
            location: str = connection.as_uri()
            _declare_queues(connection)
    except (OperationalError, OSError) as error:
        cause = str(error).rstrip(".")
        raise CheckFailed(f"the broker does not answer: {cause}; check broker_url and that the server runs") from error
    if messages is not None:
        require_writable("the folder of messages", messages)
        return f"folder {messages.parent}"
    return f"{location}, takes messages"


def _declare_queues(connection: Any) -> None:
    """Write what every worker writes at its start, which changes nothing where one has been started before."""
    try:
        with connection.channel() as channel:
            for queue in app.amqp.queues.values():
                queue(channel).declare()
    except (*connection.channel_errors, *connection.connection_errors) as error:
        raise CheckFailed(
            f"the broker answers and takes no messages ({str(error).rstrip('.')}); images are still received, but "
            "nothing is analysed or sent until it does"
        ) from error
