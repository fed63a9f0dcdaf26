"""TLS as PS3.15 B.12 has it (the BCP 195 profile, RFC 9325): versions, cipher suites, certificates on both sides."""

from __future__ import annotations

import errno
import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger(__name__)

TLS_1_2_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""The suites RFC 9325 section 4.2 recommends; those of TLS 1.3 are all good and cannot be chosen one by one."""
SECURITY_LEVEL = 2
"""Of OpenSSL: no RSA key below 2048 bits, no signature by SHA-1."""
_VERIFICATION = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
"""The same for every Python. A certificate in the CA file is trusted itself, so that peers may exchange theirs."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for a mutually authenticated TLS connection (PS3.15 B.12)."""

    certificate: Path
    key: Path
    ca: Path

    def context(self, *, server_side: bool) -> NotingContext:
        """Return a context for TLS 1.2 and 1.3 that demands the other side's certificate.

        Raises
        ------
        TlsFileError
            A file is missing, is not PEM, the key is encrypted or not that of the certificate.
        """
        context = NotingContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{':'.join(TLS_1_2_CIPHERS)}:@SECLEVEL={SECURITY_LEVEL}")
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        if server_side:  # a session taken up again shows no certificate: it would outlive one that has expired
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        context.check_hostname = False  # DICOM peers are known by AE title and CA; names rarely stand in certificates
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags = _VERIFICATION
        context.sslsocket_class = _NotingSocket
        _load(lambda: context.load_verify_locations(str(self.ca)), self.ca)
        files = str(self.certificate), str(self.key)
        _load(lambda: context.load_cert_chain(*files, password=self._no_password), self.certificate, self.key)
        return context

    def _no_password(self) -> str:
        """Refuse to say the key's password; OpenSSL would ask for it at the terminal, and wait there for ever."""
        raise TlsFileError(0, "is encrypted; keep it without a password, readable by this user alone", str(self.key))

    def stamps(self) -> list[tuple[int, int, int] | None]:
        """Return what differs once one of the files was written or replaced."""
        return [_stamp(path) for path in (self.certificate, self.key, self.ca)]


class TlsFileError(OSError):
    """A TLS file cannot be used; the message names the file and what is wrong with it."""


def _load(load: Callable[[], None], *paths: Path) -> None:
    """Load what needs these files; ssl itself does not say which of them it could not open."""
    try:
        for path in paths:
            path.open("rb").close()
        load()
    except ssl.SSLError as error:
        words = f"is not a usable PEM file or does not fit its key ({in_words(error)})"
        raise TlsFileError(0, words, str(paths[0])) from None
    except OSError as error:
        raise TlsFileError(error.errno, error.strerror or type(error).__name__, str(error.filename)) from None


def in_words(error: OSError) -> str:
    """Return what went wrong with TLS in OpenSSL's words, such as ``certificate has expired``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "the other side takes too long"
    return error.strerror or type(error).__name__


class NotingContext(ssl.SSLContext):
    """Remembers why TLS failed: whoever uses a connection may see no more than that it was lost."""

    failure: str = ""
    """In words; of the latest connection that failed."""


class _NotingSocket(ssl.SSLSocket):
    """A connection of such a context; with TLS 1.3 a client learns only when it reads that it was refused."""

    def do_handshake(self, block: bool = False) -> None:
        """Do it, or note why not."""
        self._noting(lambda: self._shake_hands(block), OSError)

    def _shake_hands(self, block: bool) -> None:
        super().do_handshake(block)
        if self.server_side and self.session_reused:  # OpenSSL may keep sessions of TLS 1.2 without tickets, too
            shown_first = self.getpeercert() or {}
            if ssl.cert_time_to_seconds(str(shown_first["notAfter"])) < time.time():
                raise PermissionError(errno.EACCES, "certificate has expired")

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read, or note why not."""
        return self._noting(lambda: super(_NotingSocket, self).read(len, buffer), ssl.SSLError)

    def _noting(self, act: Any, of_tls: type[OSError]) -> Any:
        try:
            return act()
        except of_tls as error:
            if isinstance(self.context, NotingContext):
                self.context.failure = in_words(error)
            raise


class CurrentTls:
    """A server's context, made anew whenever one of its files has changed: certificates are renewed without a restart.

    Files that cannot be used, such as a certificate whose key is still to be written, leave the context as it was.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Load the files.

        Raises
        ------
        TlsFileError
            See `TlsFiles.context`.
        """
        self._files = files
        self._lock = threading.Lock()
        self._seen = files.stamps()
        self._context = files.context(server_side=True)

    def context(self) -> NotingContext:
        """Return the context for the next connection."""
        with self._lock:
            if (now := self._files.stamps()) != self._seen:
                self._seen = now
                self._reload()
            return self._context

    def _reload(self) -> None:
        try:
            self._context = self._files.context(server_side=True)
        except TlsFileError as error:
            LOGGER.error("TLS goes on with the former certificate: %s %s", error.filename, error.strerror)
        else:
            LOGGER.info("TLS certificate loaded anew from %s", self._files.certificate)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written or replaced; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
