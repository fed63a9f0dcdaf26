from __future__ import annotations

import errno
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_factories
import numpy as np
import pytest
from file_limits import files_of_at_most
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from model import bundle_archive
from model.bundle import Bundle, BundleError, OperatingPoint, load_bundle, read_weights, write_bundle
from model.bundle_file import content_sha256
from model.classifier import Classifier
from model.densenet import weights_of
from model.golden import verify_golden
from model.labels import LABELS
from model.preprocess import PREPROCESSING_ID


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_factories.bundle(tmp_path_factory.mktemp("written") / "bundle")


@pytest.fixture
def bundle(written: Bundle, tmp_path: Path) -> Bundle:
    """A copy that a test may damage."""
    return load_bundle(Path(shutil.copytree(written.folder, tmp_path / "bundle")))


def test_a_bundle_that_cannot_be_put_in_place_leaves_the_one_before(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refusing(source: Path, target: Path) -> Path:
        if source.name == "new":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return rename(source, target)

    with monkeypatch.context() as refused, pytest.raises(BundleError, match="cannot be written"):
        refused.setattr(Path, "rename", refusing)
        write_bundle(bundle.folder, model_factories.facts(), read_weights(bundle), "another card")
    assert load_bundle(bundle.folder).files == bundle.files


def test_a_bundle_that_finds_no_room_is_named_and_the_one_before_stays_whole(bundle: Bundle) -> None:
    weights = weights_of(model_factories.network())
    with files_of_at_most(2000), pytest.raises(BundleError, match=r"bundle cannot be written .*make room"):
        write_bundle(bundle.folder, model_factories.facts(), weights, "another card")
    assert load_bundle(bundle.folder).card_path.read_text() == bundle.card_path.read_text()
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def rewrite(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    """Change bundle.json as a careful forger would: with the hash of its content made right again."""
    file = bundle.folder / "bundle.json"
    content = json.loads(file.read_text())
    del content["content_sha256"]
    change(content)
    file.write_text(json.dumps(content | {"content_sha256": content_sha256(content)}))


def test_a_bundle_comes_back_as_it_was_written(bundle: Bundle) -> None:
    weights = weights_of(model_factories.network())
    facts = model_factories.facts()
    assert all(getattr(bundle, name) == getattr(facts, name) for name in facts.__dataclass_fields__)
    assert all(np.array_equal(tensor, weights[name]) for name, tensor in read_weights(bundle).items())
    assert bundle.model_version.startswith(f"0.1.0+weights.{bundle.weights_sha256[:8]}.outputs.")
    assert bundle.card_path.read_text().startswith("# Card")
    assert [path.name for path, _ in bundle.golden] == ["noise.png"]
    assert [p is not None for p in bundle.golden[0][1]] == list(bundle.trained)


def test_writing_twice_gives_the_same_bytes_and_replaces_the_old_bundle(tmp_path: Path) -> None:
    first = model_factories.bundle(tmp_path / "bundle")
    (first.folder / "left over").write_text("x")
    before = {path.name: path.read_bytes() for path in first.folder.rglob("*.*")}
    second = model_factories.bundle(tmp_path / "bundle")
    assert {path.name: path.read_bytes() for path in second.folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("name", ["weights.safetensors", "MODEL_CARD.md", "golden/noise.png"])
def test_one_altered_byte_in_any_file_is_refused_by_name(bundle: Bundle, name: str) -> None:
    content = bytearray((bundle.folder / name).read_bytes())
    content[-1] ^= 1
    (bundle.folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}.*altered or damaged.*fetch the bundle again"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "MODEL_CARD.md", "golden/noise.png"])
def test_a_missing_file_is_refused_by_name(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing"):
        load_bundle(bundle.folder)


def test_a_threshold_edited_by_hand_is_refused_and_the_right_way_named(bundle: Bundle) -> None:
    file = bundle.folder / "bundle.json"
    file.write_text(file.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    with pytest.raises(BundleError, match=r"bundle\.json was changed.*`thresholds` in the configuration"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels", [*LABELS[::-1]], "labels must be, in this order: Atelectasis"),
        ("preprocessing", "crop256", f"preprocessing 'crop256'.*{PREPROCESSING_ID}"),
        ("input_size_px", 320, "at 320 px is not what this program does"),
        ("architecture", "resnet50", "architecture 'resnet50' is unknown; known: densenet121"),
        ("operating_points", {}, "operating_points must hold exactly the trained labels: Effusion, Pneumothorax"),
        ("trained", [True], "trained: Tuple should have at least 14 items"),
        ("surprise", 1, "surprise"),
        ("files", {}, "files lacks the hash of MODEL_CARD.md, golden/noise.png, weights.safetensors"),
    ],
)
def test_a_bundle_that_does_not_fit_this_program_is_refused(
    bundle: Bundle, field: str, value: object, message: str
) -> None:
    rewrite(bundle, lambda content: content.update({field: value}))
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "golden/../../x", "a\\b", "..", ".hidden", "a/b/c"])
def test_a_file_name_that_leaves_the_bundle_is_refused_before_it_is_read(bundle: Bundle, name: str) -> None:
    rewrite(bundle, lambda content: content["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="is refused: a bundle names its own files only"):
        load_bundle(bundle.folder)


def test_another_format_version_is_refused(bundle: Bundle) -> None:
    rewrite(bundle, lambda content: content.update({"format_version": 2}))
    with pytest.raises(BundleError, match="format_version is not 1"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("text", ["{", "[]", "", "\xff"])
def test_a_description_that_is_no_json_object_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.folder / "bundle.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(bundle.folder)


def test_weights_of_another_network_are_refused_though_their_hash_is_right(bundle: Bundle) -> None:
    weights = load_file(bundle.weights_path)
    save_file({name: tensor for name, tensor in weights.items() if name != "classifier.bias"}, bundle.weights_path)
    rewrite(bundle, lambda content: content["files"].update({"weights.safetensors": _sha256(bundle.weights_path)}))
    with pytest.raises(BundleError, match=r"does not hold a densenet-tiny.*1 tensors.*first classifier\.bias"):
        load_bundle(bundle.folder)


def test_a_pickle_in_place_of_the_weights_is_refused(bundle: Bundle) -> None:
    bundle.weights_path.write_bytes(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    rewrite(bundle, lambda content: content["files"].update({"weights.safetensors": _sha256(bundle.weights_path)}))
    with pytest.raises(BundleError, match="is not a safetensors file"):
        load_bundle(bundle.folder)


def test_a_missing_folder_and_a_folder_without_bundle_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist; name the folder"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"has no bundle\.json; name the folder that holds it"):
        load_bundle(tmp_path)


def test_weights_that_float16_cannot_hold_are_not_written(tmp_path: Path) -> None:
    weights = weights_of(model_factories.network())
    weights["classifier.bias"][3] = np.inf
    with pytest.raises(BundleError, match=r"classifier\.bias is not finite"):
        write_bundle(tmp_path / "bundle", model_factories.facts(), weights, "card")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, float("nan")])
def test_a_threshold_outside_zero_and_one_cannot_be_made(threshold: float) -> None:
    with pytest.raises(ValidationError):
        OperatingPoint(threshold=threshold, chosen_by="by hand")


@pytest.mark.parametrize("top", ["", "phantom/"])
def test_a_zip_is_unpacked_once_beside_itself_and_verified(bundle: Bundle, tmp_path: Path, top: str) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(bundle.folder.rglob("*")):
            target.write(path, top + path.relative_to(bundle.folder).as_posix())
    unpacked = load_bundle(archive)
    assert (unpacked.name, unpacked.files) == (bundle.name, bundle.files)
    assert load_bundle(archive).folder == unpacked.folder
    unpacked.weights_path.write_bytes(b"altered")
    with pytest.raises(BundleError, match="altered or damaged"):
        load_bundle(archive)


def test_a_zip_with_a_name_that_leaves_it_is_refused_and_nothing_written(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with zipfile.ZipFile(inbox / "evil.zip", "w") as target:
        target.writestr("bundle.json", "{}")
        target.writestr("../escaped.txt", "x")
    with pytest.raises(BundleError, match=r"'\.\./escaped\.txt' is refused"):
        load_bundle(inbox / "evil.zip")
    assert [path.name for path in tmp_path.rglob("*")] == ["inbox", "evil.zip"]


def test_a_zip_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_archive, "MAXIMUM_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("bundle.json", " " * 1001)
    with pytest.raises(BundleError, match="this is not a model bundle"):
        load_bundle(tmp_path / "bomb.zip")


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(b"PK\x03\x04 half of one")
    with pytest.raises(BundleError, match=r"bundle\.zip: not a readable zip file"):
        load_bundle(tmp_path / "bundle.zip")


def test_golden_images_pass_and_wrong_expectations_fail(bundle: Bundle) -> None:
    (passed,) = verify_golden(Classifier.load(bundle))
    assert passed.passed and passed.largest_difference < 1e-4
    rewrite(bundle, lambda content: content["golden_images"][0]["probabilities"].__setitem__(2, 0.001))
    (failed,) = verify_golden(Classifier.load(load_bundle(bundle.folder)))
    assert not failed.passed


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
