"""Imported by Python itself in every process of a soak: notes fsyncs, or sabotages what the checker must then miss."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
from power_cut import JOURNAL_VARIABLE, note_fsyncs

SABOTAGE_VARIABLE = "SOAK_SABOTAGE"
SLOW_RUNS_VARIABLE = "SOAK_SLOW_RUNS"
"""Seconds that every analysis takes longer."""


def drop_fsyncs() -> None:
    """Answer senders while their bytes are in memory only."""
    os.fsync = lambda _descriptor: None


def draw_uids() -> None:
    """Give results UIDs by chance."""
    import secrets

    import dicom_io.foundation.uids as uids

    uids.deterministic_uid = lambda *_parts: f"2.25.{secrets.randbits(128)}"


def remove_claim() -> None:
    """Let whoever is rung take a run that another worker holds, and whoever lost it end it all the same."""
    from worker.rows import leases, outcome
    from worker.rows.database import database_now
    from worker.rows.run_tables import Run

    renew = leases.renew

    def renew_if_held(session, claim, settings):
        with suppress(leases.LeaseLost):
            renew(session, claim, settings)

    def run_of(session, claim):
        study = leases.locked_study(session, claim.study_instance_uid)
        return outcome.HeldRun(study, session.get_one(Run, claim.run_id), database_now(session), True)

    leases.is_claimable = lambda _now: Run.state.in_(("queued", "running"))
    leases.renew = renew_if_held
    outcome.held_run = run_of


def slow_runs(seconds: float) -> None:
    """Let every analysis take so much longer, so that whoever is rung for the same study comes while it goes on."""
    from worker.foundation import failpoints

    failpoint = failpoints.failpoint

    def pause(name: str) -> None:
        if name == "after_inference":
            time.sleep(seconds)
        failpoint(name)

    failpoints.failpoint = pause


SABOTAGES = {"drop fsyncs": drop_fsyncs, "draw uids": draw_uids, "remove claim": remove_claim}

if journal := os.environ.get(JOURNAL_VARIABLE):
    note_fsyncs(journal)
if sabotage := os.environ.get(SABOTAGE_VARIABLE):
    SABOTAGES[sabotage]()
if seconds := os.environ.get(SLOW_RUNS_VARIABLE):
    slow_runs(float(seconds))
