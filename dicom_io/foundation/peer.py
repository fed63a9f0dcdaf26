"""A DICOM peer: AE title, address and, where wanted, the files for TLS."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_io.foundation.tls import TlsFiles


@dataclass(frozen=True)
class Peer:
    """Where an application entity listens."""

    ae_title: str
    host: str
    port: int
    tls: TlsFiles | None = None
