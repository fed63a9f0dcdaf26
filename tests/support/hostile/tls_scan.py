"""What a TLS server accepts: each protocol, and for each the cipher suites, found by trying; prints a Markdown table.

``python tests/support/hostile/tls_scan.py HOST PORT CERTIFICATE KEY`` scans any server that lets this certificate in.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import warnings
from pathlib import Path

TLS_1_3_SUITES = (
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)
OLDER = {
    "TLS 1.0": ssl.TLSVersion.TLSv1,
    "TLS 1.1": ssl.TLSVersion.TLSv1_1,
    "TLS 1.2": ssl.TLSVersion.TLSv1_2,
}
SECONDS = 10.0


def shake_hands(
    host: str, port: int, version: ssl.TLSVersion, ciphers: str, certificate: tuple[Path, Path] | None = None
) -> str:
    """Return the cipher suite that the server chose.

    Raises
    ------
    OSError
        There was no handshake; an `ssl.SSLError` whose reason names an alert means that the server refused it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are asked for on purpose
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    if certificate:
        context.load_cert_chain(*certificate)
    with (
        socket.create_connection((host, port), SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        chosen = secured.cipher()
        assert chosen is not None
        return chosen[0]


def accepted(host: str, port: int, version: ssl.TLSVersion, certificate: tuple[Path, Path]) -> list[str]:
    """Return the suites of a version before 1.3 in the server's order: what it chose is not offered again."""
    found: list[str] = []
    while True:
        try:
            offered = ":".join(["ALL", "COMPLEMENTOFALL", *(f"!{name}" for name in found)])
            found.append(shake_hands(host, port, version, offered, certificate))
        except (ssl.SSLError, ConnectionError):
            return found


def accepted_1_3(host: str, port: int, certificate: tuple[Path, Path]) -> list[str]:
    """Return the suites of TLS 1.3; Python cannot choose among them, openssl can."""
    found = []
    for suite in TLS_1_3_SUITES:
        shown = ["-cert", str(certificate[0]), "-key", str(certificate[1])]
        tried = subprocess.run(
            ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-ciphersuites", suite, *shown],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        if f"Cipher is {suite}" in tried.stdout:
            found.append(suite)
    return found


def scan(host: str, port: int, certificate: tuple[Path, Path]) -> dict[str, list[str]]:
    """Return the accepted suites by protocol."""
    offered = {name: accepted(host, port, version, certificate) for name, version in OLDER.items()}
    return {**offered, "TLS 1.3": accepted_1_3(host, port, certificate)}


def table(scans: dict[str, dict[str, list[str]]]) -> str:
    """Return the scans, by the name of what was scanned, as one Markdown table."""
    lines = ["| Protocol | " + " | ".join(scans) + " |", "|---|" + "---|" * len(scans)]
    for protocol in next(iter(scans.values())):
        cells = [", ".join(found[protocol]) or "refused" for found in scans.values()]
        lines.append(f"| {protocol} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    host, port, certificate, key = sys.argv[1:5]
    print(table({f"{host}:{port}": scan(host, int(port), (Path(certificate), Path(key)))}))
