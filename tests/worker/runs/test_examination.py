"""What the tags say against what the picture looks like: nothing is analysed in silence, nothing is lost in silence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph, drawn_chest
from rich.console import Console
from suitability_checks import always

from model.suitability import OUTPUTS, Verdict
from worker.arrival.completion import queue_run
from worker.arrival.selection_rules import selection_rules
from worker.care.check import check_everything
from worker.rows.database import SessionFactory, database_now
from worker.rows.states import RunTrigger
from worker.rows.study_tables import Study
from worker.runs.triage import triage
from worker.runs.workplace import load_model
from worker.settings.config import Settings
from worker.views.rendering import study_report
from worker.views.study_detail import StudyDetail, study_detail

pytestmark = pytest.mark.either_database

UNTAGGED = {"BodyPartExamined": "", "ViewPosition": "", "StudyDescription": "", "SeriesDescription": ""}
UNTAGGED |= {"ProtocolName": "", "PatientOrientation": "", "PerformedProcedureStepDescription": ""}
UNTAGGED |= {"AnatomicRegionSequence": [], "ViewCodeSequence": [], "RequestedProcedureDescription": ""}

KNEE = {"BodyPartExamined": "KNEE", "StudyDescription": "", "SeriesDescription": ""}

MakeBench = Callable[[Verdict | None], Bench]


@pytest.fixture
def bench_of(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    """Make a bench whose bundle's check always says this; None: a bundle without a check."""

    def make(verdict: Verdict | None) -> Bench:
        folder = tmp_path / str(verdict)
        check = None
        if verdict is not None:
            far = verdict is Verdict.UNFAMILIAR
            check = always(Verdict.FRONTAL, 1.0) if far else always(verdict)
        write_test_bundle(folder, check=check)
        return Bench(make_settings(bundles={"default": folder}, accept_unknown_sources=True), sessions)

    return make


def detail_of(bench: Bench, uid: str) -> StudyDetail:
    with bench.sessions() as session:
        found = study_detail(session, uid, database_now(session), timedelta(hours=1))
    assert found is not None
    return found


def test_a_picture_that_looks_frontal_is_analysed_and_its_row_says_why(bench_of: MakeBench) -> None:
    bench = bench_of(Verdict.FRONTAL)
    study = bench.triage(chest_radiograph())
    assert study.state == "triaged"
    (instance,) = bench.instances(study.study_instance_uid)
    assert (instance.disposition, instance.image_verdict) == ("analysed", "frontal")
    assert instance.image_score == pytest.approx(1.0, abs=1e-6)
    assert instance.image_distance == pytest.approx(0.0, abs=1e-6)
    (run,) = bench.runs(study.study_instance_uid)
    assert run.timings_seconds["suitability"] > 0


@pytest.mark.parametrize("verdict", [each for each in Verdict if each not in (Verdict.FRONTAL, Verdict.BLANK)])
def test_tags_that_say_chest_and_a_picture_that_does_not_end_for_review(bench_of: MakeBench, verdict: Verdict) -> None:
    bench = bench_of(verdict)
    study = bench.triage(chest_radiograph())
    assert (study.state, study.reason_code, study.priority) == ("not_analysed", "needs_review", None)
    assert study.reason is not None
    assert "Tags and picture disagree: the tags say chest: yes, frontal: yes" in study.reason
    assert verdict.words in study.reason
    (instance,) = bench.instances(study.study_instance_uid)
    assert (instance.disposition, instance.reason_code) == ("not_analysed", "needs_review")
    assert instance.image_verdict == verdict
    (run,) = bench.runs(study.study_instance_uid)
    assert bench.results(run) == []
    assert run.model_version == bench.workplace.model("default").bundle.model_version


def test_a_picture_with_nothing_on_it_is_blank(bench_of: MakeBench) -> None:
    study = bench_of(Verdict.BLANK).triage(chest_radiograph())
    assert (study.state, study.reason_code) == ("not_analysed", "blank")


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (64, 200, "3.1 times as wide as high (200 x 64)"),
        (200, 64, "as high as wide"),
        (64, 129, "2.0 times"),
        (64, 128, ""),
        (128, 64, ""),
    ],
)
def test_what_is_longer_than_any_chest_radiograph_is_left_to_a_person_however_it_looks(
    make_settings: Callable[..., Settings],
    sessions: SessionFactory,
    tmp_path: Path,
    rows: int,
    columns: int,
    words: str,
) -> None:
    """Stretched, its picture of 64 x 64 looks as that of any film."""
    bundle = write_test_bundle(tmp_path / "bundle", check=always(Verdict.FRONTAL))
    bench = Bench(make_settings(bundles={"default": bundle.folder}, accept_unknown_sources=True), sessions)
    study = bench.triage(chest_radiograph(drawn_chest(rows, columns)))
    if words:
        assert (study.state, study.reason_code) == ("not_analysed", "needs_review")
        assert words in (study.reason or "")
    else:
        assert study.state == "triaged"


@pytest.mark.parametrize(("rows", "columns"), [(223, 500), (500, 223), (46, 49), (1, 1)])
@pytest.mark.parametrize("tags", [{}, UNTAGGED], ids=["tagged", "untagged"])
def test_what_is_smaller_than_the_network_looks_at_is_not_analysed_however_it_looks(
    make_settings: Callable[..., Settings],
    sessions: SessionFactory,
    tmp_path: Path,
    rows: int,
    columns: int,
    tags: dict[str, object],
) -> None:
    bundle = write_test_bundle(tmp_path / "bundle", check=always(Verdict.FRONTAL), input_size_px=224)
    bench = Bench(make_settings(bundles={"default": bundle.folder}, accept_unknown_sources=True), sessions)
    big = bench.triage(chest_radiograph(drawn_chest(224, 224), **tags))
    assert (big.state, big.reason_code) == ("triaged", None)
    pixels = drawn_chest(rows, columns)
    study = bench.triage(chest_radiograph(pixels, **tags))
    blank = pixels.size == 1
    assert (study.state, study.reason_code) == ("not_analysed", "blank" if blank else "too_small")
    if not blank:
        assert f"{columns} x {rows}; each side needs 224" in (study.reason or "")
    (run,) = bench.runs(study.study_instance_uid)
    assert bench.results(run) == []


def test_a_small_picture_is_analysed_when_a_network_that_looks_at_less_takes_over(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    write_test_bundle(folder, check=always(Verdict.FRONTAL), input_size_px=224)
    bench = Bench(make_settings(bundles={"default": folder}, accept_unknown_sources=True), sessions)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    write_test_bundle(folder, check=always(Verdict.FRONTAL), input_size_px=64)
    bench.workplace.models["default"] = load_model(bench.settings, "default")
    with bench.sessions.begin() as session:
        queue_run(session, session.get_one(Study, uid), RunTrigger.REPROCESS, bench.settings, actor="test")
    triage(uid, bench.workplace)
    assert bench.study(uid).state == "triaged"


def test_a_small_picture_of_another_body_part_is_out_of_scope_all_the_same(bench_of: MakeBench) -> None:
    study = bench_of(Verdict.OTHER).triage(chest_radiograph(drawn_chest(46, 49), **KNEE))
    assert (study.state, study.reason_code) == ("out_of_scope", "not_chest")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.FRONTAL, ("triaged", None)),
        (Verdict.OTHER, ("out_of_scope", "not_chest")),
        (Verdict.INVERTED, ("not_analysed", "needs_review")),
        (Verdict.ROTATED_90, ("not_analysed", "needs_review")),
        (Verdict.UNFAMILIAR, ("not_analysed", "needs_review")),
        (None, ("not_analysed", "needs_review")),
    ],
)
def test_where_tags_say_nothing_the_picture_decides_if_it_is_checked(
    bench_of: MakeBench, verdict: Verdict | None, expected: tuple[str, str | None]
) -> None:
    study = bench_of(verdict).triage(chest_radiograph(**UNTAGGED))
    assert (study.state, study.reason_code) == expected


@pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.BLANK])
def test_a_knee_that_looks_like_a_chest_ends_for_review_and_any_other_is_out_of_scope(
    bench_of: MakeBench, verdict: Verdict
) -> None:
    """The body part is tagged wrong in up to one image in seven: no such chest may go unseen without a word."""
    bench = bench_of(verdict)
    study = bench.triage(chest_radiograph(**KNEE))
    if verdict is Verdict.FRONTAL:
        assert (study.state, study.reason_code) == ("not_analysed", "needs_review")
        assert "Tags and picture disagree: the tags say chest: no" in (study.reason or "")
    else:
        assert (study.state, study.reason_code) == ("out_of_scope", "not_chest")
    (run,) = bench.runs(study.study_instance_uid)
    assert bench.results(run) == []
    assert bench.instances(study.study_instance_uid)[0].image_verdict == verdict


def test_a_knee_is_believed_unseen_without_a_check_or_where_a_rule_of_the_site_says_so(
    bench_of: MakeBench, make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> None:
    rule = {"name": "knees", "means": "not_chest", "keyword": "BodyPartExamined", "equals": "KNEE"}
    write_test_bundle(tmp_path / "checks", check=always(Verdict.FRONTAL))
    ruled = make_settings(bundles={"default": tmp_path / "checks"}, accept_unknown_sources=True, site_rules=[rule])
    for bench in (bench_of(None), Bench(ruled, sessions)):
        study = bench.triage(chest_radiograph(**KNEE))
        assert (study.state, study.reason_code) == ("out_of_scope", "not_chest")
        assert bench.runs(study.study_instance_uid) == []


def test_a_bundle_with_another_check_may_say_otherwise_when_the_study_runs_again(
    bench_of: MakeBench, make_settings: Callable[..., Settings]
) -> None:
    bench = bench_of(Verdict.UNFAMILIAR)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    write_test_bundle(bench.settings.bundles["default"], check=always(Verdict.FRONTAL))
    bench.workplace.models["default"] = load_model(bench.settings, "default")
    with bench.sessions.begin() as session:
        queue_run(session, session.get_one(Study, uid), RunTrigger.REPROCESS, bench.settings, actor="test")
    triage(uid, bench.workplace)
    assert bench.study(uid).state == "triaged"
    assert bench.instances(uid)[0].image_verdict == "frontal"


def test_show_names_the_verdict_and_says_where_nobody_looked(bench_of: MakeBench) -> None:
    for verdict, words in ((Verdict.FRONTAL, "frontal, score 1.000, distance 0.00 of 1"), (None, "not checked")):
        bench = bench_of(verdict)
        uid = bench.triage(chest_radiograph()).study_instance_uid
        detail = detail_of(bench, uid)
        assert detail.instances[0].suitability == words
        console = Console(width=400, record=True, file=StringIO())
        console.print(study_report(detail))
        assert words in console.export_text()


def test_the_configuration_check_names_a_bundle_that_checks_no_pictures(bench_of: MakeBench) -> None:
    for verdict, named in ((None, True), (Verdict.FRONTAL, False)):
        results = check_everything(bench_of(verdict).settings)
        (found,) = [result.detail for result in results if "fixed-words" in result.detail]
        assert ("PICTURES NOT CHECKED" in found) == named


def test_every_output_has_words_of_its_own() -> None:
    assert len({verdict.words for verdict in Verdict}) == len(Verdict) == len(OUTPUTS) + 1


def test_a_bundle_that_could_not_be_read_once_is_looked_at_again_for_the_next_image(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """A listener without a file descriptor left had the tags alone decide until somebody started it anew."""
    settings = make_settings(bundles={"default": tmp_path / "bundle"})
    assert not selection_rules(settings, "PACS").image_decides
    write_test_bundle(tmp_path / "bundle", check=always(Verdict.FRONTAL))
    assert selection_rules(settings, "PACS").image_decides
