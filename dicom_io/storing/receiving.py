"""What a Storage SCP hands on and what it needs from whoever takes responsibility for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.foundation.tls import TlsFiles
from dicom_io.storing.instance_store import Content

STATUS_SUCCESS = 0x0000
STATUS_OUT_OF_RESOURCES = 0xA700
STATUS_SOP_CLASS_MISMATCH = 0xA900
STATUS_CANNOT_UNDERSTAND = 0xC000
STATUS_PROCESSING_FAILURE = 0x0110
STATUS_UNRECOGNIZED_OPERATION = 0x0211


@dataclass(frozen=True)
class ScpSettings:
    """How to listen and whom to hear."""

    ae_title: str
    """Our AE title; associations called otherwise are rejected."""
    host: str = "127.0.0.1"
    port: int | None = 11112
    """TCP port; 0 takes a free one, see `StorageScp.address`; None = only `tls_port`."""
    callers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Calling AE titles that may send, each with the IP addresses it may call from (empty = any)."""
    commitment_peers: frozenset[str] = frozenset()
    """Calling AE titles that may answer storage commitment requests; only those in `callers`, too, may send."""
    worklist_callers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Calling AE titles that may use the UPS worklist, with their addresses; only those in `callers`, too, may send."""
    user_confirmed: frozenset[str] = frozenset()
    """Calling AE titles whose user identity is confirmed where they want that (PS3.7 D.3.3.7); nobody checks it."""
    accept_unknown_callers: bool = False
    """True lets any calling AE title send; the addresses of those listed still count."""
    tls: TlsFiles | None = None
    """For the port with TLS; None = there is none."""
    tls_port: int = 2762
    """TCP port for TLS, registered for DICOM; 0 takes a free one, see `StorageScp.tls_address`."""
    shared_port: bool = False
    """True lets other processes listen on the same ports (SO_REUSEPORT); the system deals connections out."""
    maximum_associations: int = 25
    maximum_pdu_bytes: int = 131072
    network_timeout_seconds: float = 300.0
    dimse_timeout_seconds: float = 120.0
    acse_timeout_seconds: float = 30.0
    spool_folder: Path | None = None
    """Where data sets are written while they arrive, on the file system of the instance store; None = in memory."""
    pdu_timeout_seconds: float = 60.0
    """A peer that takes longer over one PDU (2 kB/s for the longest) is cut: one that drips must not keep a place."""
    maximum_instance_bytes: int = 1 << 30
    """A data set that grows beyond this aborts its association: memory is bounded, whatever a peer sends."""


@dataclass(frozen=True)
class ReceivedInstance:
    """One instance as it came over the wire; UIDs are valid and agree with the request."""

    header: Dataset
    """The data set up to, not including, the pixel data; enough for every decision by tags."""
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    """IP address of the sender."""
    chunks: Content = field(repr=False)
    """The file to write: preamble and file meta (PS3.10 7.1), then the data set, byte for byte as received."""


@dataclass(frozen=True)
class RefusedInstance:
    """An object the sender was, or will be, told we cannot take."""

    reason_code: ReasonCode
    reason: str
    """What is wrong and where; names no patient."""
    calling_ae_title: str
    peer_address: str
    chunks: Content = field(repr=False)
    """As in `ReceivedInstance`, for the quarantine."""


@dataclass(frozen=True)
class ReceiveOutcome:
    """What to answer a C-STORE request with."""

    status: int = STATUS_SUCCESS
    comment: str = ""
    """ErrorComment (0000,0902); cut to 64 characters."""


class ReceiverUnavailable(Exception):
    """The receiver cannot make instances durable now (database gone, say); the sender should try again later."""


class Receiver(Protocol):
    """What takes responsibility for received instances; called from one thread per association."""

    def accepting(self) -> bool:
        """Say whether instances could be stored now; on False, associations are rejected as transient."""

    def receive(self, received: ReceivedInstance) -> ReceiveOutcome:
        """Make the instance durable, then return; on a success status the sender forgets its copy.

        Raises
        ------
        StoreError, ReceiverUnavailable
            Answered with 0xA700.
        """

    def refuse(self, refused: RefusedInstance) -> None:
        """Keep what cannot be accepted where an engineer finds it (quarantine) and note it."""

    def association_closed(self, study_instance_uids: set[str], aborted: bool) -> None:
        """Learn that an association ended over which these studies were received; not called when there were none."""
