"""Certificates that end soon: when one has ended, nothing comes in or goes out by TLS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.foundation.certificates import InvalidCertificate, certificates_in, ends_soon
from worker.settings.config import Settings
from worker.settings.tls_users import tls_of


@dataclass(frozen=True)
class EndingCertificate:
    """A certificate that ends within the month, or has ended."""

    owner: str
    """The part of the configuration that names it."""
    subject: str
    ends_at: datetime


def ending_certificates(settings: Settings, now: datetime) -> Sequence[EndingCertificate]:
    """Return those of our own and of the authorities we trust; what this process cannot read is left out.

    The page may run where the files are not; whoever uses them says in its log when they cannot be read.
    """
    found: dict[EndingCertificate, None] = {}
    for owner, tls in tls_of(settings):
        for path in (tls.certificate_file, tls.ca_file):
            try:
                certificates = certificates_in(path)
            except (OSError, InvalidCertificate):
                continue
            for item in certificates:
                if ends_soon(item, now):
                    found[EndingCertificate(owner, item.subject.rfc4514_string(), item.not_valid_after_utc)] = None
    return list(found)
