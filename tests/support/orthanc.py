"""A real Orthanc as PACS: started on free ports, stopped and started again, spoken to over its REST interface."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import write_test_bundle
from last_will import ends_with_us
from pydicom.data import get_testdata_file
from services import free_port, wait_for_port
from sites import QUICK, UP, Site

from benchmarks.programs import program_of_machine
from dicom_io.data_sets.stamp import stamp_copy
from worker.settings.config import Settings

CLOSED = {**QUICK, "accept_unknown_sources": False}
ONLY_IMAGES = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  if origin.RequestOrigin == 'DicomProtocol' and origin.RemoteAet == 'CXRAI' then return end
  if tags.Modality == 'DX' or tags.Modality == 'CR' then SendToModality(instanceId, 'CXRAI') end
end
"""
EVERYTHING = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  SendToModality(instanceId, 'CXRAI')
end
"""


def need(program: str, package: str) -> str:
    """Return the program's path; skip where it is missing, or fail where services are demanded."""
    path = program_of_machine(program)
    if path is None and os.environ.get("CXR_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{program} is not installed (Debian package {package})", pytrace=False)
    if path is None:
        pytest.skip(
            f"{program} is not installed (Debian package {package}); CXR_REQUIRE_SERVICES=1 makes this an error"
        )
    return path


@dataclass
class Orthanc:
    """An Orthanc that knows one worker, spoken to over its REST interface."""

    folder: Path
    worker_port: int
    """Where the worker whose AE title is CXRAI listens."""
    script: str = ""
    """Lua."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of its configuration, beside or in place of those every test has."""
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    _server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run on the same ports and with the same objects as before."""
        (self.folder / "script.lua").write_text(self.script)
        (self.folder / "orthanc.json").write_text(json.dumps(self._configuration()))
        with (self.folder / "orthanc.log").open("ab") as log:
            self._server = subprocess.Popen(
                [need("Orthanc", "orthanc"), str(self.folder / "orthanc.json")], stdout=log, stderr=log, cwd=self.folder
            )
        ends_with_us(self._server.pid)
        wait_for_port(self.http_port, 30)
        wait_for_port(self.dicom_port, 30)
        self.know_worker(self.worker_port)

    def stop(self) -> None:
        """End the server; what it holds stays."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)
            self._server = None

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": "TESTPACS",
            "StorageDirectory": str(self.folder / "orthanc"),
            "IndexDirectory": str(self.folder / "orthanc"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomModalitiesInDatabase": True,
            "LuaScripts": [str(self.folder / "script.lua")],
            "Plugins": [],
            "StableAge": 2,
            "OverwriteInstances": False,
            "DicomAssociationCloseDelay": 1,
            **self.settings,
        }

    def know_worker(self, port: int) -> None:
        """Learn where the worker listens."""
        address = {"AET": "CXRAI", "Host": "127.0.0.1", "Port": port}
        url = f"http://127.0.0.1:{self.http_port}/modalities/CXRAI"
        httpx.put(url, json=address, timeout=30).raise_for_status()

    def delete(self, instance: str) -> None:
        """Forget an instance."""
        httpx.delete(f"http://127.0.0.1:{self.http_port}/instances/{instance}", timeout=30).raise_for_status()

    def call(self, path: str, body: bytes | None = None) -> Any:
        """GET, or POST when there is a body; return the decoded JSON answer."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        answer = httpx.get(url, timeout=30) if body is None else httpx.post(url, content=body, timeout=30)
        return answer.raise_for_status().json()

    def push(self, file: Path) -> str:
        """Store a file and return Orthanc's name for the instance."""
        return str(self.call("/instances", file.read_bytes())["ID"])

    def results(self, study_instance_uid: str) -> list[str]:
        """Return Orthanc's names of the objects of ours in the study."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        found = self.call("/tools/find", json.dumps(query).encode())
        ours = [item for item in found if str(self.tag(item["ID"], "ManufacturerModelName")) == "cxr-triage-worker"]
        return [str(item["ID"]) for item in ours]

    def tag(self, instance: str, keyword: str) -> Any:
        """Return one simplified tag of an instance, None when absent."""
        return self.call(f"/instances/{instance}/simplified-tags").get(keyword)

    def file(self, instance: str, folder: Path) -> Path:
        """Download an instance."""
        path = folder / f"{instance}.dcm"
        url = f"http://127.0.0.1:{self.http_port}/instances/{instance}/file"
        path.write_bytes(httpx.get(url, timeout=30).raise_for_status().content)
        return path


def real_radiograph(name: str, folder: Path) -> Path:
    """Return a real CR of pydicom-data under a fresh identity of today."""
    path = folder / f"fresh_{name}"
    source = get_testdata_file(name, download=False)
    assert source, "pydicom-data is installed with the worker"
    stamp_copy(Path(str(source)), path, study_datetime=datetime.now(UTC))
    return path


StartHospital = Callable[..., tuple[Orthanc, Site]]


@pytest.fixture
def start_hospital(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[StartHospital]:
    """Starter of an Orthanc with this script, and of a running site; the two know each other."""
    with ExitStack() as stack:

        def start(
            script: str,
            destination: Mapping[str, Any] | None = None,
            command: Sequence[str] = UP,
            **fields: Any,
        ) -> tuple[Orthanc, Site]:
            orthanc = Orthanc(tmp_path, free_port(), script)
            address = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
            settings = make_settings(
                listen_port=orthanc.worker_port,
                destinations=[{**address, **(destination or {})}],
                sources=[{"ae_title": "ORTHANC"}],
                **(
                    {"database_url": sqlite_url, "bundles": {"default": write_test_bundle(tmp_path / "bundle").folder}}
                    | CLOSED
                    | fields
                ),
            )
            stack.callback(orthanc.stop)
            orthanc.start()
            site = Site(settings, tmp_path / "log.txt")
            stack.callback(site.stop)
            site.start_listening(command)
            return orthanc, site

        yield start
