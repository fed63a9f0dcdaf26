"""Which pictures a network has seen: exact, small, and never confused with others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import model_factories
import numpy as np
import pytest
from samples import shared

from model.bundle import BundleError, load_bundle, write_bundle
from model.bundle_file import content_sha256
from model.densenet import weights_of
from model.seen_images import SEEN_FILE, SeenImages, SeenImagesError, digests

TRAINING = ("00000001_000.png", "00000001_001.png", "00000002_000.png")
VALIDATION = ("00000003_000.png",)


@pytest.fixture
def seen() -> SeenImages:
    return SeenImages.of("film", TRAINING, VALIDATION, ["1", "2", "3"])


def test_a_digest_is_the_first_five_bytes_of_the_sha256() -> None:
    expected = hashlib.sha256(b"film picture: 00000001_000").digest()[:5]
    assert digests("film picture", ["00000001_000"]).tolist() == [int.from_bytes(expected)]


def test_pictures_and_patients_are_recognised_after_writing_and_reading(seen: SeenImages) -> None:
    read = SeenImages.from_bytes(seen.to_bytes())
    names = [*TRAINING, *VALIDATION, "00000004_000.png"]
    assert read.trained_on("film", names).tolist() == [True, True, True, False, False]
    assert read.selected_on("film", names).tolist() == [False, False, False, True, False]
    assert read.knows_patients("film", ["1", "4", "3"]).tolist() == [True, False, True]


def test_a_film_is_the_same_whatever_its_file_format_and_a_uid_keeps_its_last_part(seen: SeenImages) -> None:
    assert seen.trained_on("film", ["00000001_000.JPG", "00000001_000"]).tolist() == [True, True]
    uids = SeenImages.of("film", ["1.2.840.1"], [], [])
    assert uids.trained_on("film", ["1.2.840.1", "1.2.840.2"]).tolist() == [True, False]


def test_a_drawing_is_never_taken_for_the_film_of_the_same_number(seen: SeenImages) -> None:
    assert not seen.trained_on("drawing", TRAINING).any()
    assert not seen.knows_patients("drawing", ["1", "2", "3"]).any()


def test_nothing_seen_is_a_list_too() -> None:
    read = SeenImages.from_bytes(SeenImages.of("film", [], [], []).to_bytes())
    assert not read.trained_on("film", TRAINING).any()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-3], "does not hold the entries it names|is damaged"),
        (lambda content: content.replace(b'"training": 3', b'"training": 4'), "does not hold the entries it names"),
        (lambda content: content.replace(b'"training": 3', b'"training": 2'), "does not hold the entries it names"),
        (lambda content: content.replace(b'"training": 3', b'"training": 9999999999'), "which no data set has"),
        (lambda content: content.replace(b'"format": 1', b'"format": 2'), "another format"),
        (lambda content: b"[]\n" + content, "does not begin with its counts"),
        (lambda content: b"", "does not begin with its counts"),
    ],
)
def test_a_damaged_file_is_refused(seen: SeenImages, damage: object, message: str) -> None:
    with pytest.raises(SeenImagesError, match=message):
        SeenImages.from_bytes(damage(seen.to_bytes()))  # type: ignore[operator]


def test_a_bundle_carries_the_list_and_one_without_it_still_loads(tmp_path: Path, seen: SeenImages) -> None:
    described = model_factories.facts()
    bundle = write_bundle(tmp_path / "with", described, weights_of(model_factories.network()), "card", seen=seen)
    carried = bundle.seen_images()
    assert carried is not None
    assert np.array_equal(carried.training, seen.training)
    assert model_factories.bundle(tmp_path / "without").seen_images() is None


def test_a_list_that_is_no_list_is_refused_by_name(tmp_path: Path, seen: SeenImages) -> None:
    described = model_factories.facts()
    bundle = write_bundle(tmp_path / "b", described, weights_of(model_factories.network()), "card", seen=seen)
    (bundle.folder / SEEN_FILE).write_bytes(b"nothing")
    with pytest.raises(BundleError, match=f"{SEEN_FILE} is altered"):
        load_bundle(bundle.folder)
    file = bundle.folder / "bundle.json"
    content = json.loads(file.read_text())
    del content["content_sha256"]
    content["files"][SEEN_FILE] = hashlib.sha256(b"nothing").hexdigest()
    file.write_text(json.dumps(content | {"content_sha256": content_sha256(content)}))
    with pytest.raises(BundleError, match=f"{SEEN_FILE} does not begin with its counts"):
        load_bundle(bundle.folder).seen_images()


def test_the_whole_official_list_takes_little_and_the_shipped_bundle_has_at_most_fifteen_megabytes() -> None:
    folder = shared("data/nih_metadata")
    train_val = (folder / "train_val_list.txt").read_text().split()
    test = (folder / "test_list.txt").read_text().split()
    seen = SeenImages.of("film", train_val[8000:], train_val[:8000], {name[:8] for name in train_val})
    assert not seen.trained_on("film", test).any()
    assert not seen.knows_patients("film", {name[:8] for name in test}).any()
    shipped = Path(__file__).resolve().parents[2] / "model" / "bundles" / "phantom-densenet121"
    assert len(seen.to_bytes()) < 400_000
    assert sum(path.stat().st_size for path in shipped.rglob("*") if path.is_file()) <= 15_000_000
