"""Who uses TLS: every part of the configuration that names certificates."""

from __future__ import annotations

from collections.abc import Iterator

from worker.settings.config import Settings
from worker.settings.tls import Tls


def tls_of(settings: Settings) -> Iterator[tuple[str, Tls]]:
    """Yield everything that has TLS files, with its name in the configuration."""
    owners: list[tuple[str, Tls | None]] = [
        ("listen_tls", settings.listen_tls),
        *((f"destination {item.name}", item.tls) for item in settings.destinations),
        *((f"HL7 destination {item.name}", item.tls) for item in settings.hl7_destinations),
        ("hl7_listener", settings.hl7_listener.tls if settings.hl7_listener else None),
        ("reconcile", settings.reconcile.tls if settings.reconcile else None),
        *((f"UPS peer {item.ae_title}", item.tls) for item in (settings.ups.peers if settings.ups else ())),
    ]
    return ((owner, tls) for owner, tls in owners if tls is not None)
