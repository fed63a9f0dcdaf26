"""The receivers that are compared, each on a free port with a folder of its own; all promise durable objects."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.programs import program_of_machine

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
PDU_BYTES = 131072
_META_STARTS_AT = 132


class NotHereError(Exception):
    """This receiver cannot be had on this machine; the message says what is missing."""


@dataclass
class Receiver:
    """One running receiver."""

    name: str
    ae_title: str
    port: int
    folder: Path
    """Where the objects are stored."""
    pdu_bytes: int = PDU_BYTES
    """Longest PDU it offers to take."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    http_port: int = 0
    """Of Orthanc's REST interface."""

    @property
    def address(self) -> tuple[str, int]:
        """Return where it listens."""
        return "127.0.0.1", self.port

    def stored(self) -> list[str]:
        """Return the SHA-256 of every data set it stored, without file meta information."""
        return sorted(_data_set_sha256(path.read_bytes()) for path in self._files())

    def clear(self) -> None:
        """Delete what it stored."""
        if self.http_port:
            for instance in httpx.get(f"http://127.0.0.1:{self.http_port}/instances").json():
                httpx.delete(f"http://127.0.0.1:{self.http_port}/instances/{instance}").raise_for_status()
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and _is_object(path)]


def _is_object(path: Path) -> bool:
    if path.suffix == ".bin":  # of the plain receiver
        return True
    with path.open("rb") as file:
        return file.read(_META_STARTS_AT)[-4:] == b"DICM"


def _data_set_sha256(content: bytes) -> str:
    if content[_META_STARTS_AT - 4 : _META_STARTS_AT] != b"DICM":
        return hashlib.sha256(content).hexdigest()
    (group_bytes,) = struct.unpack_from("<I", content, _META_STARTS_AT + 8)  # (0002,0000), PS3.10 7.1
    return hashlib.sha256(content[_META_STARTS_AT + 12 + group_bytes :]).hexdigest()


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def needed(program: str) -> str:
    """Return the path of a program.

    Raises
    ------
    NotHereError
        It is not installed.
    """
    path = program_of_machine(program)
    if path is None:
        raise NotHereError(f"{program} is not installed")
    return path


@contextmanager
def running(name: str, folder: Path) -> Iterator[Receiver]:
    """Start the receiver of that name, one of `RECEIVERS`, and stop it after the block.

    Raises
    ------
    NotHereError
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        receiver = RECEIVERS[name](folder, stack)
        _wait_for_port(receiver, folder / "log.txt")
        yield receiver


def _start(stack: ExitStack, command: list[str], folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    log = stack.enter_context((folder / "log.txt").open("ab"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    process = subprocess.Popen(
        command, stdout=log, stderr=log, cwd=folder, env=inherited | {"PYTHONPATH": str(ROOT)} | environment
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_port(receiver: Receiver, log_file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(receiver.address, 1).close()
            return
        except OSError:
            ended = [process.returncode for process in receiver.processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                log = log_file.read_text(errors="replace")
                raise RuntimeError(f"{receiver.name} does not listen\n{log[-2000:]}") from None
            time.sleep(0.05)


def _ours(folder: Path, stack: ExitStack, listeners: int = 1) -> Receiver:
    port, data = free_port(), folder / "data"
    environment = {
        "CXR_DATA_DIR": str(data),
        "CXR_LISTEN_PORT": str(port),
        "CXR_ACCEPT_UNKNOWN_SOURCES": "true",
        "CXR_MINIMUM_FREE_BYTES": "0",
    }
    if listeners > 1:
        environment["CXR_LISTENER_PROCESSES"] = str(listeners)
    subprocess.run(
        [sys.executable, "-m", "worker", "migrate"], check=True, capture_output=True, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip
    listener = _start(stack, [sys.executable, "-m", "worker", "listen"], folder, **environment)
    return Receiver(
        "ours" if listeners == 1 else f"ours x{listeners}", "CXRAI", port, data / "instances", processes=[listener]
    )


def _ours_twice(folder: Path, stack: ExitStack) -> Receiver:
    return _ours(folder, stack, listeners=2)


def _plain(folder: Path, stack: ExitStack) -> Receiver:
    return _script("plain", "benchmarks.plain_receiver", folder, stack)


def _pynetdicom(folder: Path, stack: ExitStack) -> Receiver:
    return _script("pynetdicom", "benchmarks.stock_receiver", folder, stack)


def _script(name: str, module: str, folder: Path, stack: ExitStack) -> Receiver:
    port, objects = free_port(), folder / "objects"
    objects.mkdir(exist_ok=True)
    process = _start(stack, [sys.executable, "-m", module, str(port), str(objects)], folder)
    return Receiver(name, "STOCK", port, objects, processes=[process])


def _dcmtk(folder: Path, stack: ExitStack) -> Receiver:
    port, objects, shim = free_port(), folder / "objects", folder / "fsync_on_close.so"
    objects.mkdir(exist_ok=True)
    source = Path(__file__).with_name("fsync_on_close.c")
    subprocess.run(
        [needed("cc"), "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True, capture_output=True
    )
    command = [
        needed("storescp"),
        "+B",
        "--fork",
        "-pdu",
        str(PDU_BYTES),
        "-aet",
        "DCMTK",
        "-od",
        str(objects),
        str(port),
    ]
    process = _start(stack, command, folder, LD_PRELOAD=str(shim), TCP_NODELAY="1")
    return Receiver("dcmtk", "DCMTK", port, objects, processes=[process])


def _orthanc(folder: Path, stack: ExitStack) -> Receiver:
    port, http_port, objects = free_port(), free_port(), folder / "objects"
    configuration = {
        "StorageDirectory": str(objects), "IndexDirectory": str(objects), "SyncStorageArea": True, "TcpNoDelay": True,
        "DicomAet": "ORTHANC", "DicomPort": port, "HttpPort": http_port, "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "Plugins": [], "MaximumPduLength": PDU_BYTES,
        "StoreDicom": True, "StorageCompression": False, "DicomThreadsCount": 4,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    process = _start(stack, [needed("Orthanc"), str(folder / "orthanc.json")], folder)
    return Receiver("Orthanc", "ORTHANC", port, objects, processes=[process], http_port=http_port)


RECEIVERS = {
    "ours": _ours,
    "ours x2": _ours_twice,
    "plain": _plain,
    "dcmtk": _dcmtk,
    "pynetdicom": _pynetdicom,
    "Orthanc": _orthanc,
}
"""``ours x2`` has two listener processes."""
