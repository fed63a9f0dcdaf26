"""No figure from pictures or patients that the network has seen, unless it is asked for and marked."""

from __future__ import annotations

from pathlib import Path

import model_factories
import pytest
from layouts import picture_name, write_layout

from model.bundle import Bundle, TrainedOn, write_bundle
from model.densenet import weights_of
from training.data.chestxray14 import read_layout
from training.data.radiographs import LabelledRadiographs, list_hash
from training.evaluation.leakage import (
    LeakError,
    SeenPolicy,
    check_leakage,
    guard,
    require_separate_patients,
    seen_images,
)


@pytest.fixture
def radiographs(tmp_path: Path) -> LabelledRadiographs:
    write_layout(tmp_path / "data")
    return read_layout(tmp_path / "data")


@pytest.fixture
def bundle(tmp_path: Path, radiographs: LabelledRadiographs) -> Bundle:
    """Trained on the first five pictures, selected on the two after them."""
    seen = seen_images(radiographs, radiographs.train_val[:5], radiographs.train_val[5:7])
    weights = weights_of(model_factories.network())
    return write_bundle(tmp_path / "bundle", model_factories.facts(), weights, "card", seen=seen)


def test_pictures_never_seen_pass_without_a_mark(bundle: Bundle, radiographs: LabelledRadiographs) -> None:
    check, kept = guard(check_leakage(bundle, radiographs, radiographs.test), radiographs.test, SeenPolicy.REFUSE)
    assert kept == radiographs.test
    assert not check.marked
    assert check.sentence == "The network has seen none of these pictures and none of these patients before."


def test_seen_pictures_are_counted_apart_and_refused(bundle: Bundle, radiographs: LabelledRadiographs) -> None:
    check = check_leakage(bundle, radiographs, radiographs.listed)
    assert (check.training, check.validation) == (radiographs.train_val[:5], radiographs.train_val[5:7])
    message = rf"5 of 10 pictures were trained on, 2 selected on.*{radiographs.train_val[0]}.*--seen leave-out"
    with pytest.raises(LeakError, match=message):
        guard(check, radiographs.listed, SeenPolicy.REFUSE)


def test_seen_pictures_are_left_out_or_marked_when_asked(bundle: Bundle, radiographs: LabelledRadiographs) -> None:
    check = check_leakage(bundle, radiographs, radiographs.listed)
    left, kept = guard(check, radiographs.listed, SeenPolicy.LEAVE_OUT)
    assert kept == radiographs.test
    assert not left.marked
    assert left.sentence.startswith("Left out: 5 pictures it was trained on, 2 it was selected on")
    marked, everything = guard(check, radiographs.listed, SeenPolicy.MARK)
    assert everything == radiographs.listed
    assert marked.marked
    assert marked.sentence.startswith("LEAKY: the part holds 5 pictures")


def test_another_picture_of_a_seen_patient_is_seen_too(tmp_path: Path, bundle: Bundle) -> None:
    names = write_layout(tmp_path / "again")
    table = tmp_path / "again" / "Data_Entry_2017.csv"
    later = picture_name(1, 5)
    table.write_text(table.read_text() + f"{later},Mass,5,1,59,M,PA,64,64,0.4,0.4\n")
    (tmp_path / "again" / "train_val_list.txt").write_text("\n".join([*names[:-3], later]) + "\n")
    radiographs = read_layout(tmp_path / "again")
    check = check_leakage(bundle, radiographs, (later, *radiographs.test))
    assert (check.training, check.validation, check.patients) == ((), (), (later,))


def test_leaving_out_everything_is_refused(bundle: Bundle, radiographs: LabelledRadiographs) -> None:
    names = radiographs.train_val[:5]
    with pytest.raises(LeakError, match="none is left to evaluate on"):
        guard(check_leakage(bundle, radiographs, names), names, SeenPolicy.LEAVE_OUT)


def test_a_bundle_that_does_not_say_is_marked_and_never_called_clean(
    tmp_path: Path, radiographs: LabelledRadiographs
) -> None:
    bundle = model_factories.bundle(tmp_path / "silent")
    check, kept = guard(check_leakage(bundle, radiographs, radiographs.test), radiographs.test, SeenPolicy.REFUSE)
    assert kept == radiographs.test
    assert check.marked
    assert check.sentence.startswith("UNKNOWN TRAINING PICTURES")


def test_a_bundle_with_the_hash_of_the_list_alone_is_checked_against_the_list_at_hand(
    tmp_path: Path, radiographs: LabelledRadiographs
) -> None:
    trained_on = TrainedOn(description="the list", list_sha256=list_hash(radiographs.train_val))
    bundle = model_factories.bundle(tmp_path / "old", trained_on=trained_on)
    assert check_leakage(bundle, radiographs, radiographs.listed).training == radiographs.train_val
    assert not check_leakage(bundle, radiographs, radiographs.test).seen


def test_a_patient_in_two_parts_is_an_error_that_names_both(radiographs: LabelledRadiographs) -> None:
    require_separate_patients(radiographs, {"training": radiographs.train_val, "test": radiographs.test})
    first = radiographs.train_val[0]
    with pytest.raises(LeakError, match=r"1 patients are in two parts, e\.g\. 1 in training and in test"):
        require_separate_patients(radiographs, {"training": radiographs.train_val, "test": (*radiographs.test, first)})
