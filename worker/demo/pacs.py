"""The stand-in PACS of the demonstration: Orthanc where it is installed, else a small archive of our own.

Both keep everything inside the demonstration's folder and serve this machine only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from dicom_io.foundation.peer import Peer
from dicom_io.foundation.uids import is_valid_uid

AE_TITLE = "DEMOPACS"
VERIFICATION_SOP_CLASS_UID = "1.2.840.10008.1.1"
SUCCESS, CANNOT_UNDERSTAND, OUT_OF_RESOURCES = 0x0000, 0xC000, 0xA700
STOP_SECONDS = 15
REQUEST_SECONDS = 10.0


@dataclass(frozen=True)
class StoredObject:
    """One object the PACS holds."""

    sop_instance_uid: str
    modality: str
    place: str
    """Where a person finds it: a URL of Orthanc, or a file."""


class StandInPacs(Protocol):
    """What the demonstration needs of a PACS."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def peer(self) -> Peer:
        """Where it listens."""

    def objects(self, study_instance_uid: str) -> list[StoredObject]:
        """Return what the PACS holds of a study."""


def installed_orthanc() -> str | None:
    """Return Orthanc's program, or None where it is not installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def stand_in_pacs(
    folder: Path, dicom_port: int, http_port: int, known: dict[str, int], orthanc: str | None
) -> Iterator[StandInPacs]:
    """Run a PACS for the length of the block.

    Parameters
    ----------
    folder
        Its own folder; made if missing.
    dicom_port, http_port
        Free loopback ports; the second is used by Orthanc only.
    known
        AE titles that may store, with the ports they listen on (0 = they only send).
    orthanc
        Orthanc's program; None runs a small archive of our own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if orthanc is None:
        with _archive(folder, dicom_port) as archive:
            yield archive
    else:
        with _orthanc(orthanc, folder, dicom_port, http_port, known) as running:
            yield running


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc, asked over its REST interface."""

    name: str
    peer: Peer
    url: str

    def objects(self, study_instance_uid: str) -> list[StoredObject]:
        """Return what Orthanc holds of a study, with the pages that show it."""
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_instance_uid}}
        found: list[dict[str, Any]] = self._post("tools/find", query)
        return [
            StoredObject(
                item["MainDicomTags"]["SOPInstanceUID"],
                self._modality(item["ParentSeries"]),
                f"{self.url}/app/explorer.html#instance?uuid={item['ID']}",
            )
            for item in found
        ]

    def _modality(self, series: str) -> str:
        described = httpx.get(f"{self.url}/series/{series}", timeout=REQUEST_SECONDS, trust_env=False)
        return str(described.raise_for_status().json()["MainDicomTags"].get("Modality", ""))

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        answer = httpx.post(f"{self.url}/{path}", json=content, timeout=REQUEST_SECONDS, trust_env=False)
        return answer.raise_for_status().json()


@contextmanager
def _orthanc(
    program: str, folder: Path, dicom_port: int, http_port: int, known: dict[str, int]
) -> Iterator[StandInPacs]:
    """Run Orthanc; it takes objects from the known AE titles, and web requests, of this machine only."""
    configuration = {
        "Name": "Demonstration PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowGet": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {title: [title, "127.0.0.1", port or 104] for title, port in known.items()},
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(configuration, indent=2), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, settings], stdout=log, stderr=log, start_new_session=True)
        try:
            yield Orthanc("Orthanc", Peer(AE_TITLE, "127.0.0.1", dicom_port), f"http://127.0.0.1:{http_port}")
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Archive:
    """A Storage SCP that writes what it gets to ``<folder>/<study>/<modality>-<SOP Instance UID>.dcm``."""

    name: str
    peer: Peer
    folder: Path

    def objects(self, study_instance_uid: str) -> list[StoredObject]:
        """Return the study's files."""
        files = sorted((self.folder / study_instance_uid).glob("*.dcm")) if is_valid_uid(study_instance_uid) else []
        return [
            StoredObject(uid, modality, str(file)) for file in files for modality, _, uid in [file.stem.partition("-")]
        ]

    def store(self, event: Event) -> int:
        """Write one object as it came (C-STORE, PS3.4 annex B)."""
        dataset, request = event.dataset, cast(Any, event.request)
        study, instance = str(dataset.get("StudyInstanceUID", "")), str(request.AffectedSOPInstanceUID)
        if not is_valid_uid(study) or not is_valid_uid(instance):
            return CANNOT_UNDERSTAND
        modality = "".join(letter for letter in str(dataset.get("Modality", "XX")) if letter.isalnum()) or "XX"
        path = self.folder / study / f"{modality}-{instance}.dcm"
        try:
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_bytes(event.encoded_dataset())
            partial.replace(path)
        except OSError:
            return OUT_OF_RESOURCES
        return SUCCESS


@contextmanager
def _archive(folder: Path, dicom_port: int) -> Iterator[StandInPacs]:
    archive = Archive("a small archive of our own", Peer(AE_TITLE, "127.0.0.1", dicom_port), folder)
    entity = AE(AE_TITLE)
    entity.require_called_aet = True
    entity.add_supported_context(VERIFICATION_SOP_CLASS_UID)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    entity.start_server(("127.0.0.1", dicom_port), block=False, evt_handlers=[(evt.EVT_C_STORE, archive.store)])
    try:
        yield archive
    finally:
        entity.shutdown()
