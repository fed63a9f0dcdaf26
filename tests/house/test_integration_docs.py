"""The integration guide: its configuration for Orthanc and the worker, taken from the page and run as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph, write_dicom
from orthanc import Orthanc, need
from services import free_port
from sites import QUICK, Site, wait_until
from sqlalchemy import select

from worker.care.check import check_everything
from worker.rows.study_tables import Instance
from worker.settings.config import ConfigurationError, load_settings

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")
OBJECTS = 1 + len(FLAGGED)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


class DocumentedOrthanc(Orthanc):
    """Configured by the guide alone, but for places and ports."""

    def _configuration(self) -> dict[str, Any]:
        ours = {"DicomAet", "DicomAlwaysAllowStore", "DicomAlwaysAllowFind", "DicomModalitiesInDatabase"}
        kept = {name: value for name, value in super()._configuration().items() if name not in ours}
        guide = json.loads(blocks("json")[0])
        guide["DicomModalities"]["CXRAI"] |= {"Host": "127.0.0.1", "Port": self.worker_port}
        return {**kept, **guide, "DicomPort": self.dicom_port, "LuaScripts": [str(self.folder / "script.lua")]}

    def know_worker(self, port: int) -> None:
        """Be told nothing: the configuration says it."""


@pytest.fixture
def hospital(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[DocumentedOrthanc, Site]]:
    orthanc = DocumentedOrthanc(tmp_path, free_port(), blocks("lua")[0])
    text = blocks("toml")[0].replace("192.0.2.10", "127.0.0.1").replace("4242", str(orthanc.dicom_port))
    text = text.replace("/var/lib/cxr/bundles/chest14", str(write_test_bundle(tmp_path / "bundle").folder))
    text = text.replace("/var/lib/cxr", str(tmp_path / "data")).replace("11112", str(orthanc.worker_port))
    (tmp_path / "site.toml").write_text(text)
    quick = {name: value for name, value in QUICK.items() if name != "accept_unknown_sources"}
    settings = load_settings(tmp_path / "site.toml", database_url=sqlite_url, **quick)
    site = Site(settings, tmp_path / "log.txt")
    try:
        orthanc.start()
        site.start_listening()
        yield orthanc, site
    finally:
        site.stop()
        orthanc.stop()


def test_the_guides_orthanc_and_worker_work_together(hospital: tuple[DocumentedOrthanc, Site], tmp_path: Path) -> None:
    orthanc, site = hospital
    failed = [item for item in check_everything(site.settings) if not item.passed]
    assert failed == []
    film, leg = chest_radiograph(), chest_radiograph(Modality="CT")
    orthanc.push(write_dicom(leg, tmp_path / "leg.dcm"))
    orthanc.push(write_dicom(film, tmp_path / "film.dcm"))
    uid = str(film.StudyInstanceUID)
    wait_until(lambda: len(orthanc.results(uid)) == OBJECTS, "results in the archive")
    site.wait_for_delivery(uid, "committed")
    assert {orthanc.tag(result, "SeriesNumber") for result in orthanc.results(uid)} == {"9001", "9002"}
    assert received(site) == {str(film.SOPInstanceUID)}
    echo, store = (line for line in blocks("sh")[0].splitlines() if line.startswith("curl"))
    (study,) = orthanc.call("/tools/lookup", uid.encode())
    need("curl", "curl")
    for line in (echo, store.replace(" ID", f" {study['ID']}")):
        arguments = shlex.split(line.replace("8042", str(orthanc.http_port)))
        subprocess.run([*arguments, "--fail", "--silent"], check=True, capture_output=True, timeout=60)
    wait_until(
        lambda: received(site) == {str(film.SOPInstanceUID)} | ours(orthanc, uid), "all of the study is sent", 20
    )
    time.sleep(2.0)  # time for whatever would run in a circle
    assert len(orthanc.results(uid)) == OBJECTS
    assert len(site.runs(uid)) == 1


def received(site: Site) -> set[str]:
    with site.session() as session:
        return set(session.scalars(select(Instance.sop_instance_uid)))


def ours(orthanc: Orthanc, study_instance_uid: str) -> set[str]:
    return {str(orthanc.tag(result, "SOPInstanceUID")) for result in orthanc.results(study_instance_uid)}


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_configuration_on_the_page_is_taken(block: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(block)
    assert load_settings(tmp_path / "site.toml").model_fields_set


@pytest.mark.parametrize("url", ["javascript:alert('{study}')", "https://pacs/viewer", 'https://pacs/{study}"><b>'])
def test_a_viewer_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="viewers"):
        load_settings(viewers=[{"name": "PACS", "url": url}])
