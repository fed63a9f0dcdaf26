"""`python -m worker explain`: what decided, of received studies and of files that nobody sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import Bench
from bundles import SIDE_PX, write_test_bundle
from factories import chest_radiograph, computed_radiograph, drawn_chest, write_dicom
from PIL import Image
from samples import public_sample
from suitability_checks import always
from typer.testing import CliRunner

from model.suitability import Verdict
from worker.care.explanation import explain
from worker.cli import app, main
from worker.rows.database import SessionFactory
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database


def told(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["explain", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout)["images"])


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a configuration whose bundle's check always says this; None: a bundle without a check."""

    def write(verdict: Verdict | None = Verdict.FRONTAL, more: str = "") -> Path:
        write_test_bundle(tmp_path / "bundle", check=None if verdict is None else always(verdict))
        path = tmp_path / "site.toml"
        lines = f"minimum_free_bytes = 0\naccept_unknown_sources = true\ndata_dir = {str(tmp_path / 'data')!r}\n"
        path.write_text(f"{lines}{more}\n[bundles]\ndefault = {str(tmp_path / 'bundle')!r}\n", encoding="utf-8")
        monkeypatch.setenv("CXR_CONFIG", str(path))
        return path

    return write


def a_file(tmp_path: Path, name: str = "image.dcm", **keywords: object) -> str:
    return str(write_dicom(chest_radiograph(**keywords), tmp_path / name))


def test_an_analysed_image_names_its_tags_and_what_the_picture_looks_like(
    configured: Callable[..., Path], tmp_path: Path
) -> None:
    configured()
    (image,) = told(a_file(tmp_path))
    assert (image["disposition"], image["reason_code"], image["decided_by"]) == ("analysed", None, "picture")
    assert (image["image_verdict"], image["chest"], image["frontal"]) == ("frontal", True, True)
    cues = {(cue["question"], cue["source"]): (cue["answer"], cue["value"]) for cue in image["cues"]}
    assert cues["chest", "BodyPartExamined"] == (True, "CHEST")
    assert cues["frontal", "ViewPosition"] == (True, "PA")
    assert (image["age_years"], image["study_age_days"], image["recorded"]) == (60, 0, None)


UNTAGGED = dict.fromkeys(["BodyPartExamined", "ViewPosition", "PatientOrientation", "StudyDescription"])
CASES: list[tuple[Verdict | None, dict[str, object], tuple[str, str | None, str]]] = [
    (Verdict.FRONTAL, {}, ("analysed", None, "picture")),
    (Verdict.INVERTED, {}, ("not_analysed", "needs_review", "picture")),
    (Verdict.OTHER, UNTAGGED, ("out_of_scope", "not_chest", "picture")),
    (Verdict.FRONTAL, UNTAGGED, ("analysed", None, "picture")),
    (None, UNTAGGED, ("not_analysed", "needs_review", "tags")),
    (None, {}, ("analysed", None, "tags")),
    (Verdict.FRONTAL, {"ViewPosition": "LL", "PatientOrientation": None}, ("not_analysed", "not_frontal", "tags")),
    (Verdict.FRONTAL, {"PatientAge": "005Y"}, ("not_analysed", "age", "tags")),
    (Verdict.FRONTAL, {"SeriesDescription": "bone"}, ("ignored", "processed_copy", "tags")),
    (Verdict.FRONTAL, {"HighBit": 10}, ("not_analysed", "unsupported_pixels", "pixels")),
    (Verdict.FRONTAL, {"pixels": np.full((96, 80), 9, np.uint16)}, ("not_analysed", "blank", "picture")),
    (Verdict.FRONTAL, {"pixels": drawn_chest(63, 80)}, ("not_analysed", "too_small", "picture")),
    (Verdict.FRONTAL, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, ("ignored", "sop_class", "tags")),
]


@pytest.mark.parametrize(("verdict", "keywords", "expected"), CASES)
def test_a_file_is_explained_as_it_ends_when_it_is_sent(
    verdict: Verdict | None,
    keywords: dict[str, object],
    expected: tuple[str, str | None, str],
    make_settings: Callable[..., Settings],
    sessions: SessionFactory,
    tmp_path: Path,
) -> None:
    write_test_bundle(tmp_path / "bundle", check=None if verdict is None else always(verdict))
    settings = make_settings(bundles={"default": tmp_path / "bundle"}, accept_unknown_sources=True)
    dataset = chest_radiograph(**keywords)
    explanation = explain(write_dicom(dataset, tmp_path / "image.dcm"), "MODALITY", settings).explanation
    assert (explanation.disposition, explanation.reason_code, explanation.decided_by) == expected
    bench = Bench(settings, sessions)
    bench.triage(dataset)
    (row,) = bench.instances(str(dataset.StudyInstanceUID))
    only_copy = row.reason_code == "processed_copy"  # told by the study, which holds nothing else
    assert (row.disposition, row.reason_code) == (("not_analysed" if only_copy else expected[0]), expected[1])
    assert row.image_verdict == explanation.image_verdict


def test_a_received_study_is_explained_beside_what_was_recorded(
    configured: Callable[..., Path], sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.rows.database import open_engine, session_factory
    from worker.settings.config import load_settings

    config = configured(None)
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    engine = open_engine(sqlite_url)
    bench = Bench(load_settings(), session_factory(engine))
    uid = bench.receive(chest_radiograph(**UNTAGGED | {"ProtocolName": "THX"}))
    engine.dispose()
    (image,) = told(uid)
    assert (image["recorded"], image["disposition"]) == ("not_analysed (needs_review)", "not_analysed")
    rule = '[[site_rules]]\nname = "thorax"\nmeans = "frontal_chest"\nkeyword = "ProtocolName"\nequals = "THX"\n'
    text = config.read_text(encoding="utf-8")
    config.write_text(text + rule, encoding="utf-8")
    (image,) = told(uid)
    assert (image["recorded"], image["disposition"]) == ("not_analysed (needs_review)", "analysed")
    assert image["site_rules"] == ["thorax"]
    assert image["calling_ae_title"] == "MODALITY"


def test_a_received_image_that_is_stored_damaged_is_said_to_be_so(
    configured: Callable[..., Path], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.rows.database import open_engine, session_factory
    from worker.settings.config import load_settings

    configured(None)
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    engine = open_engine(sqlite_url)
    bench = Bench(load_settings(), session_factory(engine))
    uid = bench.receive(chest_radiograph())
    (instance,) = bench.instances(uid)
    engine.dispose()
    file = bench.settings.instances_dir / instance.path
    file.write_bytes(file.read_bytes()[:-500] + bytes(500))
    done = CliRunner().invoke(app, ["explain", uid])
    assert done.exit_code != 0
    assert "is stored damaged" in str(done.exception)
    assert f"reconcile --study {uid}" in str(done.exception)


def test_rules_for_one_source_hold_for_files_said_to_come_from_it(
    configured: Callable[..., Path], tmp_path: Path
) -> None:
    rule = 'site_rules = [{ name = "no", means = "ignore", sources = ["CR1"], keyword = "Modality", equals = "DX" }]'
    configured(more=rule)
    file = a_file(tmp_path)
    assert told(file)[0]["disposition"] == "analysed"
    (image,) = told(file, "--source", "CR1")
    assert (image["disposition"], image["reason_code"]) == ("ignored", "site_rule")
    assert "site rule 'no'" in image["reason"]


def test_the_picture_stands_beside_what_dcmtk_renders(configured: Callable[..., Path], tmp_path: Path) -> None:
    if shutil.which("dcm2pnm") is None:
        pytest.skip("dcmtk is not installed")
    configured()
    public = public_sample("RG1_UNCR.dcm")
    (image,) = told(str(public), "--picture", str(tmp_path / "pictures"))
    picture = image["picture"]
    assert (picture["dcmtk"], picture["why"]) == ("dcm2pnm", "")
    assert picture["mean_difference"] <= 1 and picture["maximum_difference"] <= 1
    with Image.open(picture["file"]) as written:
        pixels = np.asarray(written)
    assert pixels.shape == (SIDE_PX, SIDE_PX + 8 + SIDE_PX)
    assert pixels[:, :SIDE_PX].std() > 20
    assert np.abs(pixels[:, :SIDE_PX].astype(int) - pixels[:, SIDE_PX + 8 :]).max() <= 1


def test_a_picture_that_tags_leave_out_is_written_too_and_two_of_one_uid_are_two_files(
    configured: Callable[..., Path], tmp_path: Path
) -> None:
    configured()
    child = computed_radiograph(PatientAge="009Y")
    for name in ("a.dcm", "b.dcm"):
        write_dicom(child, tmp_path / "in" / name)
    found = told(str(tmp_path / "in"), "--picture", str(tmp_path / "out"))
    assert [image["reason_code"] for image in found] == ["age", "age"]
    assert len({image["picture"]["file"] for image in found}) == 2
    assert all(Path(image["picture"]["file"]).is_file() for image in found)


@pytest.mark.parametrize(
    ("sample", "words"),
    [("RG1_UNCR.dcm", "dcm2pnm is not installed"), ("RG1_J2KR.dcm", "dcmtk has no decoder for transfer syntax")],
)
def test_where_dcmtk_shows_nothing_the_picture_stands_alone_and_says_why(
    configured: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: str, words: str
) -> None:
    configured()
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(app, ["explain", str(public_sample(sample)), "--picture", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert words in " ".join(done.stdout.split())
    (file,) = (tmp_path / "out").glob("*.png")
    with Image.open(file) as written:
        assert written.size == (SIDE_PX, SIDE_PX)


def test_no_file_ends_the_command_in_a_stack_trace(configured: Callable[..., Path], tmp_path: Path) -> None:
    configured()
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "text.txt").write_text("no DICOM")
    (folder / "empty").write_bytes(b"")
    whole = Path(a_file(folder, "cut.dcm")).read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-100])
    write_dicom(chest_radiograph(PixelData=None), folder / "n.dcm")
    found = {Path(image["file"]).name: image["reason_code"] for image in told(str(folder))}
    assert found == {"text.txt": "undecodable", "empty": "undecodable", "cut.dcm": "undecodable", "n.dcm": "no_pixels"}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("1.2.3", "no study 1.2.3 was received"),
        ("folder", "no file in folder"),
        ("./nowhere", "./nowhere: there is no such file or folder"),
        ("chest.DCM", "chest.DCM: there is no such file or folder"),
    ],
)
def test_what_does_not_exist_is_one_message(
    target: str,
    words: str,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    monkeypatch.setattr("sys.argv", ["worker", "explain", target])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert words in capsys.readouterr().err
