from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from benches import Bench
from bundles import FLAGGED, SAYS, write_test_bundle
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset

from dicom_io.results.secondary_capture import CaptureSeries
from model.labels import LABELS
from worker.rows.database import SessionFactory
from worker.rows.leases import Claim, claim_run
from worker.runs.analysis import Analysis
from worker.runs.built_result import BuiltResult
from worker.runs.kept_results import KeptPictures
from worker.runs.reading import Picture, load_material, read_pictures
from worker.runs.results import build_results
from worker.runs.triage import triage
from worker.runs.workplace import load_model
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    def make(*, demonstration: bool = False, **fields: object) -> Bench:
        bundle = write_test_bundle(tmp_path / "bundle", demonstration=demonstration)
        return Bench(
            make_settings(bundles={"default": bundle.folder}, allow_demonstration_bundle=demonstration, **fields),
            sessions,
        )

    return make


def claimed(bench: Bench, *datasets: Dataset) -> tuple[Claim, list[Picture]]:
    uid = bench.receive(*datasets)
    with bench.sessions.begin() as session:
        claim = claim_run(session, uid, "bench:1", bench.settings)
    assert claim is not None
    with bench.sessions() as session:
        pictures, unread = read_pictures(load_material(session, uid).candidates, bench.workplace.instances)
    assert unread == []
    return claim, pictures


def analysis_of(bench: Bench, pictures: list[Picture], *said: dict[str, float]) -> Analysis:
    """An analysis with these probabilities per picture, as a network that looks at pictures would give them."""
    probabilities = tuple(tuple(words.get(label, 0.0 if label in SAYS else None) for label in LABELS) for words in said)
    assessment = bench.workplace.model("default").policy.assess(probabilities)
    seen = {finding.label: np.ones((7, 7), np.float32) for finding in assessment.flagged}
    return Analysis(tuple(pictures), (), probabilities, assessment, seen, KeptPictures(), None)


def read_back(bench: Bench, built: BuiltResult) -> Dataset:
    return pydicom.dcmread(bench.workplace.results.open_path(built.file.path))


def test_each_picture_is_made_from_the_image_where_its_finding_scored_highest(make_bench: MakeBench) -> None:
    bench = make_bench()
    first = chest_radiograph()
    second = chest_radiograph(drawn_chest(48, 192), StudyInstanceUID=first.StudyInstanceUID)
    claim, pictures = claimed(bench, first, second)
    analysis = analysis_of(bench, pictures, {"Effusion": 0.9, "Mass": 0.61}, {"Effusion": 0.7, "Mass": 0.8})
    built = build_results(claim, analysis, bench.workplace.model("default"), bench.workplace)
    drawn = {result.finding: read_back(bench, result) for result in built if result.finding}
    sources = {finding: each.SourceImageSequence[0].ReferencedSOPInstanceUID for finding, each in drawn.items()}
    assert sources == {"Effusion": first.SOPInstanceUID, "Mass": second.SOPInstanceUID}
    upright = {finding: each.Rows > each.Columns for finding, each in drawn.items()}
    assert upright == {"Effusion": True, "Mass": False}, "as the film is that it is drawn on"


def test_rows_describe_the_files_exactly(make_bench: MakeBench) -> None:
    bench = make_bench()
    study = bench.triage(chest_radiograph())
    (run,) = bench.runs(study.study_instance_uid)
    assert len(bench.results(run)) == 1 + len(FLAGGED)
    for result in bench.results(run):
        content = bench.workplace.results.open_path(result.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (result.bytes, result.sha256)
    for result, dataset in zip(bench.results(run), bench.datasets(run), strict=True):
        assert result.sop_instance_uid == dataset.SOPInstanceUID
        assert result.sop_class_uid == dataset.SOPClassUID
        assert result.series_instance_uid == dataset.SeriesInstanceUID


@pytest.mark.parametrize("demonstration", [True, False])
def test_a_demonstration_model_says_so_in_every_object(make_bench: MakeBench, demonstration: bool) -> None:
    bench = make_bench(demonstration=demonstration)
    study = bench.triage(chest_radiograph())
    results = bench.results(bench.runs(study.study_instance_uid)[0])
    assert len(results) == 1 + len(FLAGGED)
    for result in results:
        content = bench.workplace.results.open_path(result.path).read_bytes()
        assert (b"DEMONSTRATION MODEL" in content) is demonstration
        assert b"NOT A MEDICAL DEVICE - NOT FOR DIAGNOSTIC USE" in content


def test_negatives_are_reported_only_when_asked_for(make_bench: MakeBench) -> None:
    said = {}
    for wanted in (False, True):
        bench = make_bench(include_negatives=wanted)
        study = bench.triage(chest_radiograph())
        said[wanted] = str(bench.datasets(bench.runs(study.study_instance_uid)[0])[0]).count("Absent")
    assert said[False] == 0
    assert said[True] >= len(SAYS) - 2


def test_a_store_that_cannot_be_written_is_tried_again_and_names_itself(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.settings.results_dir.parent.mkdir(parents=True, exist_ok=True)
    bench.settings.results_dir.write_text("a file where the folder should be")
    study = bench.triage(chest_radiograph())
    (run,) = bench.runs(study.study_instance_uid)
    assert (run.state, run.reason_code) == ("queued", "storage")
    bench.settings.results_dir.unlink()
    assert triage(study.study_instance_uid, bench.workplace) is True
    assert bench.study(study.study_instance_uid).state == "triaged"


def test_a_bundle_that_went_missing_fails_the_run_with_its_reason(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = make_bench()
    bench.settings.bundles["default"] = tmp_path / "gone"
    bench.workplace.models.clear()
    study = bench.triage(chest_radiograph())
    assert (study.state, study.reason_code) == ("failed", "bundle")
    write_test_bundle(tmp_path / "gone")
    assert load_model(bench.settings, "default").bundle.name == "fixed-words"


PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


def destination(name: str, **fields: object) -> dict[str, object]:
    return PACS | {"name": name} | fields


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"pictures": "none"}, ["structured_report"]),
        ({}, ["structured_report", "secondary_capture", "secondary_capture"]),
        ({"pictures": "none", "summary_capture": True}, ["structured_report", "summary_capture"]),
        (
            {"pictures": "sc+gsps", "summary_capture": True},
            ["structured_report", *["secondary_capture"] * 2, "summary_capture", *["presentation_state"] * 2],
        ),
    ],
)
def test_each_destination_gets_the_pictures_it_is_configured_for(
    make_bench: MakeBench, fields: dict[str, object], kinds: list[str]
) -> None:
    everything = destination("research", pictures="sc+gsps", summary_capture=True)
    bench = make_bench(destinations=[destination("pacs", **fields), everything])
    (run,) = bench.runs(bench.triage(chest_radiograph()).study_instance_uid)
    by_id = {result.id: result.kind for result in bench.results(run)}
    sent = {
        name: [by_id[row.result_id] for row in bench.deliveries(run) if row.destination == name]
        for name in ("pacs", "research")
    }
    assert sent["pacs"] == kinds
    assert sorted(set(sent["research"])) == [
        "presentation_state", "secondary_capture", "structured_report", "summary_capture",
    ]  # fmt: skip


def test_what_no_destination_wants_is_not_made_but_the_study_page_has_its_pictures(make_bench: MakeBench) -> None:
    bench = make_bench(destinations=[destination("pacs", pictures="none")])
    (run,) = bench.runs(bench.triage(chest_radiograph()).study_instance_uid)
    assert [result.kind for result in bench.results(run)] == ["structured_report", *["secondary_capture"] * 2]


def test_a_corrected_name_reissues_every_kind_of_picture_unchanged(make_bench: MakeBench) -> None:
    bench = make_bench(destinations=[destination("pacs", pictures="sc+gsps", summary_capture=True)])
    source = chest_radiograph(PatientName="Wrong^Name")
    bench.triage(source)
    source.PatientName = "Right^Name"
    before, after = bench.runs(bench.triage(source).study_instance_uid)
    assert "classify" not in after.timings_seconds
    old, new = bench.datasets(before), bench.datasets(after)
    assert [item.Modality for item in new] == ["SR", "OT", "OT", "OT", "PR", "PR"]
    assert {str(item.PatientName) for item in new} == {"Right^Name"}
    assert [item.PixelData for item in new[1:4]] == [item.PixelData for item in old[1:4]]
    assert [item.GraphicAnnotationSequence for item in new[4:]] == [item.GraphicAnnotationSequence for item in old[4:]]
    assert {item.SOPInstanceUID for item in old}.isdisjoint(item.SOPInstanceUID for item in new)


def test_lines_lie_where_the_map_of_their_finding_is_high(make_bench: MakeBench) -> None:
    bench = make_bench(destinations=[destination("pacs", pictures="sc+gsps")])
    claim, pictures = claimed(bench, chest_radiograph(drawn_chest(400, 300)))
    analysis = analysis_of(bench, pictures, {"Effusion": 0.9})
    corner = np.zeros((7, 7), np.float32)
    corner[5, 1] = 1.0
    analysis.saliency["Effusion"] = corner  # type: ignore[index]
    built = build_results(claim, analysis, bench.workplace.model("default"), bench.workplace)
    (state,) = [read_back(bench, result) for result in built if result.kind == "presentation_state"]
    (graphic,) = state.GraphicAnnotationSequence[0].GraphicObjectSequence
    column, row = np.reshape(graphic.GraphicData, (-1, 2)).mean(axis=0)
    assert (column, row) == pytest.approx((300 * 1.5 / 7, 400 * 5.5 / 7), rel=0.1)


@pytest.mark.parametrize(
    ("center", "width"),
    [(None, None), ("30000", "2000"), (["30000", "2048"], ["2000", "4096"])],
    ids=["none", "all is black", "all is black in the first window"],
)
def test_an_image_without_a_grey_scale_of_its_own_gets_captures_but_no_lines(
    make_bench: MakeBench, center: Any, width: Any
) -> None:
    """A presentation state would show the reader the black picture that the network was not shown."""
    bench = make_bench(destinations=[destination("pacs", pictures="sc+gsps")])
    study = bench.triage(chest_radiograph(drawn_chest(400, 300), WindowCenter=center, WindowWidth=width))
    kinds = [result.kind for result in bench.results(bench.runs(study.study_instance_uid)[0])]
    assert kinds == ["structured_report", "secondary_capture", "secondary_capture"]


def test_a_result_of_another_patient_is_never_stored(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench()
    honest = CaptureSeries.of_finding

    def slipping(*arguments: Any, **named: Any) -> Dataset:
        made = honest(*arguments, **named)
        made.PatientID = "SOMEBODY-ELSE"
        return made

    monkeypatch.setattr(CaptureSeries, "of_finding", slipping)
    study = bench.triage(chest_radiograph())
    (run,) = bench.runs(study.study_instance_uid)
    assert (study.state, run.reason_code) == ("failed", "result_invalid")
    assert "PatientID" in str(run.reason)
    assert bench.results(run) == []
