"""Looks for traces of a patient everywhere but where patient data belong: the stores and the rows made for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sites import Site
from sqlalchemy import text

MARK = "zqxmark"
"""Stands in every marked name and number; no word of any language, no UID."""
BIRTH_DATES = ("19470813", "1947-08-13")
IDENTITY = {
    "PatientName": "Zqxmark^Jane",
    "PatientID": "ZQXMARK-4711",
    "OtherPatientIDs": "ZQXMARK-OTHER",
    "PatientBirthDate": BIRTH_DATES[0],
    "AccessionNumber": "ZQXMARK-ACC",
    "ReferringPhysicianName": "Zqxmark^Referrer",
    "StudyID": "ZQXMARK-STUDY",
}
"""DICOM keywords of who the patient is, marked."""
_TABLES = ("event", "run", "prediction", "process_heartbeat", "service_lease", "received_note", "alembic_version")
"""Rows that must name nobody: what happened, when and why."""


def traces(site: Site, folders: Iterable[Path] = (), answers: Iterable[str] = ()) -> list[str]:
    """Return each place outside the stores where a mark stands, in words.

    Parameters
    ----------
    folders
        Searched beside the site's log and its data folder without the stores of images and results.
    answers
        Other texts that leave the worker, such as its metrics.
    """
    found = [str(path) for path in _files(site, folders) if _marked(path.name.encode() + path.read_bytes())]
    found += [f"answer {place}" for place, answer in enumerate(answers) if _marked(answer.encode())]
    with site.session() as session:
        for table in _TABLES:
            rows = session.execute(text(f"SELECT * FROM {table}")).all()  # noqa: S608 (names from above)
            found += [f"row of {table}" for row in rows if _marked(repr(row).encode())]
    return found


def _files(site: Site, folders: Iterable[Path]) -> Iterator[Path]:
    settings = site.settings
    stores = (settings.instances_dir, settings.results_dir)
    for folder in (settings.data_dir, *folders):
        for path in folder.rglob("*"):
            if path.is_file() and not any(path.is_relative_to(store) for store in stores) and ".db" not in path.name:
                yield path
    yield site.log_path


def _marked(content: bytes) -> bool:
    lower = content.lower()
    return any(word.encode() in lower for word in (MARK, *BIRTH_DATES))
