"""From analysed studies to a folder that training reads: the worker's export, corrected by a person."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from benches import Bench
from bundles import FLAGGED, SAYS
from factories import chest_radiograph, drawn_chest
from others_files import give_to_another_user
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from dicom_io.data_sets.pseudonyms import Pseudonyms
from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.storing.instance_store import InstanceStore, StoreAway
from model.preprocess import to_uint8_224
from training.cli import app as training_app
from training.data.cache_build import build_cache
from training.data.folder import read_folder
from training.data.labelled_folder import TEST, part_of
from worker.care.export import ExportChoices, ExportRefused, export_images
from worker.cli import app
from worker.rows.database import database_now
from worker.rows.site_tables import Event
from worker.rows.states import StudyState
from worker.rows.study_tables import Review, Study

pytestmark = pytest.mark.either_database

KEY = bytes(range(32))


@pytest.fixture
def bench(bench_with: Callable[..., Bench]) -> Bench:
    return bench_with(accept_unknown_sources=True)


def _export(bench: Bench, folder: Path, **choices: object) -> list[dict[str, str]]:
    with bench.sessions() as session:
        export_images(session, InstanceStore(bench.settings.instances_dir), ExportChoices(folder, **choices))
    with (folder / "labels.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _confirm(folder: Path, labels: dict[str, str]) -> None:
    """Correct the table as a person would: labels by SOP Instance UID, signed."""
    with (folder / "labels.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for line in lines:
        if line["sop_instance_uid"] in labels:
            line |= {"labels": labels[line["sop_instance_uid"]], "confirmed_by": "Dr Reader"}
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def test_a_line_says_what_the_model_said_of_which_image(bench: Bench, tmp_path: Path) -> None:
    image = chest_radiograph(PatientSex="F", PatientAge="063Y", PatientID="4711")
    study = bench.triage(image)
    (line,) = _export(bench, tmp_path / "export")
    assert line["labels"] == "|".join(label for label in ("Effusion", "Pneumothorax") if label in FLAGGED)
    assert line["confirmed_by"] == ""
    said = dict(part.split("=") for part in line["model_probabilities"].split("|"))
    assert said == {label: f"{probability:.3f}" for label, probability in SAYS.items()}
    assert (line["patient_id"], line["sex"], line["age_years"], line["view"]) == ("4711", "F", "63", "PA")
    assert line["study_instance_uid"] == study.study_instance_uid
    assert pydicom.dcmread(line["file"]).SOPInstanceUID == image.SOPInstanceUID


def test_only_analysed_images_of_triaged_studies_are_exported(bench: Bench, tmp_path: Path) -> None:
    frontal = chest_radiograph()
    lateral = chest_radiograph(
        StudyInstanceUID=frontal.StudyInstanceUID, ViewPosition="LL", PatientOrientation=["A", "F"]
    )
    bench.triage(frontal, lateral)
    held = bench.triage(chest_radiograph(PatientID="B"))
    with bench.sessions.begin() as session:
        session.merge(held).state = StudyState.HELD
    lines = _export(bench, tmp_path / "export")
    assert [line["sop_instance_uid"] for line in lines] == [frontal.SOPInstanceUID]


def test_training_reads_the_confirmed_lines_through_the_workers_own_pixels(bench: Bench, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    names = _patients_of_both_parts(10)
    images = [
        chest_radiograph(
            np.clip(drawn_chest() + rng.integers(0, 600, (96, 80)), 0, 4095).astype(np.uint16), PatientID=p
        )
        for p in names
    ]
    for image in images:
        bench.triage(image)
    folder = tmp_path / "export"
    _export(bench, folder)
    decided = {str(image.SOPInstanceUID): "Mass" if n % 2 else "No Finding" for n, image in enumerate(images[:-1])}
    _confirm(folder, decided)
    radiographs = read_folder(folder)
    assert set(radiographs.listed) == set(decided)  # the last one was confirmed by nobody
    assert {name: "|".join(entry.labels) or "No Finding" for name, entry in radiographs.entries.items()} == decided
    tested = {radiographs.entries[name].patient_id for name in radiographs.test}
    assert tested == {patient for patient in names[:-1] if part_of(patient) == TEST}
    cache = build_cache(radiographs, tmp_path / "cache", lambda done, total: None)
    for image in images[:-1]:
        served = to_uint8_224(read_radiograph(image).pixels)
        assert np.array_equal(cache.gather((str(image.SOPInstanceUID),))[0], served)


def _patients_of_both_parts(count: int) -> list[str]:
    names = [f"P{number}" for number in range(count)]
    assert {part_of(name) for name in names[:-1]} == {"train_val", TEST}
    return names


def test_pseudonymised_copies_train_alike_and_say_nothing_about_the_person(bench: Bench, tmp_path: Path) -> None:
    image = chest_radiograph(PatientName="Gruen^Anne", PatientID="HOSPITAL-4711", PatientAge="097Y")
    bench.triage(image)
    bench.triage(chest_radiograph(PatientID="B", BurnedInAnnotation="YES"))
    folder = tmp_path / "export"
    (line,) = _export(bench, folder, pseudonyms=Pseudonyms(KEY))
    assert json.loads((folder / "export.json").read_text())["burned_in"] == 1
    assert line["patient_id"] == Pseudonyms(KEY).patient("HOSPITAL-4711", "")
    assert line["age_years"] == "90"
    written = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    for secret in (b"HOSPITAL", b"Gruen", str(image.SOPInstanceUID).encode(), str(image.StudyInstanceUID).encode()):
        assert secret not in written
    copy = folder / line["file"]
    assert np.array_equal(read_radiograph(copy).pixels, read_radiograph(image).pixels)


def _review(bench: Bench, uid: str, read: bool = True, **words: str) -> None:
    """Say these words (finding=verdict) about the study's current run, in the order given."""
    with bench.sessions.begin() as session:
        study = session.get_one(Study, uid)
        now = database_now(session)
        for finding, verdict in words.items():
            values = {"run_id": study.current_run_id, "finding": finding, "verdict": verdict, "reviewer": "Dr Reader"}
            session.add(Review(study_instance_uid=uid, created_at=now, **values))
            session.flush()
        study.read_at = now if read else None


def test_reviews_become_labels_that_training_reads(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)

    def film() -> tuple[str, str]:
        drawn = np.clip(drawn_chest() + rng.integers(0, 600, (96, 80)), 0, 4095).astype(np.uint16)
        image = chest_radiograph(drawn, PatientID=f"P{len(films)}")
        bench.triage(image)
        return str(image.SOPInstanceUID), str(image.StudyInstanceUID)

    films: list[tuple[str, str]] = []
    while len(films) < 10:  # by their identifiers, patients of both parts are among ten
        films.append(film())
    both = {"Effusion": "agree", "Pneumothorax": "agree"}
    _review(bench, films[0][1], **both)
    _review(bench, films[1][1], Effusion="disagree", Pneumothorax="disagree")
    _review(bench, films[2][1], **both, Mass="missed", Hernia="missed", Cardiomegaly="agree")
    _review(bench, films[3][1], Effusion="agree")  # nobody said a word of the pneumothorax
    _review(bench, films[4][1], read=False, **both)
    _review(bench, films[5][1])  # read, and nothing judged
    for _sop, uid in films[6:]:
        _review(bench, uid, Effusion="agree", Pneumothorax="disagree")
    _review(bench, films[6][1], Pneumothorax="agree")  # the last word counts

    url = bench.sessions.kw["bind"].url.render_as_string(hide_password=False)
    monkeypatch.setenv("CXR_DATABASE_URL", url)
    monkeypatch.setenv("CXR_DATA_DIR", str(bench.settings.data_dir))
    folder = tmp_path / "reviewed"
    done = CliRunner().invoke(app, ["export", str(folder), "--reviewed", "--json"])
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout)["images"], json.loads(done.stdout)["undecided"]) == (7, 1)
    radiographs = read_folder(folder)
    labels = {name: "|".join(sorted(entry.labels)) for name, entry in radiographs.entries.items()}
    assert (
        labels
        == {
            films[0][0]: "Effusion|Pneumothorax",
            films[1][0]: "",
            films[2][0]: "Effusion|Hernia|Mass|Pneumothorax",  # agreed: no cardiomegaly
            films[6][0]: "Effusion|Pneumothorax",
            **{sop: "Effusion" for sop, _uid in films[7:]},
        }
    )
    prepared = CliRunner().invoke(training_app, ["prepare", "--data", str(folder), "--cache", str(tmp_path / "cache")])
    assert prepared.exit_code == 0, prepared.output


def test_a_pseudonymised_export_of_reviews_names_no_reviewer(bench: Bench, tmp_path: Path) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    _review(bench, uid, Effusion="agree", Pneumothorax="agree")
    (line,) = _export(bench, tmp_path / "export", pseudonyms=Pseudonyms(KEY), reviewed=True)
    assert (line["labels"], line["confirmed_by"]) == ("Effusion|Pneumothorax", "reviewed")


def test_an_existing_folder_and_an_empty_time_are_refused_and_leave_nothing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="no analysed image"):
        _export(bench, tmp_path / "export")
    assert not list(tmp_path.glob("export*"))
    bench.triage(chest_radiograph())
    _export(bench, tmp_path / "export")
    with pytest.raises(ExportRefused, match="exists already"):
        _export(bench, tmp_path / "export")


def test_what_is_left_out_takes_no_place_of_a_limit(bench: Bench, tmp_path: Path) -> None:
    wanted = bench.triage(chest_radiograph(PatientID="A")).study_instance_uid
    _review(bench, wanted, Effusion="agree", Pneumothorax="agree")
    undecided = bench.triage(chest_radiograph(PatientID="B")).study_instance_uid
    _review(bench, undecided, Effusion="agree")
    gone = bench.triage(chest_radiograph(PatientID="C"))
    _review(bench, gone.study_instance_uid, Effusion="agree", Pneumothorax="agree")
    (bench.settings.instances_dir / bench.instances(gone.study_instance_uid)[0].path).unlink()
    (line,) = _export(bench, tmp_path / "export", reviewed=True, limit=1)
    assert line["study_instance_uid"] == wanted
    assert len(_export(bench, tmp_path / "newest", limit=1)) == 1


def test_an_export_of_nothing_but_what_is_left_out_says_so(bench: Bench, tmp_path: Path) -> None:
    study = bench.triage(chest_radiograph())
    (bench.settings.instances_dir / bench.instances(study.study_instance_uid)[0].path).unlink()
    with pytest.raises(ExportRefused, match="every image is left out: 1 gone or damaged"):
        _export(bench, tmp_path / "export")


@pytest.fixture
def configured(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench with a study, which commands find through the environment."""
    bench.triage(chest_radiograph())
    monkeypatch.setenv("CXR_DATABASE_URL", bench.sessions.kw["bind"].url.render_as_string(hide_password=False))
    monkeypatch.setenv("CXR_DATA_DIR", str(bench.settings.data_dir))
    return bench


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (("--until", "2026-02-01", "--since", "2026-02-02"), "ends before --since, 2026-02-02"),
        (("--limit", "9" * 20), "--limit"),
        (("--limit", "-1"), "--limit"),
        (("--since", "2026-02-30"), "--since"),
    ],
)
def test_limits_that_nothing_can_meet_are_not_understood(limits: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path / "export"), *limits], env={"COLUMNS": "200"})
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not list(tmp_path.glob("export*"))


@pytest.mark.usefixtures("configured")
def test_the_last_day_there_is_ends_no_export(tmp_path: Path) -> None:
    last = ["--since", "0001-01-01", "--until", "9999-12-31"]
    done = CliRunner().invoke(app, ["export", str(tmp_path / "export"), *last])
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_is_exported_without_a_line_in_the_trail(configured: Bench, tmp_path: Path) -> None:
    with configured.sessions.begin() as session:
        refuse = "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'no room'); END"
        session.execute(text(refuse))
    done = CliRunner().invoke(app, ["export", str(tmp_path / "export")])
    assert isinstance(done.exception, IntegrityError)
    assert not list(tmp_path.glob("export*"))


def test_an_image_whose_file_is_gone_is_counted_and_left_out(bench: Bench, tmp_path: Path) -> None:
    bench.triage(chest_radiograph(PatientID="A"))
    study = bench.triage(chest_radiograph(PatientID="B"))
    (instance,) = bench.instances(study.study_instance_uid)
    (bench.settings.instances_dir / instance.path).unlink()
    (line,) = _export(bench, tmp_path / "export")
    assert line["patient_id"] == "A"
    assert json.loads((tmp_path / "export" / "export.json").read_text())["files_missing"] == 1


def test_images_of_another_user_are_not_counted_as_gone(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.triage(chest_radiograph())
    with monkeypatch.context() as patch:
        give_to_another_user(bench.settings.instances_dir, patch)
        with pytest.raises(StoreAway, match="Permission denied"):
            _export(bench, tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("pseudonyms", [None, Pseudonyms(KEY)], ids=["as received", "pseudonymised"])
@pytest.mark.parametrize("left", [0.0, 0.5], ids=["nothing but zeros", "half of it"])
def test_an_image_whose_file_is_damaged_is_counted_and_left_out(
    bench: Bench, tmp_path: Path, pseudonyms: Pseudonyms | None, left: float
) -> None:
    """No model learns from the black that a disk gives back, and one bad file ends no export."""
    bench.triage(chest_radiograph(StudyDescription="WHOLE"))
    study = bench.triage(chest_radiograph())
    (instance,) = bench.instances(study.study_instance_uid)
    path = bench.settings.instances_dir / instance.path
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))].ljust(len(whole), b"\0"))
    (line,) = _export(bench, tmp_path / "export", pseudonyms=pseudonyms)
    dataset = pydicom.dcmread(tmp_path / "export" / line["file"])
    assert dataset.pixel_array.any(axis=1).all()
    assert json.loads((tmp_path / "export" / "export.json").read_text())["files_missing"] == 1


def test_a_patient_id_that_looks_like_a_formula_is_made_inert(bench: Bench, tmp_path: Path) -> None:
    bench.triage(chest_radiograph(PatientID="=1+1"))
    (line,) = _export(bench, tmp_path / "export")
    assert line["patient_id"] == "'=1+1"


def test_the_command_exports_and_is_audited(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.triage(chest_radiograph())
    url = bench.sessions.kw["bind"].url.render_as_string(hide_password=False)
    monkeypatch.setenv("CXR_DATABASE_URL", url)
    monkeypatch.setenv("CXR_DATA_DIR", str(bench.settings.data_dir))
    result = CliRunner().invoke(app, ["export", str(tmp_path / "export"), "--pseudonymise", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 1
    key = bench.settings.data_dir / "pseudonyms.key"
    assert key.stat().st_mode & 0o777 == 0o600
    with bench.sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "exported"))
    assert (event.details["images"], event.details["pseudonymised"]) == (1, True)
    nothing = CliRunner().invoke(app, ["export", str(tmp_path / "other"), "--until", "2001-01-01"])
    assert isinstance(nothing.exception, ExportRefused)


@pytest.mark.parametrize("content", ["", "ab\n", "no key\n"])
def test_a_file_without_a_whole_key_is_refused_by_name(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """A full disk leaves an empty one."""
    bench.triage(chest_radiograph())
    url = bench.sessions.kw["bind"].url.render_as_string(hide_password=False)
    monkeypatch.setenv("CXR_DATABASE_URL", url)
    monkeypatch.setenv("CXR_DATA_DIR", str(bench.settings.data_dir))
    key = tmp_path / "pseudonyms.key"
    key.write_text(content)
    result = CliRunner().invoke(app, ["export", str(tmp_path / "export"), "--pseudonymise", "--key-file", str(key)])
    assert isinstance(result.exception, ExportRefused), result.output
    assert str(key) in str(result.exception)
    assert not (tmp_path / "export").exists()
