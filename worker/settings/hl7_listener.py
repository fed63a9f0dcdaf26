"""The part of the configuration that is about HL7 messages sent to us."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hl7_io.mllp_server import Limits
from hl7_io.text import UTF_8, CharacterSet
from worker.settings.internet_addresses import Network
from worker.settings.tls import Tls

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Hl7Listener(BaseModel):
    """Where hospital systems send ADT and ORU messages to; nothing listens unless this is configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=2575, ge=1, le=65535)
    tls: Tls | None = None
    allowed_hosts: tuple[Network, ...] = ()
    """Addresses and networks that may connect beside this machine, such as ``192.0.2.7`` or ``192.0.2.0/28``."""
    processing_id: Literal["P", "T", "D"] = "P"
    """Messages with another MSH-11 are rejected, so that a test system cannot mark studies read."""
    character_set: CharacterSet = UTF_8
    """Of messages that name none in MSH-18."""
    maximum_message_bytes: int = Field(default=10 << 20, ge=1024)
    message_seconds: float = Field(default=30.0, gt=0)
    """A sender that takes longer for one message is cut off."""
    idle_seconds: float = Field(default=3600.0, gt=0)
    """A connection without a message for this long is closed."""
    maximum_connections: int = Field(default=25, ge=1)
    patient_id_authority: str = ""
    """Who assigns the Patient IDs of images that name no issuer, as in PID-3.4; empty = not known."""
    patient_id_types: tuple[str, ...] = ("MR", "PI", "PT")
    """Types (PID-3.5) of identifiers that may be a Patient ID, beside those without a type."""
    match_hours: float = Field(default=24.0, gt=0)
    """A final report whose study is not here yet is matched again for this long."""
    keep_days: float = Field(default=30.0, gt=0)
    """Messages are kept with their patient data for this long after they were received."""

    @model_validator(mode="after")
    def _senders_are_named(self) -> Hl7Listener:
        if self.host not in LOOPBACK and not self.allowed_hosts:
            raise ValueError("host is not loopback: list the senders in allowed_hosts")
        return self

    def limits(self) -> Limits:
        """Return the limits in the form the network layer takes."""
        return Limits(self.maximum_message_bytes, self.message_seconds, self.idle_seconds, self.maximum_connections)
