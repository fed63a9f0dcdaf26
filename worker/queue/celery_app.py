"""The Celery application and its settings; the broker carries only hints, the database rows decide.

``celery -A worker.processes.tasks worker`` works from the environment alone (``CXR_*``); our own commands call
``configure`` with the settings they were given, before the first message is sent or received.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from worker.settings.config import Settings, load_settings

DELIVERY_QUEUE = "delivery"
QUEUES = ("stat", "routine", DELIVERY_QUEUE)
SOFT_TIME_LIMIT_SECONDS = 120
HARD_TIME_LIMIT_SECONDS = 180
"""Of an analysis."""
DELIVERY_TIME_LIMIT_SECONDS = 3600
"""Archives may take minutes over each of many objects; every wait in a delivery has a limit of its own."""
VISIBILITY_TIMEOUT_SECONDS = 900
"""Redis hands a message out again after this long; must stay above the hard time limit of an analysis. A second message
leaves a delivery to whoever has it in hand."""


def message_folder(settings: Settings) -> Path | None:
    """Return where messages wait as files; None where the broker is a server."""
    return settings.data_dir / "queue" / "messages" if settings.broker_url.startswith("filesystem:") else None


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration for ours; makes the folders of a ``filesystem://`` broker."""
    messages = message_folder(settings)
    on_disk = messages is not None
    options = _folder_options(messages) if messages is not None else _redis_options()
    return {
        "broker_url": settings.broker_url,
        "broker_transport": "worker.queue.broker:Transport" if on_disk else None,
        "broker_transport_options": options,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,  # Redis without memory, or read-only: it refuses, and may take again
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_queues": [_queue(name) for name in QUEUES],
        "task_default_queue": "routine",
        "task_create_missing_queues": False,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
        "worker_prefetch_multiplier": 1,
        "worker_lost_wait": 1.0,  # for results, of which there are none; a dead process's message holds a place so long
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_soft_shutdown_timeout": 30,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_proc_alive_timeout": 120,  # a process is ready only once its network is loaded
        "worker_enable_remote_control": not on_disk,  # on disk it would add polled folders for nothing
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _queue(name: str) -> Queue:
    """Return a queue with an exchange of its own name; Celery would bind all of them to the default queue's."""
    return Queue(name, Exchange(name, type="direct"), routing_key=name)  # type: ignore[no-untyped-call]  # kombu's


def _folder_options(messages: Path) -> dict[str, Any]:
    control = messages.with_name("control")
    for folder in (messages, control):
        folder.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(control),
    }


def _redis_options() -> dict[str, Any]:
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "worker.queue.broker:StatFirst",
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


class _Configuration:
    """The settings this process was given; read from the environment when nobody gave any."""

    def __init__(self) -> None:
        self._settings: Settings | None = None

    def give(self, settings: Settings) -> None:
        self._settings = settings

    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = load_settings()
        return self._settings


_configuration = _Configuration()

app = Celery("cxr-triage-worker", include=["worker.processes.tasks"])
app.add_defaults(lambda: celery_settings(_configuration.settings()))  # read at first use, not at import


def configure(settings: Settings) -> None:
    """Let this process talk to the broker of ``settings``; call it before anything is sent or received."""
    _configuration.give(settings)
    app.conf.update(celery_settings(settings))
    app._after_fork()  # forgets pooled connections to the broker of earlier settings; Celery has no public word for it


def configured_settings() -> Settings:
    """Return the settings given to ``configure``, else those of the environment.

    Raises
    ------
    ConfigurationError
        Nothing was given and the environment is mistaken.
    """
    return _configuration.settings()
