"""What a run makes of a store of results that takes nothing: it waits for room, or tries again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.instance_store import StorageFull, StoreError
from worker.foundation.errors import NoRoomForResults, RetryableRunError


@contextmanager
def storing_results() -> Iterator[None]:
    """Name the errors of the store of results as those of a run.

    Raises
    ------
    NoRoomForResults
        The disk of the store of results is full.
    RetryableRunError
        The store of results is not writable, or a file in it is gone.
    """
    try:
        yield
    except StorageFull as error:
        raise NoRoomForResults(str(error)) from error
    except StoreError as error:
        raise RetryableRunError(ReasonCode.STORAGE, f"{ReasonCode.STORAGE.sentence} {error}") from error
