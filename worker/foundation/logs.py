"""Log lines to standard error: time, level, place, study UID and task; never a name, a patient ID or a dataset.

Exception texts of other libraries may quote what they choked on, which may be a patient's name; only the type and the
place of such an exception are written. Our own exceptions carry UIDs only and are written whole. What a peer sent is no
fault of the program: of an exception that pynetdicom met over it one line is written, and no stack.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

OUR_PACKAGES = ("dicom_io", "hl7_io", "model", "worker", "worklist", "migrations")
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(processName)s %(name)s%(subject)s: %(message)s"

_PEERS_FAULTS = "pynetdicom."
_OUR_FAULTS = ("pynetdicom.events", "pynetdicom.service_class")
"""Where pynetdicom tells of an exception in a handler, which is ours."""

_OF_THE_SYSTEM = ("builtins", "socket", "ssl")
"""Whose OSErrors say what a connection or a file came to, and nothing of what is in it."""

_study_instance_uid: ContextVar[str | None] = ContextVar("study_instance_uid", default=None)
_task_id: ContextVar[str | None] = ContextVar("task_id", default=None)


@contextmanager
def subject(study_instance_uid: str, task_id: str | None = None) -> Iterator[None]:
    """Write this study (and Celery task) into every log line of the block."""
    study_token, task_token = _study_instance_uid.set(study_instance_uid), _task_id.set(task_id)
    try:
        yield
    finally:
        _study_instance_uid.reset(study_token)
        _task_id.reset(task_token)


def describe_exception(error: BaseException) -> str:
    """Return what may be logged of an exception: its text if it is ours or the system's, else only its type."""
    kind = type(error)
    if kind.__module__.partition(".")[0] in OUR_PACKAGES:
        return f"{kind.__name__}: {error}"
    if isinstance(error, OSError) and kind.__module__ in _OF_THE_SYSTEM:
        return f"{kind.__qualname__}: {error.strerror or error}"
    return f"{kind.__module__}.{kind.__qualname__}"


class LineFormatter(logging.Formatter):
    """One line per event in UTC; tracebacks without the texts of foreign exceptions."""

    def __init__(self) -> None:
        super().__init__(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Add the subject; take exception texts out of Celery's own failure lines."""
        study, task = _study_instance_uid.get(), _task_id.get()
        record.subject = (f" study={study}" if study else "") + (f" task={task}" if task else "")
        if isinstance(record.args, Mapping) and "exc" in record.args:
            record.args = {**record.args, "exc": _type_of(record.exc_info), "traceback": ""}
        _keep_to_what_may_be_said(record)
        record.msg, record.args = _in_one_piece(record.getMessage()), None
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 (name given by logging)
        """Return stack places and, of the exception, what ``describe_exception`` allows."""
        _kind, error, stack = ei
        if error is None:
            return ""
        places = _places(stack)
        return "\n".join([*places, f"  {describe_exception(error)}"])


_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))} | {ord("\n"): "\n  "}
"""Peers choose UIDs and titles that are quoted: none may end a line and begin one that looks like ours."""


def _in_one_piece(message: str) -> str:
    return message.rstrip("\n").translate(_CONTROL)


def _keep_to_what_may_be_said(record: logging.LogRecord) -> None:
    """Take the text of an exception out of a message that is nothing else, and the stack where it is a peer's fault."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return
    if record.msg is error:
        record.msg, record.args = describe_exception(error), None
    if record.name.startswith(_PEERS_FAULTS) and record.name not in _OUR_FAULTS:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f", in {frame.name} of {Path(frame.filename).name}" for frame in place)
        record.msg, record.args = f"{record.getMessage()}{where}", None
        record.exc_info = record.exc_text = None


def _type_of(exc_info: Any) -> str:
    return describe_exception(exc_info[1]) if exc_info and exc_info[1] is not None else "an exception"


def _places(stack: TracebackType | None) -> list[str]:
    return [f"  at {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(stack)]


def configure_logging() -> None:
    """Send every package's log lines to standard error; pynetdicom only warnings (its INFO quotes peers)."""
    line_writer = logging.StreamHandler(sys.stderr)
    line_writer.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[line_writer], force=True)
    for name in (
        "pynetdicom",
        "pydicom",
        "kombu",
        "amqp",
        "alembic",
        "celery.worker.strategy",
        "celery.app.trace",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # warns that a broker of files has no host name
    logging.captureWarnings(True)
