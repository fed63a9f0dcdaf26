"""The process behind ``python -m worker hl7``: an MLLP server with our inbox behind it."""

from __future__ import annotations

import logging
import signal
import threading

from dicom_io.foundation.tls import CurrentTls, TlsFileError
from hl7_io.mllp_server import MllpServer
from worker.foundation.errors import AddressInUse, NotConfigured
from worker.foundation.worker_name import worker_name
from worker.hl7.inbox import Inbox
from worker.rows.database import migrated_engine, session_factory
from worker.rows.heartbeat import Heartbeat
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

logger = logging.getLogger(__name__)


def run_hl7_listener(settings: Settings) -> int:
    """Take HL7 messages in until SIGTERM or SIGINT; returns the exit status, 0 when clean.

    Raises
    ------
    StartError
        No ``hl7_listener`` is configured, the database is not migrated or does not answer, a TLS file cannot be read,
        the port is taken.
    """
    listener = settings.hl7_listener
    if listener is None:
        raise NotConfigured("no HL7 listener is configured; add [hl7_listener] to the configuration file")
    with migrated_engine(settings.effective_database_url) as engine:
        sessions = session_factory(engine)
        server = open_server(settings, listener, Inbox(settings, listener, sessions))
        with Heartbeat(sessions, worker_name(), "HL7 listener"):
            _serve(server)
    return 0


def open_server(settings: Settings, listener: Hl7Listener, inbox: Inbox) -> MllpServer:
    """Bind the port.

    Raises
    ------
    AddressInUse, NotConfigured
        The port is taken; a TLS file cannot be used.
    """
    try:
        tls = listener.tls.files() if listener.tls else None
        current = CurrentTls(tls) if tls else None
    except TlsFileError as error:
        raise NotConfigured(f"TLS file {error.filename} of hl7_listener {error.strerror}") from error
    try:
        return MllpServer(
            (listener.host, listener.port),
            inbox.take,
            inbox.refuse_too_long,
            listener.allowed_hosts,
            listener.limits(),
            current,
        )
    except OSError as error:
        raise AddressInUse(listener.host, listener.port, error.strerror or str(error)) from error


def _serve(server: MllpServer) -> None:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    thread = threading.Thread(target=server.serve_forever, name="mllp-accept")
    thread.start()
    logger.info("HL7 listener on %s:%d", *server.server_address[:2])
    try:
        stopped.wait()
    finally:
        server.stop()
        thread.join()
        logger.info("HL7 listener stopped")
