"""What the UPS SCP needs from whoever keeps the workitems, and what it hands on: no DIMSE, no SQL (PS3.4 CC.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from pydicom.dataset import Dataset

from dicom_io.ups.status import UpsStatus

GLOBAL_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5"
FILTERED_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5.1"
WELL_KNOWN = frozenset({GLOBAL_SUBSCRIPTION, FILTERED_SUBSCRIPTION})
PUSH, WATCH, PULL, QUERY = (f"1.2.840.10008.5.1.4.34.6.{number}" for number in (1, 2, 3, 5))
UPS_CLASSES = (PUSH, WATCH, PULL, QUERY)
"""Accepted as abstract syntax; UPS Event is proposed by us."""


class ActionType(IntEnum):
    """Action Type ID of N-ACTION (PS3.4 CC.2.1 to CC.2.3)."""

    CHANGE_STATE = 1
    REQUEST_CANCEL = 2
    SUBSCRIBE = 3
    UNSUBSCRIBE = 4
    SUSPEND = 5


@dataclass(frozen=True)
class Subscription:
    """Who wants to hear of what."""

    sop_instance_uid: str
    """Of one workitem, or one of `WELL_KNOWN`."""
    receiving_ae_title: str
    deletion_lock: bool
    keys: Dataset
    """Matching keys of a filtered subscription; empty otherwise."""


class WorklistUnavailable(Exception):
    """The workitems cannot be read or written now; the peer should try again later."""


class Worklist(Protocol):
    """Keeps the workitems; called from one thread per association.

    Every method raises `UpsRefusal` for what must not be, and `WorklistUnavailable`.
    """

    def find(self, keys: Dataset) -> Iterator[Dataset]:
        """Yield the workitems that match, most urgent first."""

    def get(self, sop_instance_uid: str) -> Dataset:
        """Return one workitem, without its Transaction UID."""

    def create(self, sop_instance_uid: str, attributes: Dataset, calling_ae_title: str) -> UpsStatus:
        """Take a workitem from outside."""

    def modify(
        self, sop_instance_uid: str, transaction_uid: str, modifications: Dataset, calling_ae_title: str
    ) -> UpsStatus:
        """Change attributes; ``transaction_uid`` is empty when the request brought none."""

    def change_state(
        self, sop_instance_uid: str, requested: str, transaction_uid: str, calling_ae_title: str
    ) -> UpsStatus:
        """Claim, complete or cancel."""

    def request_cancel(self, sop_instance_uid: str, request: Dataset, calling_ae_title: str) -> UpsStatus:
        """Pass a wish to cancel on, or cancel what nobody claimed."""

    def subscribe(self, subscription: Subscription) -> UpsStatus:
        """Let somebody hear of a workitem, or of all."""

    def unsubscribe(self, sop_instance_uid: str, receiving_ae_title: str) -> UpsStatus:
        """Let somebody hear no more; with one of `WELL_KNOWN` of nothing any more."""

    def suspend(self, sop_instance_uid: str, receiving_ae_title: str) -> UpsStatus:
        """Let somebody hear of no new workitems, but still of those heard of so far."""
