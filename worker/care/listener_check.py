"""What the listener of this machine says when `check` asks it by C-ECHO, on its plain port and over TLS."""

from __future__ import annotations

from dataclasses import replace

from dicom_io.associations.client import NoAssociation, ScuSettings
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import echo
from worker.settings.config import Settings
from worker.settings.tls import ListenTls
from worker.settings.tls_users import tls_of

PATIENCE_SECONDS = 5.0
PATIENCE = ScuSettings(acse_timeout_seconds=PATIENCE_SECONDS, dimse_timeout_seconds=PATIENCE_SECONDS)
"""With a listener on this machine."""
_OURS_IS_REFUSED = ("alert unknown ca", "alert unsupported certificate", "alert bad certificate", "certificate expired")
"""What OpenSSL says where a listener does not take the certificate that is shown to it."""


class CheckFailed(Exception):
    """One check did not pass; the message says what is wrong and what to do."""


def answer_of_listener(settings: Settings, host: str) -> str:
    """Ask as a source that may call from here; says what was answered, or why nobody could be asked.

    Raises
    ------
    CheckFailed
        Something else has a port, or the listener does not have this configuration.
    """
    callers = [source.ae_title for source in settings.sources if not source.hosts or host in source.hosts]
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
