"""The few statements for what is ordinary write what the object-relational way writes, row for row."""

from __future__ import annotations

import random
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from arrivals import received
from factories import chest_radiograph
from pydicom.dataset import Dataset
from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.engine import make_url

from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION
from dicom_io.foundation.product import MANUFACTURER_MODEL_NAME
from dicom_io.storing.acceptance import LONGEST_IDENTITY_BYTES
from dicom_io.storing.instance_store import InstanceStore
from worker.arrival import intake, reception
from worker.arrival.first_run import queue_first_run
from worker.arrival.intake import Intake
from worker.rows.base import Base
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.run_tables import Promotion
from worker.rows.study_tables import Study
from worker.settings.peers import Source

pytestmark = pytest.mark.either_database

IMAGES, STUDIES = 80, 16


def an_image(draw: random.Random, number: int) -> Dataset:
    """Return an image that is ordinary more often than not."""
    strange: dict[str, Any] = draw.choice(
        [
            *[{}] * 12,
            {"PatientID": "SOMEBODY-ELSE"},
            {"PatientID": None},
            {"AccessionNumber": "A-1", "PatientName": "Named^Later"},
            {"StudyDescription": "nul \0 and half \udc80"},
            {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
            {"SOPClassUID": KEY_OBJECT_SELECTION, "Modality": "KO", "PixelData": None},
            {"ManufacturerModelName": MANUFACTURER_MODEL_NAME, "DeviceSerialNumber": "0001"},
        ]
    )
    instance = f"1.2.9.{number if draw.random() < 0.9 else draw.randrange(number + 1)}"
    given = {
        "StudyInstanceUID": f"1.2.3.{draw.randrange(STUDIES)}",
        "SOPInstanceUID": instance,
        "SeriesInstanceUID": "1.2.8",
    }
    return chest_radiograph(**given | {"PatientID": "P-1", "AccessionNumber": None} | strange)


def rows_without_times(sessions: SessionFactory) -> dict[str, list[Any]]:
    """Return all rows; of a moment only whether there is one."""
    with sessions() as session:
        return {
            table.name: sorted(
                repr([type(value) if isinstance(value, datetime) else value for value in row])
                for row in session.execute(select(table))
            )
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def twin(engine: Engine, tmp_path: Path) -> Any:
    """Another fresh database of the same kind."""
    if engine.dialect.name == "sqlite":
        url = f"sqlite:///{tmp_path / 'twin.db'}"
        with create_engine(url).connect() as empty:
            empty.connection.executescript(  # type: ignore[attr-defined]
                "".join(f"{line}\n" for line in engine.raw_connection().iterdump())  # type: ignore[attr-defined]
            )
        other = open_engine(url)
        yield session_factory(other)
        other.dispose()
        return
    name = f"{engine.url.database}_twin"
    maintenance = create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    engine.dispose()  # nobody may be connected to a template
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {engine.url.database}"))
    other = open_engine(make_url(engine.url.set(database=name)).render_as_string(hide_password=False))
    yield session_factory(other)
    other.dispose()
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    maintenance.dispose()


def test_both_ways_write_the_same_rows(sessions, twin, settings, monkeypatch) -> None:
    draw = random.Random(7)
    images = [received(an_image(draw, number)) for number in range(IMAGES)]
    store = InstanceStore(settings.instances_dir)
    briefly, at_length = (Intake(settings, each, store, lambda uid, queue: None) for each in (sessions, twin))
    taken = []

    def noting(*arguments: Any) -> bool:
        taken.append(ordinary(*arguments))
        return taken[-1]

    ordinary = reception.enter_ordinary
    monkeypatch.setattr(reception, "enter_ordinary", noting)
    for image in images:
        briefly.receive(image)
    assert IMAGES / 4 < sum(taken) < IMAGES * 3 / 4  # both kinds came
    monkeypatch.setattr(reception, "enter_ordinary", lambda *arguments: False)
    for image in images:
        at_length.receive(image)
    assert rows_without_times(sessions) == rows_without_times(twin)


def test_both_ways_queue_the_same_runs(sessions, twin, settings, monkeypatch) -> None:
    draw = random.Random(11)
    settings = settings.model_copy(update={"sources": (Source(ae_title="WARD", urgent=True, bundle="special"),)})
    images = [received(an_image(draw, number), calling_ae_title=draw.choice(["CT1", "WARD"])) for number in range(60)]
    rung: dict[str, list[tuple[str, str]]] = {"briefly": [], "at length": []}
    store = InstanceStore(settings.instances_dir)
    ways = {
        name: (Intake(settings, each, store, lambda *ring, name=name: rung[name].append(ring)), each)
        for name, each in (("briefly", sessions), ("at length", twin))
    }
    plan = [(draw.choice(["", "", "STAT", "routine "]), draw.random() < 0.2) for _ in range(STUDIES)]
    taken = []

    def noting(*arguments: Any, **named: Any) -> Any:
        taken.append(queue_first_run(*arguments, **named))
        return taken[-1]

    for name, (way, database) in ways.items():
        monkeypatch.setattr(intake, "queue_first_run", noting if name == "briefly" else lambda *each, **named: None)
        with database.begin() as session:
            session.add(promotion("special", "better"))
        for part in (images[:40], images[40:]):
            for image in part:
                way.receive(image)
            with database.begin() as session:
                for number, (priority, retracted) in enumerate(plan):
                    study = session.get(Study, f"1.2.3.{number}")
                    if study is not None:
                        study.order_priority = priority
                        study.retracted_at = study.first_received_at if retracted else None
            way.association_closed({f"1.2.3.{number}" for number in range(STUDIES + 1)}, aborted=False)
    assert rung["briefly"] == rung["at length"] != []
    assert rows_without_times(sessions) == rows_without_times(twin)
    assert 0.2 < sum(queued is not None for queued in taken) / len(taken) < 0.8  # both kinds came


def promotion(instead_of: str, bundle: str) -> Promotion:
    return Promotion(
        instead_of=instead_of,
        bundle=bundle,
        model_version="1.0.0+0",
        promoted_at=datetime.now(UTC),
        promoted_by="somebody",
        reason="better",
    )


def count_statements(engine: Engine, counted: list[str]) -> None:
    """Note every statement, also those that go past SQLAlchemy."""
    if engine.dialect.name == "postgresql":
        event.listen(engine, "before_cursor_execute", lambda *each: counted.append(each[2]))
        return
    engine.dispose()
    event.listen(engine, "connect", lambda connection, record: connection.set_trace_callback(counted.append))


def test_an_ordinary_arrival_costs_few_statements_however_many_images_the_study_has(sessions, settings) -> None:
    way = Intake(settings, sessions, InstanceStore(settings.instances_dir), lambda uid, queue: None)
    counted: list[str] = []
    count_statements(sessions.kw["bind"], counted)
    costs = []
    for _ in range(12):
        counted.clear()
        way.receive(received(chest_radiograph(StudyInstanceUID="1.2.3", PatientID="P-1")))
        costs.append(len(counted))
    assert len(set(costs[1:])) == 1
    assert costs[-1] <= 8


def test_a_study_that_just_came_is_queued_by_few_statements_however_many_images_it_has(sessions, settings) -> None:
    way = Intake(settings, sessions, InstanceStore(settings.instances_dir), lambda uid, queue: None)
    counted: list[str] = []
    count_statements(sessions.kw["bind"], counted)
    costs = []
    for images in (1, 1, 12):
        uid = f"1.2.3.{len(costs)}"
        for _ in range(images):
            way.receive(received(chest_radiograph(StudyInstanceUID=uid, PatientID="P-1")))
        counted.clear()
        way.association_closed({uid}, aborted=False)
        costs.append(len(counted))
    assert costs[1] == costs[2] <= 7


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "AccessionNumber"])
def test_the_longest_identity_that_is_accepted_can_be_kept(sessions, settings, keyword) -> None:
    intake = Intake(settings, sessions, InstanceStore(settings.instances_dir), lambda uid, queue: None)
    draw = random.Random(3)
    longest = "".join(draw.choices(string.ascii_letters + string.digits, k=LONGEST_IDENTITY_BYTES))  # cannot be packed
    image = received(chest_radiograph(**{keyword: longest}))
    assert intake.receive(image).status == 0x0000
    with sessions() as session:
        study = session.get_one(Study, image.study_instance_uid)
        assert longest in (study.patient_id, study.patient_name, study.accession_number)
