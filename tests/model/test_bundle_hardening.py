"""Bundles and archives from elsewhere: whatever is wrong with them ends in one sentence, and nothing else is lost."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import model_factories
import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from model import bundle_archive, bundle_verification
from model.bundle import Bundle, BundleError, Calibration, OperatingPoint, load_bundle, read_weights, write_bundle
from model.classifier import Classifier, NotFiniteError
from model.cli import app
from model.densenet import weights_of
from model.golden import verify_golden

runner = CliRunner()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_factories.bundle(tmp_path_factory.mktemp("written") / "bundle")


@pytest.fixture
def bundle(written: Bundle, tmp_path: Path) -> Bundle:
    """A copy that a test may damage."""
    return load_bundle(Path(shutil.copytree(written.folder, tmp_path / "bundle")))


def zipped(bundle: Bundle, archive: Path, compression: int = zipfile.ZIP_DEFLATED, top: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", compression) as target:
        for path in sorted(bundle.folder.rglob("*")):
            target.write(path, top + path.relative_to(bundle.folder).as_posix())
    return archive


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="documents is there already and is not a model bundle"):
        model_factories.bundle(documents)
    assert (documents / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["documents"]


def test_a_file_in_the_place_of_the_new_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pth").write_bytes(b"the only copy")
    with pytest.raises(BundleError, match=r"checkpoint\.pth is there already and is not a model bundle"):
        model_factories.bundle(tmp_path / "checkpoint.pth")
    assert (tmp_path / "checkpoint.pth").read_bytes() == b"the only copy"


def test_an_empty_folder_may_become_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    assert model_factories.bundle(tmp_path / "made").name == "random-densenet"


@pytest.mark.parametrize("text", ['{"format_version": 1, "metrics": {"auroc": NaN}}', '{"metrics": Infinity}'])
def test_numbers_that_json_does_not_have_are_refused(bundle: Bundle, text: str) -> None:
    (bundle.folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json is not JSON"):
        load_bundle(bundle.folder)


def test_a_description_nested_without_end_is_refused(bundle: Bundle) -> None:
    (bundle.folder / "bundle.json").write_text('{"metrics":' + "[" * 200_000)
    with pytest.raises(BundleError, match=r"bundle\.json is not JSON"):
        load_bundle(bundle.folder)


def test_files_larger_than_any_bundle_needs_are_refused_before_they_are_read(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_verification, "MAXIMUM_FILE_BYTES", 1000)
    with pytest.raises(BundleError, match=r"weights\.safetensors has \d+ bytes, more than the 1000"):
        load_bundle(bundle.folder)
    monkeypatch.setattr(bundle_verification, "MAXIMUM_DESCRIPTION_BYTES", 100)
    with pytest.raises(BundleError, match=r"bundle\.json has \d+ bytes, more than the 100"):
        load_bundle(bundle.folder)


def test_a_path_the_system_cannot_open_is_named_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        load_bundle(tmp_path / ("x" * 300))


def test_an_archive_whose_bytes_were_damaged_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    archive = zipped(bundle, tmp_path / "bundle.zip")
    with zipfile.ZipFile(archive) as source:
        entry = source.getinfo("weights.safetensors")
    content = bytearray(archive.read_bytes())
    start = entry.header_offset + 30 + len(entry.filename)
    content[start : start + 200] = bytes(200)
    archive.write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.zip: not a readable zip file"):
        load_bundle(archive)


def test_an_archive_with_a_password_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    archive = zipped(bundle, tmp_path / "bundle.zip")
    content = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # general purpose bit 0: encrypted
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 4)
    archive.write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.zip: not a readable zip file .*(encrypted|password)"):
        load_bundle(archive)


def test_an_archive_of_an_unknown_compression_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    archive = zipped(bundle, tmp_path / "bundle.zip")
    content = bytearray(archive.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.find(signature)
        while place >= 0:
            content[place + method : place + method + 2] = (99).to_bytes(2, "little")
            place = content.find(signature, place + 4)
    archive.write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.zip: not a readable zip file"):
        load_bundle(archive)


def test_only_the_description_itself_marks_the_common_folder(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / "a_bundle.json").write_text("notes beside the bundle")
    assert load_bundle(zipped(bundle, tmp_path / "bundle.zip", top="phantom/")).name == bundle.name


def test_what_a_desktop_adds_to_an_archive_is_left_out(bundle: Bundle, tmp_path: Path) -> None:
    archive = zipped(bundle, tmp_path / "bundle.zip", top="phantom/")
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr("__MACOSX/phantom/._bundle.json", "x")
        target.writestr("phantom/.DS_Store", "x")
    folder = load_bundle(archive).folder
    assert {path.name for path in folder.iterdir()} == {path.name for path in bundle.folder.iterdir()}


def test_two_processes_may_unpack_the_same_archive(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(bundle, tmp_path / "bundle.zip")
    extract = bundle_archive._extract

    def while_another_process_finishes(source: zipfile.ZipFile, folder: Path) -> None:
        extract(source, folder)
        monkeypatch.setattr(bundle_archive, "_extract", extract)
        assert load_bundle(archive).name == bundle.name

    monkeypatch.setattr(bundle_archive, "_extract", while_another_process_finishes)
    assert load_bundle(archive).name == bundle.name


def test_a_golden_image_that_is_no_picture_is_refused_by_name(bundle: Bundle) -> None:
    (bundle.folder / "golden/noise.png").write_bytes(b"no picture")
    with pytest.raises(BundleError, match=r"noise\.png is not a picture"):
        verify_golden(Classifier.load(bundle))


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_network_that_computes_no_number_never_passes_for_nothing_found(tmp_path: Path, runtime: str) -> None:
    weights = weights_of(model_factories.network())
    for name, tensor in weights.items():
        if name.endswith("norm1.weight") or name.endswith("norm2.weight"):
            tensor[:] = 60_000  # a few such layers leave the range of float32
    bundle = write_bundle(tmp_path / "bundle", model_factories.facts(), weights, "# Card\n")
    with pytest.raises(NotFiniteError, match=r"random-densenet .* no finite number for Effusion"):
        Classifier.load(bundle, runtime).classify(model_factories.picture())  # type: ignore[arg-type]


@pytest.mark.parametrize(("tensor", "value"), [("features.norm5.running_var", -1), ("classifier.bias", float("nan"))])
def test_tensors_of_no_trained_network_are_neither_written_nor_computed_with(
    bundle: Bundle, tmp_path: Path, tensor: str, value: float
) -> None:
    weights = read_weights(bundle)
    weights[tensor][:] = value
    with pytest.raises(BundleError, match=f"tensor {tensor} is not finite in float16, or a negative variance"):
        write_bundle(tmp_path / "made", model_factories.facts(), weights, "# Card\n")
    save_file(weights, bundle.weights_path)
    with pytest.raises(BundleError, match=f"{tensor} holds infinities, no numbers or a negative variance"):
        read_weights(bundle)


def test_a_cache_that_cannot_be_written_costs_time_but_not_the_service(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    found = Classifier.load(bundle, "openvino", cache_dir=tmp_path / "cache").classify(model_factories.picture())
    expected = Classifier.load(bundle, "openvino").classify(model_factories.picture())
    assert np.array_equal(found.logits, expected.logits)
    assert "cannot be kept" in caplog.text


def test_show_prints_a_rule_in_brackets_as_it_stands(tmp_path: Path) -> None:
    points = {label: OperatingPoint(threshold=0.5, chosen_by="[/b]at 90 %") for label in model_factories.TRAINED}
    made = model_factories.bundle(tmp_path / "bundle", operating_points=points)
    shown = runner.invoke(app, ["show", str(made.folder)], env={"COLUMNS": "160"})
    assert shown.exit_code == 0
    assert "[/b]at 90 %" in shown.output


def test_two_calibrations_of_one_network_are_two_model_versions(bundle: Bundle, tmp_path: Path) -> None:
    other = model_factories.bundle(tmp_path / "other", calibration=Calibration.identity())
    assert other.weights_sha256 == bundle.weights_sha256
    fewer = model_factories.bundle(tmp_path / "fewer", trained=("Pneumothorax",))
    assert fewer.weights_sha256 == bundle.weights_sha256
    assert len({made.model_version for made in (bundle, other, fewer)}) == 3
    assert json.loads(runner.invoke(app, ["show", str(other.folder), "--json"]).stdout)["model_version"]
