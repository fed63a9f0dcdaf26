"""Which report a new one replaces, and why: said in the report itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benches import SILENT_ARCHIVE, Bench
from bundles import SAYS, write_test_bundle
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset
from sqlalchemy import select, update

from dicom_io.results.report_class import REPORT_CLASSES
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState
from worker.runs.workplace import load_model
from worker.sending.older_report import reissue_in_class
from worker.sending.outbox import take_due

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(bench_with: Callable[..., Bench]) -> Bench:
    return bench_with(destinations=[SILENT_ARCHIVE])


def newest_report(bench: Bench, uid: str) -> Dataset:
    (report,) = (dataset for dataset in bench.datasets(bench.runs(uid)[-1]) if dataset.Modality == "SR")
    return report


def replaced(report: Dataset) -> list[str]:
    """Return the SOP Instance UIDs the report names as its predecessors."""
    return [
        item.ReferencedSOPInstanceUID
        for study in report.get("PredecessorDocumentsSequence") or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def reason(report: Dataset) -> str:
    texts = [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]
    (found,) = [text for text in texts if text.startswith("Replaces")]
    return found.partition(": ")[2]


def test_a_first_report_replaces_nothing(bench: Bench) -> None:
    study = bench.triage(chest_radiograph())
    report = newest_report(bench, study.study_instance_uid)
    assert replaced(report) == []
    assert "Replaces the earlier" not in str(report)


def test_a_late_image_is_named_as_the_reason(bench: Bench) -> None:
    first = chest_radiograph()
    uid = bench.triage(first).study_instance_uid
    before = newest_report(bench, uid).SOPInstanceUID
    bench.triage(chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=uid))
    after = newest_report(bench, uid)
    assert replaced(after) == [before]
    assert reason(after) == "an image was added"
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENT))
    bench.triage(chest_radiograph(drawn_chest(88, 96), StudyInstanceUID=uid))
    assert replaced(newest_report(bench, uid)) == [after.SOPInstanceUID], "the newest, not the first"


def test_corrected_data_are_named_as_the_reason(bench: Bench) -> None:
    source = chest_radiograph(PatientName="Wrong^Name")
    bench.triage(source)
    source.PatientName = "Right^Name"
    uid = bench.triage(source).study_instance_uid
    assert reason(newest_report(bench, uid)) == "patient or order data were corrected"


def test_another_model_is_named_as_the_reason(bench: Bench, tmp_path: Path) -> None:
    first = chest_radiograph()
    bench.triage(first)
    bench.settings.bundles["default"] = write_test_bundle(tmp_path / "next", SAYS, version="0.0.2").folder
    bench.workplace.models["default"] = load_model(bench.settings, "default")
    uid = bench.triage(chest_radiograph(StudyInstanceUID=first.StudyInstanceUID)).study_instance_uid
    assert reason(newest_report(bench, uid)) == "analysed by another model"


def test_other_pixels_are_named_as_the_reason(bench: Bench) -> None:
    source = chest_radiograph()
    bench.triage(source)
    source.PixelData = drawn_chest().T.copy().astype("<u2").tobytes()
    uid = bench.triage(source).study_instance_uid
    assert reason(newest_report(bench, uid)) == "the images changed"


def test_the_same_pixels_shown_otherwise_are_not_called_corrected_patient_data(bench: Bench) -> None:
    source = chest_radiograph()
    bench.triage(source)
    source.WindowWidth = "2000"
    uid = bench.triage(source).study_instance_uid
    assert reason(newest_report(bench, uid)) == "the same pixels were analysed again"


def test_a_report_kept_in_two_classes_is_named_in_both(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    with bench.sessions.begin() as session:
        parcel = take_due(session, uid, "pacs", bench.settings)[0]
        reissue_in_class(session, parcel, REPORT_CLASSES[1], bench.workplace.results)
    written = [result.sop_instance_uid for result in bench.results(bench.runs(uid)[0]) if not result.finding]
    assert len(written) == 2
    bench.triage(chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=uid))
    assert sorted(replaced(newest_report(bench, uid))) == sorted(written)


def test_a_report_nobody_saw_is_not_replaced(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    with bench.sessions.begin() as session:
        session.execute(update(Run).values(shadow=True))
    bench.triage(chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=uid))
    assert replaced(newest_report(bench, uid)) == []


@pytest.mark.parametrize(("state", "named"), [(DeliveryState.PENDING, 2), (DeliveryState.SENT, 1)])
def test_a_report_that_never_reached_the_archive_leaves_the_one_before_it_to_be_replaced_too(
    bench_with: Callable[..., Bench], state: DeliveryState, named: int
) -> None:
    """The archive has the first and gets the third: nothing it holds would say that the first is replaced."""
    bench = bench_with(destinations=[SILENT_ARCHIVE])
    uid = bench.triage(chest_radiograph()).study_instance_uid
    first = newest_report(bench, uid)
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    second = newest_report(bench, uid)
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENT))
        of_second = select(Result.id).where(Result.sop_instance_uid == second.SOPInstanceUID)
        session.execute(update(Delivery).where(Delivery.result_id.in_(of_second)).values(state=state))
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    expected = [str(report.SOPInstanceUID) for report in (second, first)]
    assert replaced(newest_report(bench, uid)) == expected[:named]
