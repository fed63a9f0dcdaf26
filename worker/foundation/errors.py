"""The named errors of the worker. Raised where a fact is known, translated only at the borders.

::

    WorkerError
    ├── StartError              a process cannot start; the command line prints it and exits with 1
    │   ├── UnmigratedDatabase  revision missing, older or unknown
    │   ├── DatabaseUnavailable cannot connect
    │   ├── MigrationBusy       another process is migrating
    │   ├── AlreadyRunning      a second start on the same data folder
    │   └── AddressInUse        the port is taken
    ├── RunError                one run failed; carries a reason code
    │   ├── PermanentRunError   trying again cannot help
    │   │   └── ImagesDeleted   retention has deleted images that the run needs
    │   └── RetryableRunError   trying again may help; counted against the maximum of attempts
    │       └── NoRoomForResults  the disk is full; waits for room and is not counted
    ├── LeaseLost               another worker has, or may have, taken this run
    └── RunRefused              no run can be queued for this study now
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dicom_io.foundation.reasons import ReasonCode


class WorkerError(Exception):
    """Base of every error the worker raises on purpose."""


class StartError(WorkerError):
    """A process cannot start."""


class UnmigratedDatabase(StartError):
    """The database does not have the schema this version needs."""

    def __init__(self, location: str, found: str | None, expected: str) -> None:
        self.found = found
        self.expected = expected
        state = f"is at revision {found}" if found else "has no triage tables yet"
        remedy = "run `python -m worker migrate`"
        if not found and location.startswith("sqlite"):
            remedy += ", or mount its disk if this worker ran before"
        if found and found > expected:  # numbers of four digits
            remedy = "it is a newer version's: install that one again, or restore a backup from before the update"
        super().__init__(f"the database {location} {state}, but this version needs {expected}; {remedy}")


class DatabaseUnavailable(StartError):
    """The database does not answer."""

    def __init__(self, location: str, cause: str, remedy: str = "") -> None:
        on_disk = "that this user may read and write the file and its folder"
        what = on_disk if location.startswith("sqlite") else "that the server runs"
        remedy = remedy or f"check database_url and {what}"
        super().__init__(f"cannot reach the database {location}: {cause}; {remedy}")


class MigrationBusy(StartError):
    """Another process holds the migration lock."""

    def __init__(self, location: str, waited_seconds: float) -> None:
        super().__init__(
            f"waited {waited_seconds:g} s for a lock on the database {location}: another process is migrating or"
            " uses it; stop the workers and run `python -m worker migrate` again"
        )


class AlreadyRunning(StartError):
    """A second start of the same service on the same data folder."""

    def __init__(self, service: str, data_dir: Path, holder: str) -> None:
        super().__init__(
            f"another {service} already runs on the data folder {data_dir} ({holder});"
            " stop it first or give this one its own data_dir"
        )


class AddressInUse(StartError):
    """The listening address cannot be bound."""

    def __init__(self, host: str, port: int, cause: str, key: str = "listen_port") -> None:
        self.host = host
        self.port = port
        super().__init__(f"cannot listen on {host}:{port}: {cause}; stop the program that uses it or change {key}")


class NotConfigured(StartError):
    """The configuration lacks what this process needs, or names a file that cannot be used."""


class RunError(WorkerError):
    """One run failed.

    Parameters
    ----------
    reason_code
        Short machine-readable word written to ``run.reason_code`` and ``study.reason_code``.
    message
        Sentence for people, without patient data.
    """

    retryable: bool

    def __init__(self, reason_code: str, message: str) -> None:
        self.reason_code = reason_code
        super().__init__(message)


class PermanentRunError(RunError):
    """Trying the run again cannot help."""

    retryable = False


class ImagesDeleted(PermanentRunError):
    """Retention has deleted images that the run needs."""

    def __init__(self, study_instance_uid: str, deleted_at: datetime) -> None:
        super().__init__(ReasonCode.FILE_MISSING, f"{deletion_text(deleted_at)}; {how_to_restore(study_instance_uid)}")


def deletion_text(deleted_at: datetime) -> str:
    """Return in words that images are gone on purpose, and since when (UTC)."""
    return f"images of it were deleted here on {deleted_at:%Y-%m-%d}, as the retention of this site says"


def refusal_of_the_system(error: OSError) -> str:
    """Return in words what the operating system refused, with the path it is about, and whose the path should be."""
    words = f"{error.strerror or type(error).__name__}: {error.filename or 'the operating system refused'}"
    if isinstance(error, PermissionError) and error.filename:
        return f"{words}; give it to the user that runs the worker, or give the command as that user"
    return words


def how_to_restore(study_instance_uid: str) -> str:
    """Return in words what brings images back that were deleted, or lost with their disk."""
    return (
        f"fetch them from the archive with `python -m worker reconcile --study {study_instance_uid}` (or have them sent"
        " again), then requeue the study"
    )


class RetryableRunError(RunError):
    """Trying the run again may help."""

    retryable = True


class NoRoomForResults(RetryableRunError):
    """The disk is full, which is no fault of the run: it waits, and the attempt is not counted."""

    def __init__(self, cause: str) -> None:
        super().__init__(ReasonCode.NO_ROOM, f"{ReasonCode.NO_ROOM.sentence} {cause}")


class LeaseLost(WorkerError):
    """The run is no longer ours: its fencing token moved on or it is not running any more."""

    def __init__(self, run_id: int, fencing_token: int) -> None:
        self.run_id = run_id
        self.fencing_token = fencing_token
        super().__init__(f"run {run_id} is no longer held under fencing token {fencing_token}; its work is thrown away")


class RunRefused(WorkerError):
    """No run can be queued for this study now."""

    def __init__(self, study_instance_uid: str, cause: str) -> None:
        super().__init__(f"study {study_instance_uid} cannot be queued: {cause}")
