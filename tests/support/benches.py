"""A database, a data folder and a workplace without processes: what a run is given and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pydicom
from pydicom.dataset import Dataset
from sqlalchemy import select, update

from dicom_io.storing.instance_store import InstanceStore
from dicom_io.storing.receiving import ReceivedInstance
from model import compiled_network
from model.precision import Precision
from worker.arrival.completion import queue_if_due
from worker.arrival.intake import Intake
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, DestinationOutage
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.study_tables import Instance, Study
from worker.runs.triage import triage
from worker.runs.workplace import Workplace, load_model
from worker.sending.delivery import deliver
from worker.sending.post_office import PostOffice
from worker.settings.config import Settings


class Bench:
    """Takes images in, analyses and delivers in this process, and reads the rows back."""

    def __init__(self, settings: Settings, sessions: SessionFactory) -> None:
        self.settings = settings
        self.sessions = sessions
        instances, results = InstanceStore(settings.instances_dir), InstanceStore(settings.results_dir)
        self.intake = Intake(settings, sessions, instances, lambda study_instance_uid, queue: None)
        with shared_networks():
            models = {"default": load_model(settings, "default")}
        self.workplace = Workplace(settings, sessions, instances, results, "bench:1", models)
        self.office = PostOffice(settings, sessions, results, "bench:1")

    def receive(self, *datasets: Dataset, calling_ae_title: str = "MODALITY") -> str:
        """Take the images in over one association and return their study's UID."""
        for dataset in datasets:
            file_bytes = dicom_bytes(dataset)
            header = pydicom.dcmread(BytesIO(file_bytes), stop_before_pixels=True)
            self.intake.receive(
                ReceivedInstance(
                    header=header,
                    study_instance_uid=str(header.StudyInstanceUID),
                    series_instance_uid=str(header.SeriesInstanceUID),
                    sop_instance_uid=str(header.SOPInstanceUID),
                    sop_class_uid=str(header.SOPClassUID),
                    transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
                    calling_ae_title=calling_ae_title,
                    called_ae_title=self.settings.ae_title,
                    peer_address="127.0.0.1",
                    chunks=(file_bytes,),
                )
            )
        uid = str(datasets[0].StudyInstanceUID)
        self.intake.association_closed({uid}, False)
        return uid

    def triage(self, *datasets: Dataset) -> Study:
        """Receive and analyse; return the study's row."""
        uid = self.receive(*datasets)
        triage(uid, self.workplace)
        return self.study(uid)

    def study(self, uid: str) -> Study:
        """Return the study's row as it is now."""
        with self.sessions() as session:
            return session.get_one(Study, uid)

    def runs(self, uid: str) -> list[Run]:
        """Return the study's runs, oldest first."""
        with self.sessions() as session:
            return list(session.scalars(select(Run).where(Run.study_instance_uid == uid).order_by(Run.id)))

    def results(self, run: Run) -> list[Result]:
        """Return the run's results in the order in which they were written."""
        with self.sessions() as session:
            return list(session.scalars(select(Result).where(Result.run_id == run.id).order_by(Result.id)))

    def datasets(self, run: Run) -> list[Dataset]:
        """Return the run's results, read back from their files."""
        return [pydicom.dcmread(self.workplace.results.open_path(result.path)) for result in self.results(run)]

    def deliveries(self, run: Run) -> list[Delivery]:
        """Return the run's outbox rows."""
        with self.sessions() as session:
            query = select(Delivery).join(Result).where(Result.run_id == run.id).order_by(Delivery.id)
            return list(session.scalars(query))

    def make_due(self) -> None:
        """Let the waiting time of every delivery, and of every destination that is away, be over."""
        with self.sessions.begin() as session:
            session.execute(update(Delivery).values(next_attempt_at=None))
            session.execute(update(DestinationOutage).values(next_attempt_at=database_now(session)))

    def instances(self, uid: str) -> list[Instance]:
        """Return every version of every instance of the study."""
        with self.sessions() as session:
            query = select(Instance).where(Instance.study_instance_uid == uid).order_by(Instance.id)
            return list(session.scalars(query))

    def event_kinds(self, uid: str) -> list[str]:
        """Return the kinds of the study's events, oldest first."""
        with self.sessions() as session:
            return list(session.scalars(select(Event.kind).where(Event.study_instance_uid == uid).order_by(Event.id)))


_compile = compiled_network.compiled
_compiled: dict[tuple[str, Precision], Any] = {}


@contextmanager
def shared_networks() -> Iterator[None]:
    """Let those that load a bundle meanwhile share what this process has compiled, which holds no state."""

    def compiled(build: Callable[[], Any], identity: str, _: Path | None, precision: Precision = "fp32") -> Any:
        if (identity, precision) not in _compiled:
            _compiled[identity, precision] = _compile(build, identity, None, precision)
        return _compiled[identity, precision]

    with patch.object(compiled_network, "compiled", compiled):
        yield


def dicom_bytes(dataset: Dataset) -> bytes:
    """Return the data set as the bytes of a file."""
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def run_if_due(bench: Bench, uid: str) -> bool:
    """Queue and run what the sweeper would; returns whether there was something."""
    with bench.sessions.begin() as session:
        queued = queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper")
    if queued is None:
        return False
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    return True
