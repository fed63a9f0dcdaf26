"""Which images show one exposure, and what becomes of specially processed copies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_io.selection.exposure import exposure_of, same_exposure
from worker.arrival.completion import queue_if_due
from worker.arrival.copies import ALONE
from worker.rows.database import SessionFactory, database_now
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

PA = {"AcquisitionDate": f"{date.today():%Y%m%d}", "AcquisitionTime": "101500.120"}
LATER = {"AcquisitionDate": f"{date.today():%Y%m%d}", "AcquisitionTime": "101700"}


def derived_from(*images: Dataset) -> list[Dataset]:
    found = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        found.append(item)
    return found


EVENT, OTHER_EVENT = generate_uid(), generate_uid()
SOURCE = chest_radiograph()
DATETIME = {"AcquisitionDateTime": PA["AcquisitionDate"] + "101503.5+0100"}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, None),
        ({"IrradiationEventUID": EVENT}, {"IrradiationEventUID": EVENT}, True),
        ({"IrradiationEventUID": EVENT} | PA, {"IrradiationEventUID": OTHER_EVENT} | PA, False),
        ({"IrradiationEventUID": EVENT}, {}, None),
        (PA, PA, True),
        (PA, LATER, False),
        (PA, DATETIME, True),  # both forms, three seconds apart
        (LATER, DATETIME, False),
        (PA, {"AcquisitionDate": "", "AcquisitionTime": "101500"}, None),
        (PA, {"AcquisitionDate": "x", "AcquisitionTime": "y"}, None),
        (PA | {"AcquisitionTime": "1015"}, PA | {"AcquisitionTime": "1015"}, None),  # two may share a minute
        ({"SourceImageSequence": derived_from(SOURCE)}, {"SourceImageSequence": derived_from(SOURCE)}, True),
        ({"SOPInstanceUID": SOURCE.SOPInstanceUID} | PA, {"SourceImageSequence": derived_from(SOURCE)} | LATER, True),
    ],
)
def test_whether_two_images_show_one_exposure(
    one: dict[str, object], other: dict[str, object], expected: bool | None
) -> None:
    first, second = (exposure_of(chest_radiograph(**keywords)) for keywords in (one, other))
    assert same_exposure(first, second) is expected
    assert same_exposure(second, first) is expected


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_stands_in_the_times_an_image_shows_its_own_exposure_or_says_nothing(day: str, time: str) -> None:
    header = Dataset()
    header.add_new("AcquisitionDate", "LO", day)
    header.add_new("AcquisitionTime", "LO", time)
    exposure = exposure_of(header)
    assert same_exposure(exposure, exposure) in (True, None)


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, accept_unknown_sources=True), sessions)


def sibling(image: Dataset, **keywords: object) -> Dataset:
    return chest_radiograph(StudyInstanceUID=image.StudyInstanceUID, **keywords)


def rows(bench: Bench, uid: str) -> list[tuple[str, str | None]]:
    def row(instance: Instance) -> tuple[str, str | None]:
        return instance.disposition, instance.reason_code

    return [row(instance) for instance in bench.instances(uid)]


@pytest.mark.parametrize("told", [PA, {}], ids=["times agree", "no times"])
def test_of_one_exposure_the_standard_copy_is_analysed(bench: Bench, told: dict[str, object]) -> None:
    standard = chest_radiograph(SeriesDescription="Chest PA", **told)
    study = bench.triage(sibling(standard, SeriesDescription="Chest PA Bone suppressed", **told), standard)
    assert study.state == "triaged"
    assert rows(bench, study.study_instance_uid) == [("ignored", "processed_copy"), ("analysed", None)]
    assert study.priority_reason is not None and "not analysed" not in study.priority_reason


def test_a_copy_that_is_all_there_is_of_its_exposure_is_left_to_a_person(bench: Bench) -> None:
    standard = chest_radiograph(SeriesDescription="Chest PA", **PA)
    study = bench.triage(standard, sibling(standard, SeriesDescription="Chest AP Soft_Tissue", **LATER))
    assert (study.state, study.priority) == ("triaged", "STAT")
    assert study.priority_reason is not None
    assert study.priority_reason.endswith("; 1 image of the study not analysed")
    assert rows(bench, study.study_instance_uid) == [("analysed", None), ("not_analysed", "processed_copy")]
    assert bench.instances(study.study_instance_uid)[1].reason == ALONE


def test_a_study_of_processed_copies_alone_says_so_until_the_standard_one_comes(bench: Bench) -> None:
    bones = chest_radiograph(SeriesDescription="BONE", **PA)
    uid = bench.receive(bones, sibling(bones, SeriesDescription="SOFT TISSUE", **PA))
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.reason) == ("not_analysed", "processed_copy", ALONE)
    assert rows(bench, uid) == [("not_analysed", "processed_copy")] * 2
    study = bench.triage(sibling(bones, SeriesDescription="Chest PA", **PA))
    assert (study.state, study.reason_code) == ("triaged", None)
    assert rows(bench, uid) == [("ignored", "processed_copy")] * 2 + [("analysed", None)]


@pytest.mark.parametrize(("told", "alone"), [(LATER, True), (PA, False), ({}, False)])
def test_a_copy_that_comes_after_the_report_is_judged_at_once_and_only_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, told: dict[str, object], alone: bool
) -> None:
    standard = chest_radiograph(SeriesDescription="Chest PA", **PA)
    uid = bench.triage(standard).study_instance_uid
    monkeypatch.setattr("worker.runs.triage.analyse", lambda *arguments: pytest.fail("looked at the picture again"))
    bench.triage(sibling(standard, SeriesDescription="Chest AP Bone", **told))
    judged = ("not_analysed" if alone else "ignored", "processed_copy")
    assert rows(bench, uid) == [("analysed", None), judged]
    _first, second = bench.runs(uid)
    assert (second.outcome, second.images_not_analysed) == (("triaged", 1) if alone else ("unchanged", None))
    with bench.sessions.begin() as session:
        now = session.get_one(Study, uid).due_at = database_now(session)
        assert queue_if_due(session, uid, bench.settings, now, actor="test") is None
