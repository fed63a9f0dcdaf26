"""The process behind ``python -m worker listen``: the Storage SCP with our intake behind it."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from dicom_io.foundation.tls import TlsFileError
from dicom_io.services.storage_scp import PortTaken, ScpSettings, StorageScp
from dicom_io.storing.instance_store import INCOMING_FOLDER, InstanceStore
from worker.arrival.intake import Intake
from worker.foundation.errors import AddressInUse, NotConfigured
from worker.foundation.worker_name import worker_name
from worker.processes.gap_closing import GapCloser
from worker.processes.late_bell import LateBell
from worker.rows.database import migrated_engine, session_factory
from worker.rows.heartbeat import Heartbeat
from worker.rows.kept_stores import require_kept_stores
from worker.rows.service_lock import sole_process
from worker.sending.commitment_answer import answer_taker
from worker.settings.config import Settings

if TYPE_CHECKING:
    from dicom_io.ups.scp import UpsScp

logger = logging.getLogger(__name__)

SERVICE = "listener"


def scp_settings(settings: Settings) -> ScpSettings:
    """Return how to listen, in the form the network layer takes."""
    return ScpSettings(
        ae_title=settings.ae_title,
        host=settings.listen_host,
        port=settings.listen_port if settings.listen_plain else None,
        callers={source.ae_title: source.hosts for source in settings.sources},
        commitment_peers=frozenset(item.ae_title for item in settings.destinations if item.storage_commitment),
        worklist_callers={peer.ae_title: peer.hosts for peer in settings.ups.peers} if settings.ups else {},
        user_confirmed=frozenset(source.ae_title for source in settings.sources if source.confirm_user_identity),
        accept_unknown_callers=settings.accept_unknown_sources,
        tls=settings.listen_tls.files() if settings.listen_tls else None,
        tls_port=settings.listen_tls.port if settings.listen_tls else 0,
        shared_port=settings.listener_processes > 1,
        maximum_associations=-(-settings.maximum_associations // settings.listener_processes),
        maximum_pdu_bytes=settings.maximum_pdu_bytes,
        network_timeout_seconds=settings.network_timeout_seconds,
        dimse_timeout_seconds=settings.dimse_timeout_seconds,
        acse_timeout_seconds=settings.acse_timeout_seconds,
        spool_folder=settings.instances_dir / INCOMING_FOLDER,
    )


def run_listener(settings: Settings, member: int) -> int:
    """Receive until SIGTERM or SIGINT; associations under way may finish. Returns the exit status, 0 when clean.

    Parameters
    ----------
    member
        Which of several listener processes this is, from 1 on; 0 = the only one.

    Raises
    ------
    StartError
        The database is not migrated or does not answer, the disk of what was received is not mounted, another listener
        of this host has the port.
    """
    require_kept_stores(settings)
    with (
        migrated_engine(settings.effective_database_url) as engine,
        sole_process(f"{SERVICE}-{member}" if member else SERVICE, settings.data_dir, settings.listening_ports),
    ):
        bell = LateBell()
        store = InstanceStore(settings.instances_dir, settings.minimum_free_bytes)
        store.remove_partial_files()
        store.begin()
        sessions = session_factory(engine)
        intake = Intake(settings, sessions, store, bell)
        take_commitment = answer_taker(sessions, settings, SERVICE)
        gaps = GapCloser(settings, sessions, intake)
        with _worklist(settings, engine, member) as worklist, Heartbeat(sessions, worker_name(), SERVICE):
            scp = StorageScp(scp_settings(settings), intake, take_commitment, worklist)
            _serve(scp, settings, gaps, bell)
    return 0


@contextmanager
def _worklist(settings: Settings, engine: Engine, member: int) -> Iterator[UpsScp | None]:
    """Offer the worklist of workitems while the block runs, where one is configured."""
    if settings.ups is None:
        yield None
        return
    from dicom_io.ups.scp import UpsScp
    from worker.ups.couriers import Couriers
    from worker.ups.notices import announce_restart
    from worker.ups.worklist import DatabaseWorklist

    sessions, reading = session_factory(engine), session_factory(engine, read_only=True)
    holder = f"{socket.gethostname()}:{settings.listening_ports[0]}" + (f"#{member}" if member else "")
    couriers = Couriers(settings, settings.ups, sessions, reading, holder)
    if member <= 1:  # of several processes one speaks for all
        with sessions.begin() as session:
            announce_restart(session, couriers.ae_titles)
    couriers.start()
    try:
        yield UpsScp(DatabaseWorklist(settings, settings.ups, sessions, reading, couriers.wake))
    finally:
        couriers.stop()


def _serve(scp: StorageScp, settings: Settings, gaps: GapCloser, bell: LateBell) -> None:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        scp.start()
    except TlsFileError as error:
        raise NotConfigured(f"TLS file {error.filename} of listen_tls {error.strerror}") from error
    except PortTaken as error:
        raise AddressInUse(settings.listen_host, error.port, error.cause) from error
    ports = " and ".join(str(port) for port in settings.listening_ports)
    logger.info("listening as %s on %s port %s", settings.ae_title, settings.listen_host, ports)
    try:
        bell.load(settings)
        gc.collect()
        gc.freeze()  # pynetdicom collects garbage again and again; what was loaded so far is none
        with gaps:
            stopped.wait()
    finally:
        scp.stop()
        bell.stop()
        logger.info("listener stopped")
