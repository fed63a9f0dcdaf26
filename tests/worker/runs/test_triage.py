from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from benches import Bench, dicom_bytes
from bundles import FLAGGED, SAYS, write_test_bundle
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless
from sqlalchemy import select, update

from dicom_io.data_sets.rejection_title import RejectionTitle
from model.classifier import Classifier, NotFiniteError
from model.suitability import SuitabilityError
from worker.arrival.completion import queue_run
from worker.care.image_rejection import reject_by_hand
from worker.care.requeue import requeue_quietly
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import DeliveryState, ResultKind, RunState, RunTrigger
from worker.rows.study_tables import Study
from worker.runs.reading import Material
from worker.runs.triage import triage
from worker.runs.workplace import load_model
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.fixture
def bench_settings(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    write_test_bundle(tmp_path / "bundle")
    return make_settings(bundles={"default": tmp_path / "bundle"}, destinations=[PACS], accept_unknown_sources=True)


@pytest.fixture
def bench(bench_settings: Settings, sessions: SessionFactory) -> Bench:
    return Bench(bench_settings, sessions)


def test_a_flagged_study_ends_triaged_with_one_report_and_a_picture_per_finding(bench: Bench) -> None:
    study = bench.triage(chest_radiograph())
    assert (study.state, study.priority) == ("triaged", "STAT")
    assert study.priority_reason == "Pneumothorax 91 % (threshold 60 %); Effusion 72 % (threshold 60 %)"
    assert study.flagged_at is not None
    (run,) = bench.runs(study.study_instance_uid)
    assert (run.state, run.outcome, run.attempts) == ("done", "triaged", 1)
    kinds = [(result.kind, result.finding) for result in bench.results(run)]
    assert kinds == [("structured_report", None), *(("secondary_capture", label) for label in FLAGGED)]
    assert [(delivery.destination, delivery.state) for delivery in bench.deliveries(run)] == [("pacs", "pending")] * 3


def test_every_probability_and_threshold_stands_in_sql_and_untrained_ones_are_null(bench: Bench) -> None:
    study = bench.triage(chest_radiograph())
    with bench.sessions() as session:
        rows = session.scalars(select(Prediction).where(Prediction.run_id == study.current_run_id)).all()
    said = {row.finding: row.probability for row in rows}
    assert len(rows) == 14
    assert {label for label, probability in said.items() if probability is None} == set(said) - set(SAYS)
    assert said["Pneumothorax"] == pytest.approx(0.91, abs=1e-6)
    assert {row.finding for row in rows if row.flagged} == set(FLAGGED)


def test_stage_times_are_in_the_runs_row(bench: Bench) -> None:
    (run,) = bench.runs(bench.triage(chest_radiograph()).study_instance_uid)
    assert {"read", "preprocess", "classify", "saliency", "results", "total"} <= set(run.timings_seconds)
    assert 0 < run.timings_seconds["classify"] < run.timings_seconds["total"]
    assert "load" not in run.timings_seconds


def test_loading_the_model_is_a_stage_of_the_run_that_needs_it_first(bench: Bench) -> None:
    bench.workplace.models.clear()  # type: ignore[attr-defined]
    (run,) = bench.runs(bench.triage(chest_radiograph()).study_instance_uid)
    stages = dict(run.timings_seconds)
    assert 0 < stages["load"] < stages.pop("total")


def test_results_carry_the_patient_and_study_of_their_source_and_name_it(bench: Bench) -> None:
    source = chest_radiograph(PatientName="Grün^Änne", PatientID="", AccessionNumber="A-77")
    study = bench.triage(source)
    assert study.patient_id_missing
    for dataset in bench.datasets(bench.runs(study.study_instance_uid)[0]):
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert (str(dataset.PatientName), dataset.PatientID, dataset.AccessionNumber) == ("Grün^Änne", "", "A-77")


def test_a_second_ring_finds_nothing_to_do(bench: Bench) -> None:
    study = bench.triage(chest_radiograph())
    assert triage(study.study_instance_uid, bench.workplace) is False
    assert len(bench.runs(study.study_instance_uid)) == 1


def test_the_study_takes_the_maximum_over_its_images_and_all_are_evidence(bench: Bench) -> None:
    first = chest_radiograph()
    second = chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=first.StudyInstanceUID)
    study = bench.triage(first, second)
    (run,) = bench.runs(study.study_instance_uid)
    (report,) = [dataset for dataset in bench.datasets(run) if dataset.Modality == "SR"]
    referenced = {
        item.ReferencedSOPInstanceUID
        for evidence in report.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert referenced == {first.SOPInstanceUID, second.SOPInstanceUID}
    assert [instance.disposition for instance in bench.instances(study.study_instance_uid)] == ["analysed"] * 2


def test_a_late_image_makes_a_new_run_that_supersedes_the_first_and_its_unsent_results(bench: Bench) -> None:
    first = chest_radiograph()
    bench.triage(first)
    study = bench.triage(chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=first.StudyInstanceUID))
    old, new = bench.runs(study.study_instance_uid)
    assert (old.state, new.state, new.trigger) == ("superseded", "done", "late_image")
    assert study.current_run_id == new.id
    assert {delivery.state for delivery in bench.deliveries(old)} == {"superseded"}
    assert {delivery.state for delivery in bench.deliveries(new)} == {"pending"}
    old_uids = {result.sop_instance_uid for result in bench.results(old)}
    assert old_uids.isdisjoint(result.sop_instance_uid for result in bench.results(new))
    report = next(dataset for dataset in bench.datasets(new) if dataset.Modality == "SR")
    predecessor = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == bench.results(old)[0].sop_instance_uid


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_transcoded_copy_changes_nothing(bench: Bench, syntax: str) -> None:
    source = chest_radiograph()
    first = bench.triage(source)
    copy = pydicom.dcmread(BytesIO(dicom_bytes(source)))
    copy.compress(syntax, generate_instance_uid=False)
    copy.PatientID = source.PatientID
    study = bench.triage(copy)
    old, new = bench.runs(study.study_instance_uid)
    assert (new.outcome, new.state, study.state) == ("unchanged", "done", "triaged")
    assert study.current_run_id == old.id == first.current_run_id
    assert bench.results(new) == []
    assert {delivery.state for delivery in bench.deliveries(old)} == {"pending"}
    assert [instance.disposition for instance in bench.instances(study.study_instance_uid)][-1] == "analysed"
    assert "unchanged" in bench.event_kinds(study.study_instance_uid)


def test_corrected_patient_data_reissue_the_results_without_inference(bench: Bench) -> None:
    source = chest_radiograph(AccessionNumber="WRONG")
    bench.triage(source)
    source.AccessionNumber = "RIGHT"
    study = bench.triage(source)
    old, new = bench.runs(study.study_instance_uid)
    assert (old.state, new.state, new.outcome, new.result_revision) == ("superseded", "done", "triaged", 2)
    assert "classify" not in new.timings_seconds
    before, after = bench.datasets(old), bench.datasets(new)
    assert {dataset.AccessionNumber for dataset in after} == {"RIGHT"}
    assert {dataset.SOPInstanceUID for dataset in before}.isdisjoint(dataset.SOPInstanceUID for dataset in after)
    assert [dataset.PixelData for dataset in before[1:]] == [dataset.PixelData for dataset in after[1:]]
    predecessor = after[0].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == before[0].SOPInstanceUID


def test_other_pixels_under_the_same_uid_are_analysed_anew(bench: Bench) -> None:
    source = chest_radiograph()
    bench.triage(source)
    source.PixelData = np.roll(drawn_chest(), 7, axis=1).astype("<u2").tobytes()
    study = bench.triage(source)
    old, new = bench.runs(study.study_instance_uid)
    assert (old.state, new.outcome) == ("superseded", "triaged")
    assert "classify" in new.timings_seconds


def lut(values: np.ndarray, **keywords: str) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), 0, 12])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    item.update(keywords)
    return Sequence([item])


RAMP, STEEP = np.arange(4096), np.clip((np.arange(4096) - 3500) * 7, 0, 4095)
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
NO_RESCALE = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None}
SHOWN_OTHERWISE: dict[str, tuple[np.ndarray, dict[str, object], dict[str, object]]] = {
    "window": (drawn_chest(96, 80), {"WindowCenter": "3800", "WindowWidth": "500"}, {"WindowCenter": "2048"}),
    "VOI LUT": (drawn_chest(96, 80), {**NO_WINDOW, "VOILUTSequence": lut(STEEP)}, {"VOILUTSequence": lut(RAMP)}),
    "modality LUT": (
        drawn_chest(96, 80),
        {**NO_RESCALE, "ModalityLUTSequence": lut(STEEP, ModalityLUTType="US")},
        {"ModalityLUTSequence": lut(RAMP, ModalityLUTType="US")},
    ),
    "rows and columns": (drawn_chest(96, 80), {"Rows": 80, "Columns": 96}, {"Rows": 96, "Columns": 80}),
    "sign": (
        drawn_chest(96, 80) * 16 ^ 0x8000,
        {"BitsStored": 16, "HighBit": 15, "WindowCenter": "0", "WindowWidth": "65536"},
        {"PixelRepresentation": 1},
    ),
    "bits stored": (
        drawn_chest(96, 80) // 16,
        {"BitsStored": 16, "HighBit": 15, **NO_WINDOW},
        {"BitsStored": 8, "HighBit": 7},
    ),
    "shutter": (
        drawn_chest(96, 80),
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [48, 40], "RadiusOfCircularShutter": "30"},
        {"RadiusOfCircularShutter": "40"},
    ),
}
"""Stored values, how they are first to be shown, and what is corrected of that."""


@pytest.mark.parametrize("what", SHOWN_OTHERWISE)
def test_the_same_stored_values_shown_otherwise_are_another_picture(bench: Bench, what: str) -> None:
    """Not told from printed elements: pydicom prints every long table of one length alike."""
    pixels, first, corrected = SHOWN_OTHERWISE[what]
    source = chest_radiograph(pixels, **first)
    bench.triage(source)
    for keyword, value in corrected.items():
        setattr(source, keyword, value)
    uid = bench.triage(source).study_instance_uid
    old, new = bench.runs(uid)
    assert (old.state, new.outcome) == ("superseded", "triaged")
    assert "classify" in new.timings_seconds
    before, after = bench.instances(uid)
    assert before.pixel_sha256 == after.pixel_sha256, "only how they are shown differs"


@pytest.mark.parametrize("what", SHOWN_OTHERWISE)
def test_the_same_picture_again_stays_as_it_is_and_a_corrected_name_needs_no_inference(bench: Bench, what: str) -> None:
    pixels, first, _corrected = SHOWN_OTHERWISE[what]
    source = chest_radiograph(pixels, **first)
    uid = bench.triage(source).study_instance_uid
    source.ImageComments = "sent again"
    bench.triage(source)
    source.PatientName = "Right^Name"
    bench.triage(source)
    assert [run.outcome for run in bench.runs(uid)] == ["triaged", "unchanged", "triaged"]
    assert "classify" not in bench.runs(uid)[-1].timings_seconds


def test_an_earlier_version_that_cannot_be_read_any_more_is_no_precedent(bench: Bench) -> None:
    source = chest_radiograph()
    uid = bench.triage(source).study_instance_uid
    bench.workplace.instances.open_path(bench.instances(uid)[0].path).unlink()
    source.ImageComments = "sent again"
    bench.triage(source)
    assert "classify" in bench.runs(uid)[-1].timings_seconds


def test_the_machine_only_ever_raises_the_priority(bench: Bench, tmp_path: Path) -> None:
    source = chest_radiograph()
    bench.triage(source)
    calm = write_test_bundle(tmp_path / "calm", dict.fromkeys(SAYS, 0.01), version="0.0.2")
    bench.settings.bundles["default"] = calm.folder
    bench.workplace.models["default"] = load_model(bench.settings, "default")
    study = bench.triage(chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=source.StudyInstanceUID))
    assert bench.runs(study.study_instance_uid)[-1].priority == "ROUTINE"
    assert study.priority == "STAT"
    assert study.priority_reason is not None
    assert study.priority_reason.startswith("Pneumothorax")


def test_a_negative_study_is_routine_with_a_report_and_no_picture(bench: Bench, tmp_path: Path) -> None:
    calm = write_test_bundle(tmp_path / "calm", dict.fromkeys(SAYS, 0.01))
    bench.settings.bundles["default"] = calm.folder
    bench.workplace.models["default"] = load_model(bench.settings, "default")
    study = bench.triage(chest_radiograph())
    assert (study.priority, study.flagged_at) == ("ROUTINE", None)
    assert study.priority_reason == "No finding above its threshold (6 of 14 findings analysed)"
    (run,) = bench.runs(study.study_instance_uid)
    assert [result.kind for result in bench.results(run)] == [ResultKind.STRUCTURED_REPORT]


def test_a_historical_study_is_analysed_and_neither_flagged_nor_announced(bench: Bench) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    study = bench.triage(chest_radiograph(StudyDate=f"{long_ago:%Y%m%d}"))
    assert study.historical
    assert (study.state, study.priority, study.flagged_at) == ("triaged", "ROUTINE", None)
    assert study.priority_reason == "Historical study (40 days old): analysed, never flagged"
    (run,) = bench.runs(study.study_instance_uid)
    assert bench.results(run) == []
    with bench.sessions() as session:
        rows = session.scalars(select(Prediction).where(Prediction.run_id == run.id)).all()
    assert len(rows) == 14
    assert not any(row.flagged for row in rows)


def test_a_study_as_old_as_the_limit_is_not_historical(bench: Bench) -> None:
    edge = datetime.now(UTC) - timedelta(days=bench.settings.historical_after_days)
    assert not bench.triage(chest_radiograph(StudyDate=f"{edge:%Y%m%d}")).historical


def test_pixels_that_nothing_decodes_end_not_analysed_with_their_reason(bench: Bench) -> None:
    broken = chest_radiograph()
    broken.compress(JPEG2000Lossless, generate_instance_uid=False)
    broken.PixelData = broken.PixelData[:60] + bytes(len(broken.PixelData) - 60)
    study = bench.triage(broken)
    assert (study.state, study.priority) == ("not_analysed", None)
    assert study.reason_code == "undecodable"
    (run,) = bench.runs(study.study_instance_uid)
    assert bench.results(run) == []
    (instance,) = bench.instances(study.study_instance_uid)
    assert (instance.disposition, instance.reason_code) == ("not_analysed", "undecodable")


def test_one_broken_image_does_not_keep_the_other_from_being_analysed(bench: Bench) -> None:
    good = chest_radiograph()
    broken = chest_radiograph(StudyInstanceUID=good.StudyInstanceUID)
    broken.PixelData = broken.PixelData[:200]
    study = bench.triage(good, broken)
    assert study.state == "triaged"
    dispositions = {i.sop_instance_uid: i.disposition for i in bench.instances(study.study_instance_uid)}
    assert dispositions == {good.SOPInstanceUID: "analysed", broken.SOPInstanceUID: "not_analysed"}


UNREADABLE = {"HighBit": 15}
MULTI_FRAME = {"NumberOfFrames": 2}
CHILD = {"PatientAge": "009Y"}
MARK = "; 1 image of the study not analysed"


@pytest.mark.parametrize("tags", [UNREADABLE, MULTI_FRAME, CHILD], ids=["pixels", "frames", "age"])
@pytest.mark.parametrize("late", [False, True], ids=["together", "late"])
def test_an_image_that_is_not_analysed_is_told_of_whenever_it_comes(
    bench: Bench, tags: dict[str, object], late: bool
) -> None:
    good = chest_radiograph()
    left_out = chest_radiograph(StudyInstanceUID=good.StudyInstanceUID, **tags)
    if late:
        assert MARK not in str(bench.triage(good).priority_reason)
        study = bench.triage(left_out)
    else:
        study = bench.triage(good, left_out)
    assert study.state == "triaged"
    assert str(study.priority_reason).endswith(MARK)
    runs = bench.runs(study.study_instance_uid)
    assert [run.images_not_analysed for run in runs] == ([0, 1] if late else [1])
    (report,) = (dataset for dataset in bench.datasets(runs[-1]) if dataset.Modality == "SR")
    texts = "".join(str(element.value) for element in report.iterall() if element.keyword == "TextValue")
    assert MARK in texts
    if late:
        assert (runs[-1].trigger, runs[0].state) == ("late_image", "superseded")
        assert "classify" not in runs[-1].timings_seconds, "its pictures are known"
        assert "the number of images not analysed changed" in texts


def test_what_is_told_already_is_not_told_again(bench: Bench) -> None:
    good, other = chest_radiograph(), chest_radiograph(**MULTI_FRAME)
    other.StudyInstanceUID = good.StudyInstanceUID
    uid = bench.triage(good, other).study_instance_uid
    other.ImageComments = "sent again"
    bench.triage(other)
    assert len(bench.runs(uid)) == 1
    good.ImageComments = "sent again"
    bench.triage(good)
    assert [run.outcome for run in bench.runs(uid)] == ["triaged", "unchanged"]


def test_the_word_of_an_image_whose_new_version_is_ignored_is_taken_back(bench: Bench) -> None:
    good = chest_radiograph()
    broken = chest_radiograph(StudyInstanceUID=good.StudyInstanceUID, **MULTI_FRAME)
    assert MARK in str(bench.triage(good, broken).priority_reason)
    broken.SeriesDescription, broken.PresentationIntentType = "raw", "FOR PROCESSING"
    study = bench.triage(broken)
    assert [each.disposition for each in bench.instances(study.study_instance_uid)] == [
        "analysed", "not_analysed", "ignored"
    ]  # fmt: skip
    assert MARK not in str(study.priority_reason)


def test_laterals_rejected_images_and_ignored_objects_are_not_missed(bench: Bench) -> None:
    good = chest_radiograph()
    uid = bench.triage(good).study_instance_uid
    lateral = chest_radiograph(StudyInstanceUID=uid, ViewPosition="LL", PatientOrientation=None)
    raw = chest_radiograph(StudyInstanceUID=uid, PresentationIntentType="FOR PROCESSING")
    frames = chest_radiograph(StudyInstanceUID=uid, **MULTI_FRAME)
    assert MARK not in str(bench.triage(lateral, raw).priority_reason)
    assert len(bench.runs(uid)) == 1
    assert MARK in str(bench.triage(frames).priority_reason)
    with bench.sessions.begin() as session:
        reject_by_hand(
            session,
            uid,
            {str(frames.SOPInstanceUID)},
            title=RejectionTitle.QUALITY,
            reason="moved",
            by="ann",
            settings=bench.settings,
        )
    triage(uid, bench.workplace)
    assert MARK not in str(bench.study(uid).priority_reason)
    assert [each.disposition for each in bench.instances(uid)] == [
        "analysed",
        "not_analysed",
        "ignored",
        "not_analysed",
    ]


def test_a_run_of_a_version_that_did_not_count_is_taken_to_say_nothing(bench: Bench) -> None:
    good = chest_radiograph()
    uid = bench.triage(good).study_instance_uid
    with bench.sessions.begin() as session:
        session.execute(update(Run).values(images_not_analysed=None))
    good.ImageComments = "sent again"
    bench.triage(good)
    assert bench.runs(uid)[-1].outcome == "unchanged"
    assert MARK in str(bench.triage(chest_radiograph(StudyInstanceUID=uid, **MULTI_FRAME)).priority_reason)


def test_a_blank_picture_is_not_analysed(bench: Bench) -> None:
    study = bench.triage(chest_radiograph(np.full((96, 80), 700, np.uint16)))
    assert (study.state, study.reason_code) == ("not_analysed", "blank")


def test_a_missing_file_is_tried_again_and_ends_failed_and_visible(bench: Bench) -> None:
    uid = bench.receive(chest_radiograph())
    (instance,) = bench.instances(uid)
    bench.workplace.instances.open_path(instance.path).unlink()
    states = []
    for _ in range(bench.settings.maximum_attempts):
        assert triage(uid, bench.workplace) is False
        states.append(bench.study(uid).state)
    assert states == ["queued"] * (bench.settings.maximum_attempts - 1) + ["failed"]
    assert bench.study(uid).reason_code == "file_missing"
    assert bench.runs(uid)[0].state == RunState.FAILED


@pytest.mark.parametrize(("step", "error"), [("classify", NotFiniteError), ("examine", SuitabilityError)])
def test_a_model_that_computes_no_number_ends_the_run_at_once_in_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, error: type[Exception]
) -> None:
    def no_number(*_: object) -> None:
        raise error("bundle x 1 computes no finite number for Mass; make the bundle again")

    uid = bench.receive(chest_radiograph())
    monkeypatch.setattr(Classifier, step, no_number)
    assert triage(uid, bench.workplace) is False
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.priority) == ("failed", "bundle", None)
    assert "computes no finite number for Mass" in str(study.reason)
    assert "requeue" in str(study.reason)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def lose_blocks(path: Path) -> None:
    """Let a disk give zeros back for the second half, which pixel data may well be."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


@pytest.mark.parametrize("damage", [cut, lose_blocks])
def test_a_file_that_is_not_what_was_received_is_not_analysed_and_comes_back_with_the_image(
    bench: Bench, damage: Callable[[Path], None]
) -> None:
    image = chest_radiograph()
    uid = bench.receive(image)
    (instance,) = bench.instances(uid)
    damage(bench.workplace.instances.open_path(instance.path))
    for _ in range(bench.settings.maximum_attempts):
        assert triage(uid, bench.workplace) is False
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.priority) == ("failed", "file_missing", None)
    assert f"reconcile --study {uid}" in str(study.reason)
    assert bench.instances(uid)[0].disposition == "candidate"  # nothing is wrong with the image itself
    bench.receive(image)
    with bench.sessions.begin() as session:
        requeue_quietly(session, bench.workplace.instances, bench.settings, uid, "A. Admin")
    assert triage(uid, bench.workplace) is True
    assert bench.study(uid).state == "triaged"


def test_another_patients_file_in_the_place_of_an_image_is_not_analysed(bench: Bench) -> None:
    uid, other = bench.receive(chest_radiograph()), bench.receive(chest_radiograph(PatientID="OTHER-9"))
    mine, theirs = (bench.workplace.instances.open_path(bench.instances(each)[0].path) for each in (uid, other))
    mine.write_bytes(theirs.read_bytes())
    assert triage(uid, bench.workplace) is False
    assert (bench.runs(uid)[0].reason_code, bench.study(uid).priority) == ("file_missing", None)


def test_a_run_whose_lease_was_taken_leaves_nothing_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = bench.receive(chest_radiograph())

    def taken_meanwhile(*_arguments: object) -> Material:
        with bench.sessions.begin() as session:  # another worker claims the run after this one's lease lapsed
            run = session.scalars(select(Run).where(Run.study_instance_uid == uid)).one()
            run.fencing_token += 1
        return loaded(*_arguments)  # type: ignore[arg-type]

    import worker.runs.triage

    loaded = worker.runs.triage.load_material
    monkeypatch.setattr(worker.runs.triage, "load_material", taken_meanwhile)
    assert triage(uid, bench.workplace) is False
    (run,) = bench.runs(uid)
    assert (run.state, bench.results(run)) == (RunState.RUNNING, [])
    assert bench.study(uid).priority is None


def test_a_study_held_while_it_is_analysed_sends_nothing(bench: Bench) -> None:
    first = chest_radiograph(PatientID="ONE")
    uid = bench.receive(first)
    with bench.sessions.begin() as session:
        assert claim_run(session, uid, "bench:1", bench.settings) is not None
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="TWO"))
    assert triage(uid, bench.workplace) is False
    assert bench.study(uid).state == "held"
    with bench.sessions() as session:
        assert session.scalars(select(Delivery).where(Delivery.state == DeliveryState.PENDING)).all() == []


def test_a_requeued_study_with_the_same_model_and_pictures_is_not_reported_twice(bench: Bench) -> None:
    study = bench.triage(chest_radiograph())
    with bench.sessions.begin() as session:
        queue_run(
            session, session.get_one(Study, study.study_instance_uid), RunTrigger.MANUAL, bench.settings, actor="admin"
        )
    triage(study.study_instance_uid, bench.workplace)
    assert [run.outcome for run in bench.runs(study.study_instance_uid)] == ["triaged", "unchanged"]


def test_another_model_analyses_again_and_supersedes(bench: Bench, tmp_path: Path) -> None:
    study = bench.triage(chest_radiograph())
    other = write_test_bundle(tmp_path / "other", {**SAYS, "Mass": 0.8}, version="0.0.2")
    bench.settings.bundles["default"] = other.folder
    bench.workplace.models["default"] = load_model(bench.settings, "default")
    with bench.sessions.begin() as session:
        queue_run(
            session,
            session.get_one(Study, study.study_instance_uid),
            RunTrigger.REPROCESS,
            bench.settings,
            actor="admin",
        )
    triage(study.study_instance_uid, bench.workplace)
    old, new = bench.runs(study.study_instance_uid)
    assert (old.state, new.outcome, new.model_version) == ("superseded", "triaged", other.model_version)
    assert "Mass" in {result.finding for result in bench.results(new)}


def test_a_repeated_attempt_makes_the_same_objects(bench: Bench, bench_settings: Settings) -> None:
    """The first attempt dies after its files are written; the second must not invent new identities."""
    from worker.foundation.stopwatch import Stopwatch
    from worker.runs.analysis import analyse
    from worker.runs.reading import load_material, read_pictures
    from worker.runs.results import build_results

    uid = bench.receive(chest_radiograph())
    with bench.sessions.begin() as session:
        claim = claim_run(session, uid, "bench:1", bench_settings)
    assert claim is not None
    with bench.sessions() as session:
        pictures, _unread = read_pictures(load_material(session, uid).candidates, bench.workplace.instances)
    model = bench.workplace.model("default")
    made = []
    for _ in range(2):
        analysis = analyse(pictures, [], model, Stopwatch(), bench_settings)
        made.append([built.sop_instance_uid for built in build_results(claim, analysis, model, bench.workplace)])
    assert made[0] == made[1]
    assert len(set(made[0])) == 3
