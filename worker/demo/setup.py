"""Getting the demonstration ready: a fresh folder, free ports, a configuration file, the worker as a child process."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import echo
from model.bundle import Bundle, BundleError, load_bundle
from worker.demo.pacs import AE_TITLE as PACS_AE_TITLE
from worker.foundation.errors import StartError
from worker.settings.config import DEFAULT_BUNDLE, STARTER_BUNDLE, Settings, load_settings

MARKER = ".cxr-triage-demonstration"
OUR_AE_TITLE = "CXRAI"
MODALITY_AE_TITLE = "DEMOMODALITY"
"""Sends the drawings, for the bundle that was taught by drawings."""
REAL_MODALITY_AE_TITLE = "DEMOREALFILMS"
"""Sends the real radiographs, for the bundle that was taught by real ones."""
PREFERRED_PORTS = {"listener": 11112, "page": 8042, "pacs": 4242, "pacs_web": 8043}
STOP_SECONDS = 60
LOG_LINES = 15
POLL_SECONDS = 0.3


class DemoFailed(StartError):
    """The demonstration could not be shown."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports of one demonstration."""

    listener: int
    page: int
    pacs: int
    pacs_web: int


def demonstration_bundle() -> Bundle:
    """Return the bundle of the repository, trained on drawings.

    Raises
    ------
    DemoFailed
        It is missing or damaged.
    """
    try:
        return load_bundle(DEFAULT_BUNDLE)
    except BundleError as error:
        raise DemoFailed(str(error)) from error


def bundle_for_real_films(bundle: Bundle) -> Bundle:
    """Return the bundle trained on real radiographs where the repository has one, else ``bundle``.

    Raises
    ------
    DemoFailed
        It is damaged.
    """
    if not STARTER_BUNDLE.is_dir():
        return bundle
    try:
        return load_bundle(STARTER_BUNDLE)
    except BundleError as error:
        raise DemoFailed(str(error)) from error


@contextmanager
def fresh_folder(folder: Path) -> Iterator[None]:
    """Make a fresh folder that is this demonstration's while the block lasts.

    An old one is deleted only if a demonstration made it, and none is running there.

    Raises
    ------
    DemoFailed
        The folder holds something else, or is another demonstration's.
    """
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise DemoFailed(f"{folder} is not empty and no demonstration made it; name another folder with --folder")
    if marker.is_file():
        with marker.open(encoding="utf-8") as old:
            _claim(old, folder)
            shutil.rmtree(folder)
    (folder / "outgoing").mkdir(parents=True)
    with marker.open("w", encoding="utf-8") as mine:
        _claim(mine, folder)
        mine.write("The next demonstration deletes this folder.\n")
        mine.flush()
        yield


def _claim(marker: TextIO, folder: Path) -> None:
    """Lock the marker as long as it is open; the lock ends with its holder, however that ends."""
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoFailed(
            f"a demonstration is running in {folder}; end it, or name another folder with --folder"
        ) from None


def free_ports() -> Ports:
    """Return four free loopback ports, the usual ones where nobody has them."""
    return Ports(**{name: _free_port(preferred) for name, preferred in PREFERRED_PORTS.items()})


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed("this machine has no free port on loopback")


def demo_settings(folder: Path, ports: Ports, bundle: Bundle, real_bundle: Bundle) -> Settings:
    """Write the demonstration's configuration file and return what it says; children and people use the same file."""
    file = folder / "worker.toml"
    file.write_text(
        f'''# The demonstration's configuration: SQLite and a folder as broker, everything on loopback.
data_dir = "{folder / "worker"}"
ae_title = "{OUR_AE_TITLE}"
listen_host = "127.0.0.1"
listen_port = {ports.listener}
worklist_host = "127.0.0.1"
worklist_port = {ports.page}
accept_unknown_sources = false
allow_demonstration_bundle = true  # drawings taught this model: never set this where patients are
minimum_free_bytes = 200_000_000
site_name = "Demonstration"

[bundles]
default = "{bundle.folder}"
real = "{real_bundle.folder}"

[[sources]]
ae_title = "{MODALITY_AE_TITLE}"
hosts = ["127.0.0.1"]

[[sources]]
ae_title = "{REAL_MODALITY_AE_TITLE}"
hosts = ["127.0.0.1"]
bundle = "real"

[[destinations]]
name = "pacs"
ae_title = "{PACS_AE_TITLE}"
host = "127.0.0.1"
port = {ports.pacs}
''',
        encoding="utf-8",
    )
    for name in [name for name in os.environ if name.startswith("CXR_")]:
        del os.environ[name]  # the demonstration is the same whatever else is configured on this machine
    return load_settings(file)


@contextmanager
def running_worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m worker up`` for the length of the block; its log lies in the folder."""
    command = [sys.executable, "-m", "worker", "up", "--config", str(folder / "worker.toml")]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(
    pacs: Peer, settings: Settings, worker: subprocess.Popen[bytes], deadline: float, folder: Path
) -> None:
    """Wait for C-ECHO from both, and for the page.

    Raises
    ------
    DemoFailed
        One did not come up; the message holds the end of the worker's log.
    """
    listener = Peer(OUR_AE_TITLE, "127.0.0.1", settings.listen_port)
    for name, peer in (("PACS", pacs), ("listener", listener)):
        while problem := echo(peer, MODALITY_AE_TITLE):
            if worker.poll() is not None:
                raise DemoFailed(f"the worker ended before it was ready:\n{_log_end(folder)}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"the {name} did not answer in time ({problem}):\n{_log_end(folder)}")
            time.sleep(POLL_SECONDS)


def _log_end(folder: Path) -> str:
    """Return the last lines of the worker's log."""
    return "\n".join((folder / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])
