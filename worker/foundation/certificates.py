"""Certificates for TLS: until when one is good, and a private authority that makes them for test set-ups.

A hospital has an authority of its own; what is made here is for trying TLS out, and for closed networks without one.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from worker.foundation.errors import WorkerError

CA_FILE, CA_KEY_FILE = "ca.pem", "ca-key.pem"
CA_DAYS = 3650
CLOCK_SKEW = timedelta(hours=1)
"""Certificates are good from this long ago, for peers whose clocks are slow."""
WARN_DAYS = 30


class InvalidCertificate(WorkerError):
    """A certificate cannot be read, or is not good now."""


class AuthorityUnusable(WorkerError):
    """The folder's authority cannot sign."""


@dataclass(frozen=True)
class Authority:
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def certificates_in(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one.

    Raises
    ------
    InvalidCertificate
        There is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise InvalidCertificate(f"{path} holds no PEM certificate that can be read") from error


def ends_soon(certificate: x509.Certificate, now: datetime) -> bool:
    """Say whether it ends within `WARN_DAYS`, or has ended."""
    return certificate.not_valid_after_utc - now < timedelta(days=WARN_DAYS)


def validity(certificate: x509.Certificate, now: datetime) -> str:
    """Return whose it is and when it ends, in words.

    Raises
    ------
    InvalidCertificate
        It has ended or has not begun.
    """
    name = certificate.subject.rfc4514_string()
    if certificate.not_valid_after_utc <= now:
        raise InvalidCertificate(f"the certificate of {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        raise InvalidCertificate(f"the certificate of {name} is good from {certificate.not_valid_before_utc:%Y-%m-%d}")
    days = (certificate.not_valid_after_utc - now).days
    soon = f", IN {days} DAYS" if days < WARN_DAYS else ""
    return f"{name}, until {certificate.not_valid_after_utc:%Y-%m-%d}{soon}"


def open_authority(folder: Path) -> Authority:
    """Return the authority in the folder; where there is none, make one.

    Raises
    ------
    AuthorityUnusable
        Only one of its two files is there, or they do not fit.
    """
    certificate_file, key_file = folder / CA_FILE, folder / CA_KEY_FILE
    if not certificate_file.exists() and not key_file.exists():
        return _found(folder, datetime.now(UTC))
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate = certificates_in(certificate_file)[0]
    except (OSError, ValueError, TypeError, InvalidCertificate) as error:
        raise AuthorityUnusable(
            f"{certificate_file} and {key_file} are not both readable; restore them or choose another folder"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityUnusable(f"{key_file} is not the key of {certificate_file}; choose another folder")
    return Authority(certificate, key)


def _found(folder: Path, now: datetime) -> Authority:
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CXR triage private authority {serial % 10**6:06d}")])
    usage = {"key_cert_sign": True, "crl_sign": True}
    certificate = (
        _builder(name, name, key, serial, now - CLOCK_SKEW, now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(**usage), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / CA_KEY_FILE, _pem_key(key), private=True)
    _write(folder / CA_FILE, certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(certificate, key)


def issue(
    authority: Authority, host: str, folder: Path, *, begins: datetime | None = None, ends: datetime
) -> tuple[Path, Path]:
    """Write a certificate and its key for one host, both new; returns their paths, ``HOST.pem`` and ``HOST-key.pem``.

    Parameters
    ----------
    host
        Name or IP address under which others reach it.
    begins, ends
        When the certificate is good, aware; ``begins`` is a little ago when not given.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    begins = begins or datetime.now(UTC) - CLOCK_SKEW
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # a DICOM peer calls and is called
    certificate = (
        _builder(name, authority.certificate.subject, key, x509.random_serial_number(), begins, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{host}.pem", folder / f"{host}-key.pem"
    _write(key_file, _pem_key(key), private=True)
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate_file, key_file


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(**allowed: bool) -> x509.KeyUsage:
    nothing = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    return x509.KeyUsage(**(nothing | allowed))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, private: bool = False) -> None:
    """Replace a file at once; a private one is never readable by others, not even for a moment."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)
