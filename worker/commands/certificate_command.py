"""``certs``: a private authority and certificates of its, to try TLS out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from worker.views.rendering import escape

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?")


def make_certificates(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where authority, certificates and keys lie; made if missing.")
    ],
    hosts: Annotated[
        list[str],
        typer.Argument(metavar="HOST...", help="Names or IP addresses of the systems that get a certificate."),
    ],
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How long the certificates are good.")] = 397,
) -> None:
    """Make certificates for TLS, for test set-ups and closed networks; a hospital's own authority is the better one.

    The first call makes a private authority (ca.pem, ca-key.pem); later ones sign with it. Each HOST gets HOST.pem and
    HOST-key.pem, new ones where it has some already: running processes read them again by themselves.
    """
    from worker.foundation.certificates import CA_FILE, CA_KEY_FILE, issue, open_authority

    for host in hosts:
        if not _HOST.fullmatch(host):
            raise typer.BadParameter(f"{host} is neither a host name nor an IP address")
    console = Console()
    authority = open_authority(folder)
    ends = min(datetime.now(UTC) + timedelta(days=days), authority.certificate.not_valid_after_utc)
    for host in hosts:
        certificate, key = issue(authority, host, folder, ends=ends)
        console.print(f"{escape(str(certificate))} and {escape(key.name)}, until {ends:%Y-%m-%d}", highlight=False)
    console.print(
        f"Peers trust {escape(str(folder / CA_FILE))}. Keep {CA_KEY_FILE} in a safe place, away from them:"
        " whoever has it can let anybody in.",
        highlight=False,
        soft_wrap=True,
    )
