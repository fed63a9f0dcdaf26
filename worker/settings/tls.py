"""The files of TLS connections, as the configuration names them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from dicom_io.foundation.tls import TlsFiles
from model.text_forms import NamedPath


class Tls(BaseModel):
    """Files for TLS on one connection (PS3.15 B.12: TLS 1.2 or newer)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_file: NamedPath
    """PEM certificate shown to the other side."""
    key_file: NamedPath
    """PEM private key of that certificate."""
    ca_file: NamedPath
    """PEM certificates the other side's certificate must be signed by (mutual TLS)."""

    def files(self) -> TlsFiles:
        """Return the same three files in the form the network layer takes."""
        return TlsFiles(self.certificate_file, self.key_file, self.ca_file)


class ListenTls(Tls):
    """TLS for the DICOM listener, on a port of its own; files that change are read again without a restart."""

    port: int = Field(default=2762, ge=1, le=65535)
    """2762 is the port registered for DICOM over TLS."""
