"""What a delivery needs beside its rows, opened once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from dicom_io.associations.client import ScuSettings
from dicom_io.associations.keeper import AssociationKeeper
from dicom_io.storing.instance_store import InstanceStore
from worker.foundation.worker_name import worker_name
from worker.queue.celery_app import configured_settings
from worker.rows.database import SessionFactory, only_reading, open_engine, session_factory
from worker.settings.config import Settings
from worker.settings.hl7 import Hl7Destination
from worker.settings.peers import Destination


@dataclass(frozen=True)
class PostOffice:
    """Everything a delivery needs beside its rows."""

    settings: Settings
    sessions: SessionFactory
    results: InstanceStore
    worker_name: str
    keeper: AssociationKeeper | None = None
    """Keeps associations open between two deliveries; None opens one for each."""

    @cached_property
    def reading(self) -> SessionFactory:
        """Maker of sessions that only look."""
        return only_reading(self.sessions)

    def patience(self) -> ScuSettings:
        """Return how long to wait for a peer."""
        return ScuSettings(
            acse_timeout_seconds=self.settings.acse_timeout_seconds,
            dimse_timeout_seconds=self.settings.dimse_timeout_seconds,
            network_timeout_seconds=self.settings.network_timeout_seconds,
            maximum_pdu_bytes=self.settings.maximum_pdu_bytes,
        )

    def destination(self, name: str) -> Destination | Hl7Destination | None:
        """Return the configured destination of this name, or None."""
        known: list[Destination | Hl7Destination] = [*self.settings.destinations, *self.settings.hl7_destinations]
        return next((destination for destination in known if destination.name == name), None)


def open_post_office(settings: Settings) -> PostOffice:
    """Connect and open the store of results for deliveries."""
    sessions = session_factory(open_engine(settings.effective_database_url))
    return PostOffice(settings, sessions, InstanceStore(settings.results_dir), worker_name(), AssociationKeeper())


@cache
def post_office() -> PostOffice:
    """Return this process's post office, opened at the first call."""
    return open_post_office(configured_settings())


def close_post_office() -> None:
    """Release the associations that this process keeps open, if it has sent anything."""
    if post_office.cache_info().currsize and (keeper := post_office().keeper):
        keeper.release_all()
