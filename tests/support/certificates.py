"""Certificates for tests of TLS, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dicom_io.foundation.tls import TlsFiles


def certificate_files(folder: Path) -> TlsFiles:
    """Return a self-signed certificate for 127.0.0.1 that is its own authority, with its key, in the folder."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the test certificate")
    folder.mkdir(parents=True, exist_ok=True)
    key, pem = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*request, "-keyout", key, "-out", pem, "-days", "2", *subject], check=True, capture_output=True)
    return TlsFiles(pem, key, pem)
