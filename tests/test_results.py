from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from benches import Bench
from bundles import SAYS, write_test_bundle
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset

from model.labels import LABELS
from worker.analysis import Analysis
from worker.config import Settings
from worker.database import SessionFactory
from worker.leases import Claim, claim_run
from worker.reading import Picture, load_candidates, read_pictures
from worker.results import BuiltResult, build_results
from worker.triage import triage
from worker.workplace import load_model

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
        pictures, unread = read_pictures(load_candidates(session, uid), bench.workplace.instances)
    assert unread == []
    return claim, pictures


def analysis_of(bench: Bench, pictures: list[Picture], *said: dict[str, float]) -> Analysis:
    """An analysis with these probabilities per picture, as a network that looks at pictures would give them."""
    probabilities = tuple(tuple(words.get(label, 0.0 if label in SAYS else None) for label in LABELS) for words in said)
    assessment = bench.workplace.model("default").policy.assess(probabilities)
    seen = {finding.label: np.ones((7, 7), np.float32) for finding in assessment.flagged}
    return Analysis(tuple(pictures), (), probabilities, assessment, seen, {}, None)


def read_back(bench: Bench, built: BuiltResult) -> Dataset:
    return pydicom.dcmread(bench.workplace.results.open_path(built.file.path))


def test_each_picture_is_made_from_the_image_where_its_finding_scored_highest(make_bench: MakeBench) -> None:
    bench = make_bench()
    first = chest_radiograph()
    second = chest_radiograph(drawn_chest(80, 96), StudyInstanceUID=first.StudyInstanceUID)
    claim, pictures = claimed(bench, first, second)
    analysis = analysis_of(bench, pictures, {"Effusion": 0.9, "Mass": 0.61}, {"Effusion": 0.7, "Mass": 0.8})
    built = build_results(claim, analysis, bench.workplace.model("default"), bench.workplace)
    sources = {
        result.finding: read_back(bench, result).SourceImageSequence[0].ReferencedSOPInstanceUID
        for result in built
        if result.finding
    }
    assert sources == {"Effusion": first.SOPInstanceUID, "Mass": second.SOPInstanceUID}


def test_rows_describe_the_files_exactly(make_bench: MakeBench) -> None:
    bench = make_bench()
    study = bench.triage(chest_radiograph())
    (run,) = bench.runs(study.study_instance_uid)
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
    for result in bench.results(bench.runs(study.study_instance_uid)[0]):
        content = bench.workplace.results.open_path(result.path).read_bytes()
        assert (b"DEMONSTRATION MODEL TRAINED ON DRAWINGS" in content) is demonstration
        assert b"NOT FOR DIAGNOSTIC USE" in content


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
