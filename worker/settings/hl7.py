"""The part of the configuration that is about HL7: who is told about findings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hl7_io.addressing import Addressing
from hl7_io.mllp_client import Receiver
from hl7_io.text import UTF_8, CharacterSet
from worker.settings.forms import of_form
from worker.settings.peers import Host, Port
from worker.settings.tls import Tls

Designator = Annotated[
    str, Field(max_length=227), of_form(r"[^|~&\\\x00-\x1f]*", "text without |, ~, &, backslash and control characters")
]
"""HL7 hierarchic designator: a name, or ``name^universal ID^type``."""
Level = Literal["STAT", "URGENT", "ROUTINE"]


class Hl7Destination(BaseModel):
    """One RIS, worklist or interface engine that is told by ORU^R01 over MLLP what was seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    """Short name used in rows and on pages; no other destination may have it."""
    host: Host
    port: Port = 2575
    """2575 is the port registered for HL7."""
    tls: Tls | None = None
    announce: tuple[Level, ...] = ("STAT", "URGENT")
    """Levels that are announced. ROUTINE says that nothing was flagged, never that the study is normal."""
    sending_application: Designator = "CXRAI"
    sending_facility: Designator = ""
    receiving_application: Designator = ""
    receiving_facility: Designator = ""
    processing_id: Literal["P", "T", "D"] = "P"
    """MSH-11: production, training or debugging."""
    character_set: CharacterSet = UTF_8
    """MSH-18; a message with letters it lacks is written in UTF-8 and says so."""
    connect_timeout_seconds: float = Field(10.0, gt=0)
    answer_timeout_seconds: float = Field(30.0, gt=0)
    """A message without an acknowledgement after this long is sent again later."""

    def receiver(self) -> Receiver:
        """Return the address in the form the network layer takes."""
        tls = self.tls.files() if self.tls else None
        return Receiver(self.host, self.port, tls, self.connect_timeout_seconds, self.answer_timeout_seconds)

    def addressing(self) -> Addressing:
        """Return what stands in the header of every message."""
        return Addressing(
            self.sending_application,
            self.sending_facility,
            self.receiving_application,
            self.receiving_facility,
            self.processing_id,
            self.character_set,
        )
