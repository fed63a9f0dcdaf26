"""A PostgreSQL on a host of its own, which can vanish without a word as one does that loses power (Linux, root)."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services import free_port, postgres_programs, wait_for_port


@dataclass(frozen=True)
class DistantDatabase:
    """A server in a network of its own."""

    url: str
    host: str
    """Name of its network namespace."""
    our_address: str

    def vanish(self) -> None:
        """Let nothing that it sends reach us any more, not even that it had what we sent."""
        _ip("-n", self.host, "route", "add", "blackhole", f"{self.our_address}/32")


@contextmanager
def distant_database() -> Iterator[DistantDatabase]:
    """Start an empty PostgreSQL behind a network of two hosts.

    Raises
    ------
    NotImplementedError
        Only root may make networks, and ``ip`` and PostgreSQL have to be there.
    """
    programs = postgres_programs()
    if os.geteuid() != 0 or shutil.which("ip") is None or programs is None:
        raise NotImplementedError("needs root, ip and PostgreSQL")
    name, net = f"cxr{secrets.token_hex(3)}", f"10.213.{secrets.randbelow(256)}"
    ours, theirs, port = f"{net}.1", f"{net}.2", free_port()
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "there", "netns", name)
        _ip("addr", "add", f"{ours}/24", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "addr", "add", f"{theirs}/24", "dev", "there")
        _ip("-n", name, "link", "set", "there", "up")
        with _server(programs, name, theirs, port):
            wait_for_port(port, host=theirs)
            yield DistantDatabase(f"postgresql+psycopg://cxr@{theirs}:{port}/postgres", name, ours)
    finally:
        _ip("netns", "del", name)


@contextmanager
def _server(programs: Path, namespace: str, address: str, port: int) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="cxrpg"))
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    run: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    as_user = run | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = folder / "data"
    subprocess.run([programs / "initdb", "-D", data, "-U", "cxr", "-A", "trust", "--no-sync"], check=True, **as_user)
    data.joinpath("pg_hba.conf").write_text(f"host all all {address}/24 trust\n")
    drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    command = [programs / "postgres", "-D", data, "-k", folder, "-h", address, "-p", str(port), "-c", "fsync=off"]
    server = subprocess.Popen(["ip", "netns", "exec", namespace, *drop, *command], **run)
    try:
        yield
    finally:
        server.kill()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
