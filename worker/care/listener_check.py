"""Whether what listens for others runs: the listener, asked by C-ECHO plainly and over TLS, that of HL7, and the page.

Each may run on another machine than the one `check` is given on.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace

from dicom_io.associations.client import NoAssociation, ScuSettings
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import echo
from worker.foundation.addresses import is_of_this_machine, reached_here, require_free_port
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener
from worker.settings.tls import ListenTls
from worker.settings.tls_users import tls_of

PATIENCE_SECONDS = 5.0
PATIENCE = ScuSettings(acse_timeout_seconds=PATIENCE_SECONDS, dimse_timeout_seconds=PATIENCE_SECONDS)
"""With a listener of our own."""
_TO_CONNECT_SECONDS = 2.0
_OURS_IS_REFUSED = ("alert unknown ca", "alert unsupported certificate", "alert bad certificate", "certificate expired")
"""What OpenSSL says where a listener does not take the certificate that is shown to it."""


class CheckFailed(Exception):
    """One check did not pass; the message says what is wrong and what to do."""


def state_of_listener(settings: Settings) -> str:
    """Say whether the listener runs; ports that nobody has are fine before the start, if they can be had.

    Raises
    ------
    CheckFailed
        Something else has a port, or the listener does not have this configuration.
    AddressInUse
        A port cannot be had.
    """
    host = reached_here(settings.listen_host)
    ports = " and ".join(str(port) for port in settings.listening_ports)
    place = f"{settings.ae_title} on {settings.listen_host}:{ports}"
    try:
        own_address, *_ = [_connected_from(host, port) for port in settings.listening_ports]
    except OSError:
        how = _not_running(settings, settings.listen_host, settings.listening_ports, "listen_port")
        return f"{place} {how or 'is not running (start it with `python -m worker up` or `listen`)'}"
    return f"{place} {_answer_of_listener(settings, host, own_address)}"


def state_of_hl7_listener(settings: Settings, listener: Hl7Listener) -> str:
    """Say whether it runs, likewise.

    Raises
    ------
    AddressInUse
    """
    place = f"{listener.host}:{listener.port}"
    try:
        _connected_from(reached_here(listener.host), listener.port)
    except OSError:
        how = _not_running(settings, listener.host, (listener.port,), "hl7_listener.port")
        return f"{place} {how or 'is not running (start it with `python -m worker up` or `hl7`)'}"
    return f"{place} takes connections"


def state_of_page(settings: Settings) -> str:
    """Say where the page is and who may see it; whether it runs tells whoever opens it.

    Raises
    ------
    CheckFailed
        The file with the password's hash is none.
    AddressInUse
    """
    place = f"http://{settings.worklist_host}:{settings.worklist_port}/"
    try:
        _connected_from(reached_here(settings.worklist_host), settings.worklist_port)
    except OSError:
        if how := _not_running(settings, settings.worklist_host, (settings.worklist_port,), "worklist_port"):
            return f"{place} {how}"
    else:
        if _elsewhere(settings, settings.worklist_host):
            return f"{place} takes connections"
    file = settings.worklist_password_hash_file
    if file is None:
        return f"{place}, this machine only, no login"
    try:
        hashed = "$argon2" in file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckFailed(
            f"worklist_password_hash_file {file} cannot be read ({type(error).__name__}); check its name and owner"
        ) from error
    if not hashed:
        raise CheckFailed(f"worklist_password_hash_file {file} holds no hash; run `python -m worklist passwd {file}`")
    return f"{place}, login required"


def _connected_from(host: str, port: int) -> str:
    """Return the address of this machine that whoever listens there sees."""
    with socket.create_connection((host, port), timeout=_TO_CONNECT_SECONDS) as connection:
        return str(connection.getsockname()[0])


def _not_running(settings: Settings, host: str, ports: Sequence[int], key: str) -> str:
    """Return why nobody answers where another machine should; on this one, insist that the ports can be had."""
    if _elsewhere(settings, host):
        host_key = key.removesuffix("port") + "host"
        return f"does not answer, and is no address of this machine: try `check` on the one that has it ({host_key})"
    for port in ports:
        require_free_port(host, port, key)
    return ""


def _elsewhere(settings: Settings, host: str) -> bool:
    """Return whether another machine listens there; a database in a file is this machine's, and there is no other."""
    return not settings.effective_database_url.startswith("sqlite") and not is_of_this_machine(host)


def _answer_of_listener(settings: Settings, host: str, own_address: str) -> str:
    """Ask as a source that may call from here; says what was answered, or why nobody could be asked."""
    callers = [source.ae_title for source in settings.sources if not source.hosts or own_address in source.hosts]
    if not callers and not settings.accept_unknown_sources:
        return "takes connections; no source may call from this machine, so it was not asked by C-ECHO"
    caller = next(iter(callers), settings.ae_title)
    answers = []
    if settings.listen_plain:
        answers.append(_answer(Peer(settings.ae_title, host, settings.listen_port), caller))
    if settings.listen_tls:
        answers.append(_answer_over_tls(settings, settings.listen_tls, host, caller))
    return ", ".join(answers)


def _answer(peer: Peer, caller: str) -> str:
    problem = echo(peer, caller, PATIENCE)
    if not problem:
        return "answered C-ECHO over TLS" if peer.tls else "answered C-ECHO"
    if isinstance(problem, NoAssociation) and problem.for_now:
        return f"answers DICOM: {problem}"
    raise CheckFailed(f"port {peer.port}: {problem}; another program has the port, or it must be restarted")


def _answer_over_tls(settings: Settings, listen: ListenTls, host: str, caller: str) -> str:
    """Show the certificates of this configuration one after another; only our own is taken for the listener's."""
    own = listen.files()
    shown = {own, *(tls.files() for _, tls in tls_of(settings))}
    for files in sorted(shown, key=lambda files: files != own):
        peer = Peer(settings.ae_title, host, listen.port, replace(files, ca=own.certificate))
        try:
            return _answer(peer, caller)
        except CheckFailed as failed:
            if files == own and not any(words in str(failed) for words in _OURS_IS_REFUSED):
                raise
    return (
        f"does TLS on port {listen.port} with the certificate configured, and was not asked by C-ECHO there:"
        f" {listen.ca_file} trusts no certificate that this configuration could show"
    )
