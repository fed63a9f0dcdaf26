"""``evaluate``, ``compare``, ``localise``, ``audit``, ``report``, ``calibrate`` and ``export`` as they are called."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import model_factories
import numpy as np
import pytest
from layouts import write_layout

from model.bundle import Bundle, load_bundle, write_bundle
from model.classifier import Classifier
from model.compiled_network import processor_computes_bf16
from model.densenet import weights_of
from model.golden import expected_probabilities, verify_golden
from model.labels import LABELS
from training.cli import main
from training.data.chestxray14 import read_layout
from training.data.pictures import read_grey
from training.evaluation.leakage import seen_images
from training.evaluation.predictions import Predictions, read_predictions, write_predictions

EFFUSION = LABELS.index("Effusion")


@dataclass(frozen=True)
class Ran:
    """What a command line gave back."""

    status: int
    out: str
    error: str

    @property
    def values(self) -> dict[str, Any]:
        """What it printed as JSON."""
        content: dict[str, Any] = json.loads(self.out)
        return content


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call the program in this process."""

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 noise pictures of as many patients, the last 30 of them test, and a tiny bundle trained on the first 20."""
    folder = tmp_path_factory.mktemp("judging")
    names = write_layout(folder / "data", patients=70, test_patients=30, size_px=40)
    boxes = [f"{name},Effusion,{100 + 20 * k},300,200,250,,," for k, name in enumerate(names[40::2])]
    table = folder / "data" / "BBox_List_2017.csv"
    table.write_text(table.read_text() + "\n".join(boxes) + "\n")
    radiographs = read_layout(folder / "data")
    seen = seen_images(radiographs, radiographs.train_val[:20], radiographs.train_val[20:])
    facts, weights = model_factories.facts(), weights_of(model_factories.network())
    picture = model_factories.picture()
    golden = [("noise", picture, expected_probabilities(facts, weights, picture))]
    write_bundle(folder / "bundle", facts, weights, "# Card\n\n## How it was made\n\nBy chance.\n", golden, seen)
    return folder


def _options(place: Path, out: Path) -> tuple[object, ...]:
    return ("--data", place / "data", "--out", out, "--cache", place / "cache", "--samples", 50)


def test_evaluate_judges_as_the_worker_does_and_keeps_the_outputs(place: Path, tmp_path: Path, run: Any) -> None:
    ran = run("evaluate", place / "bundle", *_options(place, tmp_path), "--json")
    assert ran.status == 0, ran.error
    assert ran.values["leak_guard"]["sentence"].startswith("The network has seen none")
    assert ran.values["metrics"]["pictures"] == 30
    assert ran.values["metrics"]["undefined"] == ["Pneumothorax"]
    assert ran.values["metrics"]["findings"]["Effusion"]["flagging"]["all_negative_accuracy"] == 0.5
    assert json.loads((tmp_path / "evaluation.json").read_text()) == ran.values
    written = read_predictions(tmp_path / "predictions.csv")
    bundle, radiographs = load_bundle(place / "bundle"), read_layout(place / "data")
    classifier = Classifier.load(bundle)
    for row in (0, 29):
        said = classifier.classify(read_grey(radiographs.paths[written.names[row]]))
        assert written.probabilities[row, EFFUSION] == pytest.approx(said.probabilities[EFFUSION], abs=1e-6)
    assert np.isnan(written.probabilities[:, 0]).all()
    kept = (tmp_path / "outputs.npz").stat().st_mtime_ns
    again = run("evaluate", place / "bundle", *_options(place, tmp_path), "--predictions", "parquet", "--json")
    assert again.values == ran.values
    assert (tmp_path / "outputs.npz").stat().st_mtime_ns == kept
    assert read_predictions(tmp_path / "predictions.parquet").names == written.names


@pytest.mark.parametrize("left_bytes", [0, 300])
def test_kept_outputs_that_are_damaged_are_made_again(place: Path, tmp_path: Path, run: Any, left_bytes: int) -> None:
    ran = run("evaluate", place / "bundle", *_options(place, tmp_path), "--json")
    os.truncate(tmp_path / "outputs.npz", left_bytes)
    again = run("evaluate", place / "bundle", *_options(place, tmp_path), "--json")
    assert (again.status, again.values) == (0, ran.values)


def test_every_problem_of_a_data_set_goes_into_a_file_whose_folder_need_not_be_there(
    place: Path, tmp_path: Path, run: Any
) -> None:
    asked = ("prepare", "--data", place / "data", "--lists-only", "--problems")
    assert run(*asked, tmp_path / "new" / "problems.csv").status == 0
    assert (tmp_path / "new" / "problems.csv").read_text().startswith("severity,problem,where,detail,remedy\n")
    (tmp_path / "file").write_bytes(b"")
    refused = run(*asked, tmp_path / "file" / "problems.csv")
    assert refused.status == 1
    assert "results cannot be written" in " ".join(refused.error.split())


def test_a_reading_process_that_is_killed_is_told_in_a_sentence(
    place: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.picture_check.check_picture", end_this_process)
    refused = run("prepare", "--data", place / "data", "--check-only", "--readers", 2)
    assert refused.status == 1
    assert "killed, perhaps for lack of memory" in " ".join(refused.error.split())


def end_this_process(path: str) -> str:
    """Stand for a decoder that crashes; a function of a module, so that a process can be told which."""
    os._exit(9)


def test_tables_for_people_say_that_it_is_no_medical_device_and_name_the_baselines(
    place: Path, tmp_path: Path, run: Any
) -> None:
    ran = run("evaluate", place / "bundle", *_options(place, tmp_path))
    assert "NOT FOR DIAGNOSTIC USE" in ran.out
    assert "Demonstration model" in ran.out
    flat = re.sub(r"\s+", " ", ran.out)
    assert "Accuracy means nothing without the last column beside it" in flat
    assert "Undefined, one class being absent, and in no mean: Pneumothorax" in flat
    assert "no published figure was measured on them" in flat


def test_seen_pictures_are_refused_left_out_or_marked(place: Path, tmp_path: Path, run: Any) -> None:
    options = ("evaluate", place / "bundle", *_options(place, tmp_path), "--part", "all", "--json")
    refused = run(*options)
    assert refused.status == 1
    assert "20 of 70 pictures were trained on, 20 selected on" in re.sub(r"\s+", " ", refused.error)
    assert "Traceback" not in refused.error
    assert not (tmp_path / "evaluation.json").exists()
    assert run(*options, "--seen", "leave-out").values["metrics"]["pictures"] == 30
    marked = run(*options, "--seen", "mark").values
    assert marked["metrics"]["pictures"] == 70
    assert marked["leak_guard"]["marked"]
    people = run(*options[:-1], "--seen", "mark")
    assert "LEAKY" in people.out


def test_localise_scores_boxed_pictures_only_and_shows_cases(place: Path, tmp_path: Path, run: Any) -> None:
    options = [option for option in _options(place, tmp_path) if option not in ("--samples", 50)]
    ran = run("localise", place / "bundle", *options, "--json")
    assert ran.status == 0, ran.error
    assert ran.values["pictures"] == 15
    assert ran.values["findings"]["Effusion"]["cases"] == 15
    protocol = ran.values["box_protocol"]["Effusion"]
    assert set(protocol) == {"model", "ceiling", "random", "centre"}
    assert protocol["model"]["iou_accuracy"]["0.1"] >= protocol["model"]["iou_accuracy"]["0.7"]
    page = (tmp_path / "localisation.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "NOT FOR DIAGNOSTIC USE" in page
    none = run("localise", place / "bundle", *options, "--part", "validation", "--seen", "mark")
    assert none.status == 1
    assert "no picture in validation has a box" in re.sub(r"\s+", " ", none.error)


@pytest.mark.parametrize("command", ["localise", "evaluate", "audit"])
def test_a_part_whose_files_are_all_missing_is_named(place: Path, tmp_path: Path, run: Any, command: str) -> None:
    shutil.copytree(place / "data", tmp_path / "data")
    radiographs = read_layout(tmp_path / "data")
    gone = 15 if command == "localise" else 30
    for name in radiographs.test:
        radiographs.paths[name].unlink()
    options = ("--data", tmp_path / "data", "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    ran = run(command, place / "bundle", *options, "--allow-missing")
    assert ran.status == 1
    assert "Traceback" not in ran.error
    assert f"none of the {gone} pictures wanted has a file" in re.sub(r"\s+", " ", ran.error)


def test_audit_writes_every_cell_once_and_suppresses_small_ones(place: Path, tmp_path: Path, run: Any) -> None:
    ran = run("audit", place / "bundle", *_options(place, tmp_path), "--json")
    assert ran.status == 0, ran.error
    assert ran.values["everyone"]["findings"]["Effusion"] is None  # 15 of 30
    with (tmp_path / "audit.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (1 + 2 + 4 + 2 + 8 + 4 + 8) * 2
    assert {row["positives"] for row in rows} == {"suppressed"}
    assert {row["auroc"] for row in rows} == {""}
    assert (tmp_path / "audit.html").read_text().count("data:image/png;base64,") == 4


def test_report_is_one_file_with_everything_and_a_card_beside_it(place: Path, tmp_path: Path, run: Any) -> None:
    labels = tmp_path / "google.csv"
    names = read_layout(place / "data").test
    rows = [f"{name},NO,{'YES' if k % 3 else 'NO'},NO,NO,test" for k, name in enumerate(names)]
    header = "Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass,Set Id"
    labels.write_text("\n".join([header, *rows]) + "\n")
    ran = run("report", place / "bundle", *_options(place, tmp_path), "--labels", f"google2019={labels}")
    assert ran.status == 0, ran.error
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    for heading in (
        "Findings",
        "Calibration",
        "Operating points",
        "Against radiologists",
        "Where the maps point",
        "Audit",
    ):
        assert f">{heading}" in page
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "NOT FOR DIAGNOSTIC USE" in card
    assert "By chance." in card  # how it was made, as the bundle's own card says it
    assert "## Against radiologists" in card
    assert card.count("\n## ") == len(set(re.findall(r"\n## .*", card)))
    assert run("report", place / "bundle", *_options(place, tmp_path), "--labels", "mine=x").status == 2


def test_compare_says_which_of_two_files_of_predictions_is_better(place: Path, tmp_path: Path, run: Any) -> None:
    radiographs = read_layout(place / "data")
    truth, rng = radiographs.targets(radiographs.test)[:, EFFUSION], np.random.default_rng(1)
    for name, strength in (("old", 0.5), ("new", 4.0)):
        table = np.full((30, 14), np.nan)
        table[:, EFFUSION] = 1 / (1 + np.exp(-(strength * truth + rng.normal(0, 1, 30))))
        owners = np.array([""] * 30)
        write_predictions(Predictions(name, radiographs.test, owners, table, table * np.nan), tmp_path / f"{name}.csv")
    ran = run("compare", tmp_path / "old.csv", tmp_path / "new.csv", *_options(place, tmp_path), "--json")
    assert ran.status == 0, ran.error
    assert ran.values["auroc"]["Effusion"]["verdict"] == "B is better"
    assert ran.values["mean_auroc"]["verdict"] == "B is better"
    assert ran.values["left_out"]["Mass"] == "A and B never learnt it"
    turned = run("compare", tmp_path / "new.csv", tmp_path / "old.csv", *_options(place, tmp_path))
    assert "On the mean AUROC: A is better." in turned.out


def test_compare_takes_bundles_and_only_what_both_may_be_judged_on(place: Path, tmp_path: Path, run: Any) -> None:
    radiographs = read_layout(place / "data")
    seen = seen_images(radiographs, radiographs.test[:10], ())
    weights = weights_of(model_factories.network())
    write_bundle(tmp_path / "other", model_factories.facts(), weights, "card", seen=seen)
    options = ("compare", place / "bundle", tmp_path / "other", *_options(place, tmp_path), "--json")
    assert run(*options).status == 1
    ran = run(*options, "--seen", "leave-out")
    assert ran.values["pictures"] == 20
    assert ran.values["auroc"]["Effusion"]["difference"] == [0, 0, 0]


def _calibrate(place: Path, tmp_path: Path, *more: object) -> tuple[object, ...]:
    return ("calibrate", place / "bundle", *_options(place, tmp_path / "out"), "--to", tmp_path / "new", *more)


def test_calibrate_makes_a_bundle_of_the_same_weights_that_proves_itself(place: Path, tmp_path: Path, run: Any) -> None:
    more = ("--method", "temperature", "--rule", "sensitivity:0.8", "--version", "0.2.0", "--json")
    ran = run(*_calibrate(place, tmp_path, *more))
    assert ran.status == 0, ran.error
    old, new = load_bundle(place / "bundle"), load_bundle(tmp_path / "new")
    assert (new.weights_sha256, new.version) == (old.weights_sha256, "0.2.0")
    assert new.calibration.kind == "temperature"
    assert new.calibration != old.calibration
    # 20 training and 20 validation pictures, every second one with an effusion, make 20 positives: too few to flag.
    assert new.reported_only == ("Effusion", "Pneumothorax")
    assert new.operating_points == {}
    assert all(result.passed for result in verify_golden(Classifier.load(new, "torch")))
    assert "By chance." in new.card_path.read_text()
    assert "fitted anew on 20 pictures" in new.card_path.read_text()
    assert new.metrics["pictures"] == 30
    assert (tmp_path / "out" / "report.html").exists()


def test_calibrate_chooses_thresholds_where_there_are_enough_positives(tmp_path: Path, run: Any) -> None:
    write_layout(tmp_path / "data", patients=100, test_patients=20, size_px=40)
    radiographs = read_layout(tmp_path / "data")
    seen = seen_images(radiographs, radiographs.train_val[:20], radiographs.train_val[20:])
    weights = weights_of(model_factories.network())
    write_bundle(tmp_path / "bundle", model_factories.facts(), weights, "card", seen=seen)
    shares = tmp_path / "shares.json"
    shares.write_text(json.dumps({"Effusion": 0.1}))
    more = ("--rule", "f1", "--rule-for", "Effusion=specificity:0.8", "--prevalence", shares)
    ran = run(*_calibrate(tmp_path, tmp_path, *more))
    assert ran.status == 0, ran.error
    new = load_bundle(tmp_path / "new")
    point = new.operating_points["Effusion"]
    assert point.chosen_by.startswith("specificity 0.8 on the validation part, ")
    assert (point.specificity or 0) >= 0.8
    assert new.reported_only == ("Pneumothorax",)
    carried = new.seen_images()
    assert carried is not None
    assert carried.selected_on("film", radiographs.train_val[20:]).all()


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (("--part", "test"), 1, "leave nothing to test them on"),
        (("--part", "train_val"), 1, "20 of 40 pictures were trained on"),
        (("--rule", "best"), 2, "no rule 'best'"),
        (("--rule-for", "Fracture=f1"), 2, "is not FINDING=RULE"),
        (("--prevalence", "Effusion=2"), 2, "does not lie between 0 and 1"),
        (("--prevalence", "absent.json"), 2, "neither FINDING=SHARE nor a JSON file"),
    ],
)
def test_calibrate_refuses_what_would_make_figures_worthless(
    place: Path, tmp_path: Path, run: Any, more: tuple[str, ...], status: int, message: str
) -> None:
    ran = run(*_calibrate(place, tmp_path, *more))
    assert ran.status == status
    assert message in re.sub(r"[\s│]+", " ", ran.error)
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not processor_computes_bf16(), reason="this processor has no bf16 arithmetic")
def test_a_trial_of_bf16_is_written_into_bundle_and_card_and_ends_with_another_calibration(
    place: Path, tmp_path: Path, run: Any
) -> None:
    options = (
        "--data",
        place / "data",
        "--out",
        tmp_path / "out",
        "--cache",
        place / "cache",
        "--to",
        tmp_path / "new",
    )
    ran = run("precision", place / "bundle", *options, "--json")
    assert ran.status == 0, ran.error
    old, new = load_bundle(place / "bundle"), load_bundle(tmp_path / "new")
    assert new.model_version == old.model_version
    assert new.bf16 is not None
    assert (new.bf16.pictures, new.bf16.decisions) == (30, 60)
    assert new.bf16.largest_difference == pytest.approx(difference_in_bf16(old, place), abs=1e-6)
    assert "fewer than 200" in new.bf16.obstacle  # 30 pictures prove nothing
    assert ran.values["passed"] is False
    card = new.card_path.read_text()
    assert card.count("## Arithmetic") == 1
    assert "## How it was made" in card
    again = run("precision", tmp_path / "new", *options)
    assert "fewer than 200" in again.out
    assert load_bundle(tmp_path / "new").card_path.read_text() == card
    calibrate = ("--data", place / "data", "--out", tmp_path / "out", "--cache", place / "cache", "--samples", 50)
    assert run("calibrate", tmp_path / "new", *calibrate, "--to", tmp_path / "newer").status == 0
    assert load_bundle(tmp_path / "newer").bf16 is None


def difference_in_bf16(bundle: Bundle, place: Path) -> float:
    """Return the largest difference between the precisions over the test list, one picture after the other."""
    radiographs = read_layout(place / "data")
    exact, rounded = (Classifier.load(served) for served in (bundle, bundle.served_in("bf16")))
    found = []
    for name in radiographs.test:
        pixels = read_grey(radiographs.paths[name])
        pairs = zip(exact.classify(pixels).probabilities, rounded.classify(pixels).probabilities, strict=True)
        found += [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return max(found)


def test_export_packs_a_bundle_into_one_file_that_loads_and_is_always_the_same(
    place: Path, tmp_path: Path, run: Any
) -> None:
    shutil.copytree(place / "bundle", tmp_path / "run" / "bundle" / "random-densenet")
    ran = run("export", tmp_path / "run", "--to", tmp_path / "packed.zip", "--json")
    assert ran.status == 0, ran.error
    loaded: Bundle = load_bundle(tmp_path / "packed.zip")
    assert ran.values["model_version"] == loaded.model_version == load_bundle(place / "bundle").model_version
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        assert "seen_images.bin" in archive.namelist()
    run("export", place / "bundle", "--to", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "packed.zip").read_bytes()
    for arguments, message in (
        ((tmp_path, "--to", tmp_path / "x.zip"), "holds no bundle"),
        ((place / "bundle", "--to", tmp_path / "x.tar"), "give the file such a name"),
        ((place / "bundle", "--to", tmp_path / "packed.zip" / "x.zip"), "cannot be written"),
    ):
        refused = run("export", *arguments)
        assert refused.status == 1
        assert message in re.sub(r"\s+", " ", refused.error)


def test_results_that_cannot_be_written_are_one_sentence(place: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    write_predictions(_constant(place), tmp_path / "p.csv")
    ran = run("evaluate", tmp_path / "p.csv", *_options(place, tmp_path / "file" / "out"))
    assert ran.status == 1
    assert "results cannot be written" in re.sub(r"\s+", " ", ran.error)


def test_predictions_of_pictures_without_labels_are_refused(place: Path, tmp_path: Path, run: Any) -> None:
    known = _constant(place)
    strange = Predictions("m", ("strange.png", *known.names[1:]), known.patients, known.probabilities, known.logits)
    write_predictions(strange, tmp_path / "p.csv")
    ran = run("evaluate", tmp_path / "p.csv", *_options(place, tmp_path))
    assert ran.status == 1
    assert "1 pictures have no row in the labels" in re.sub(r"\s+", " ", ran.error)


def _constant(place: Path) -> Predictions:
    names = read_layout(place / "data").test
    half = np.full((len(names), 14), 0.5)
    return Predictions("m", names, np.array([""] * len(names)), half, half * np.nan)
