"""A database of very many studies, as a hospital has after a year or two: most read, some waiting, a few failed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert, text

from model.labels import LABELS
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.site_tables import Event
from worker.rows.study_tables import Instance, Study, StudyWord
from worker.rows.study_words import words_of

FAMILIES = ("SMITH", "GARCIA", "NGUYEN", "MUELLER", "KOWALSKI", "OKAFOR", "TANAKA", "ROSSI", "DUBOIS", "SILVA")
GIVEN = ("ANNA", "JOHN", "MARIA", "LI", "FATIMA", "PETER", "CHLOE", "IVAN", "NORA", "SAM")
SOURCES = ("DX_ER", "DX_WARD", "CR_ICU", "MOBILE_1", "MOBILE_2")
STEP = timedelta(minutes=5)
UNREAD = 400
AT_ONCE = 5000
THRESHOLD = 0.6


def fill(engine: Engine, count: int, seed: int = 7) -> None:
    """Write ``count`` studies with run, predictions, result, delivery and events; the latest 400 are unread."""
    dice = random.Random(seed)
    newest = datetime.now(UTC) - timedelta(seconds=30)
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        rows = [list(_rows(number, newest - STEP * number, dice)) for number in numbers]
        with engine.begin() as connection:
            for table in (Study, StudyWord, Instance, Run, Prediction, Result, Delivery, Event):
                batch = [row for of_study in rows for kind, row in of_study if kind is table]
                connection.execute(insert(table), batch)
            span = {"low": numbers[0] + 1, "high": numbers[-1] + 1}
            connection.execute(
                text(
                    "UPDATE study SET current_run_id = (SELECT run.id FROM run"
                    " WHERE run.study_instance_uid = study.study_instance_uid)"
                    " WHERE state = 'triaged' AND study_instance_uid IN"
                    " (SELECT study_instance_uid FROM run WHERE id BETWEEN :low AND :high)"
                ),
                span,
            )
    if engine.dialect.name == "postgresql":  # which collects them by itself, later; SQLite has those of the migration
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


def _rows(number: int, received: datetime, dice: random.Random) -> Iterator[tuple[type, dict[str, Any]]]:
    """Give the rows of one study, each with its table; ``number`` 0 is the latest study."""
    uid, identity = f"2.25.{10**9 + number}", number + 1
    read = None if number < UNREAD else received + timedelta(minutes=dice.uniform(1, 40))
    state = "triaged" if number >= UNREAD or dice.random() < 0.95 else dice.choice(("failed", "not_analysed", "held"))
    flagged = {"Pneumothorax": 0.02, "Effusion": 0.08, "Nodule": 0.05}
    chances = {label: dice.uniform(0, 0.55) for label in LABELS}
    chances |= {label: dice.uniform(0.6, 1) for label, share in flagged.items() if dice.random() < share}
    top = max(chances, key=lambda label: chances[label])
    priority = (
        ("STAT" if chances["Pneumothorax"] >= THRESHOLD else "URGENT") if chances[top] >= THRESHOLD else "ROUTINE"
    )
    name = f"{dice.choice(FAMILIES)}{number % 97}^{dice.choice(GIVEN)}"
    patient_id, accession = f"PID-{number // 3:06d}", f"A{number:08d}"
    yield Study, {
        "study_instance_uid": uid, "patient_id": patient_id, "patient_name": name, "patient_age": "063Y",
        "patient_sex": "F", "accession_number": accession, "study_date": f"{received:%Y%m%d}",
        "study_description": "XR CHEST 1 VIEW", "calling_ae_title": dice.choice(SOURCES), "called_ae_title": "CXRAI",
        "first_received_at": received, "last_received_at": received, "state": state, "read_at": read,
        "read_by": "reader" if read else None, "priority": priority if state == "triaged" else None,
        "priority_rank": round(chances[top], 4) if priority != "ROUTINE" else 0.0, "priority_reason": "drawn",
        "reason": None if state == "triaged" else "drawn", "historical": False,
    }  # fmt: skip
    for word in words_of(name, patient_id, accession):
        yield StudyWord, {"study_instance_uid": uid, "word": word}
    yield Instance, {
        "id": identity, "sop_instance_uid": f"{uid}.1", "study_instance_uid": uid, "series_instance_uid": f"{uid}.2",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1", "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "path": "nowhere.dcm", "bytes": 4_000_000, "sha256": "0" * 64, "received_at": received,
        "disposition": "analysed",
    }  # fmt: skip
    yield Run, {
        "id": identity, "study_instance_uid": uid, "run_number": 1, "state": "done", "model_version": "1.0",
        "timings_seconds": {"total": 0.4}, "outcome": "triaged", "priority": priority, "queued_at": received,
        "started_at": received, "finished_at": received,
    }  # fmt: skip
    for label in LABELS:
        yield Prediction, {
            "run_id": identity, "instance_id": identity, "finding": label, "probability": chances[label],
            "threshold": THRESHOLD, "flagged": chances[label] >= THRESHOLD,
        }  # fmt: skip
    yield Result, {
        "id": identity, "run_id": identity, "kind": "structured_report", "sop_class_uid": "1.2", "path": "nowhere.dcm",
        "sop_instance_uid": f"{uid}.3", "series_instance_uid": f"{uid}.4", "bytes": 9000, "sha256": "0" * 64,
        "created_at": received,
    }  # fmt: skip
    yield Delivery, {"result_id": identity, "destination": "pacs", "state": "committed", "attempts": 1}
    for kind in ("received", "triaged", "delivered"):
        yield Event, {"at": received, "study_instance_uid": uid, "actor": "worker", "kind": kind}
