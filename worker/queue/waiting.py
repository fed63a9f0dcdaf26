"""How many messages wait in a queue; looking takes none of them."""

from __future__ import annotations

import logging

from kombu.exceptions import ChannelError

from worker.queue.celery_app import app

logger = logging.getLogger(__name__)


def messages_waiting(queue: str) -> int | None:
    """Return how many messages of the queue no worker has taken yet; None when the broker does not answer."""
    with app.connection_or_acquire() as connection:
        try:
            connection.connect()  # what a failed ring closed lies in the pool like any other
            with connection.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:  # Redis does not know an empty queue
            return 0
        except (*connection.connection_errors, *connection.channel_errors) as error:  # gone, or out of memory, say
            logger.warning("cannot look into the queue %s (%s); it is asked again later", queue, type(error).__name__)
            return None
