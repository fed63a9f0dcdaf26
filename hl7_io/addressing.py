"""Who sends a message to whom (MSH-3 to MSH-6), and how it is written."""

from __future__ import annotations

from dataclasses import dataclass

from hl7_io.text import UTF_8, CharacterSet


@dataclass(frozen=True)
class Addressing:
    """From whom to whom a message goes; each HD as ``namespace`` or ``namespace^universal ID^type``."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    processing_id: str = "P"
    """P production, T training, D debugging (table 0103)."""
    character_set: CharacterSet = UTF_8
