"""A DICOM peer: AE title, address and, where wanted, the files for TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for a mutually authenticated TLS connection (PS3.15 B.12)."""

    certificate: Path
    key: Path
    ca: Path

    def context(self, *, server_side: bool) -> ssl.SSLContext:
        """Return a context for TLS 1.2 or newer that demands the other side's certificate.

        Raises
        ------
        OSError
            A file is missing or is not PEM.
        """
        purpose = ssl.Purpose.CLIENT_AUTH if server_side else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self.certificate), str(self.key))
        context.check_hostname = False  # DICOM peers are known by AE title and CA; names rarely stand in certificates
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True)
class Peer:
    """Where an application entity listens."""

    ae_title: str
    host: str
    port: int
    tls: TlsFiles | None = None
