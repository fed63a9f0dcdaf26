"""Imported by Python itself in every process of a soak: notes fsyncs, or sabotages what the checker must then miss."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
from power_cut import JOURNAL_VARIABLE, note_fsyncs

SABOTAGE_VARIABLE = "SOAK_SABOTAGE"


def drop_fsyncs() -> None:
    """Answer senders while their bytes are in memory only."""
    os.fsync = lambda _descriptor: None


def draw_uids() -> None:
    """Give results UIDs by chance."""
    import secrets

    import dicom_io.uids as uids

    uids.deterministic_uid = lambda *_parts: f"2.25.{secrets.randbits(128)}"


SABOTAGES = {"drop fsyncs": drop_fsyncs, "draw uids": draw_uids}

if journal := os.environ.get(JOURNAL_VARIABLE):
    note_fsyncs(journal)
if sabotage := os.environ.get(SABOTAGE_VARIABLE):
    SABOTAGES[sabotage]()
