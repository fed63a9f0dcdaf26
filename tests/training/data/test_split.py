from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from layouts import picture_name, write_layout

from training.data.chestxray14 import LayoutError, read_layout
from training.data.radiographs import LabelledRadiographs
from training.data.split import COMMUNITY_LISTS, choose_parts, cut_parts
from training.recipe import Data


def _two_pictures_each(root: Path) -> None:
    write_layout(root, patients=20)
    table = root / "Data_Entry_2017.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, *(line.replace("_000.png", "_001.png") for line in lines[1:18])]) + "\n")
    with (root / "train_val_list.txt").open("a") as stream:
        stream.writelines(f"{picture_name(number, 1)}\n" for number in range(1, 18))


def test_validation_holds_whole_patients_and_nothing_is_lost(tmp_path: Path) -> None:
    _two_pictures_each(tmp_path)
    layout = read_layout(tmp_path)
    parts = cut_parts(layout, 0.2, 1, frozenset())
    patients = [{layout.entries[name].patient_id for name in part} for part in (parts.training, parts.validation)]
    assert not patients[0] & patients[1]
    assert len(patients[1]) == 3
    assert sorted(parts.training + parts.validation) == sorted(layout.train_val)
    assert parts.test == layout.test


def test_the_cut_depends_on_the_seed_alone(tmp_path: Path) -> None:
    _two_pictures_each(tmp_path)
    layout = read_layout(tmp_path)
    assert cut_parts(layout, 0.2, 1, frozenset()) == cut_parts(layout, 0.2, 1, frozenset())
    assert cut_parts(layout, 0.2, 1, frozenset()) != cut_parts(layout, 0.2, 2, frozenset())


def test_pictures_that_cannot_be_used_are_left_out_and_an_empty_part_is_refused(tmp_path: Path) -> None:
    _two_pictures_each(tmp_path)
    layout = read_layout(tmp_path)
    lost = frozenset({picture_name(1), picture_name(19)})
    parts = cut_parts(layout, 0.2, 1, lost)
    assert not lost & {*parts.training, *parts.validation, *parts.test}
    with pytest.raises(LayoutError, match="no pictures are left for test"):
        cut_parts(layout, 0.2, 1, frozenset(layout.test))


def _layout(tmp_path: Path) -> LabelledRadiographs:
    _two_pictures_each(tmp_path)
    return read_layout(tmp_path)


def _patients(layout: LabelledRadiographs, names: tuple[str, ...]) -> set[str]:
    return {layout.entries[name].patient_id for name in names}


def test_whole_patients_at_random_share_out_all_pictures(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    parts = choose_parts(layout, Data(split="patient-random", shares=(0.6, 0.2, 0.2)), 0.1, 1)
    assert sorted(parts.training + parts.validation + parts.test) == sorted(layout.listed)
    patients = [_patients(layout, part) for part in (parts.training, parts.validation, parts.test)]
    assert [len(some) for some in patients] == [12, 4, 4]
    assert not parts.leaky
    assert "no patient in two parts" in parts.mark
    assert parts == choose_parts(layout, Data(split="patient-random", shares=(0.6, 0.2, 0.2)), 0.9, 1)
    assert parts != choose_parts(layout, Data(split="patient-random", shares=(0.6, 0.2, 0.2)), 0.1, 2)


def test_single_pictures_at_random_are_marked_with_the_share_that_leaks(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    parts = choose_parts(layout, Data(split="image-random", shares=(0.6, 0.2, 0.2)), 0.1, 1)
    assert (len(parts.training), len(parts.validation), len(parts.test)) == (22, 7, 8)
    seen = _patients(layout, parts.training) | _patients(layout, parts.validation)
    leaked = sum(layout.entries[name].patient_id in seen for name in parts.test) / len(parts.test)
    assert parts.leaky
    assert parts.leaked_share >= leaked > 0
    assert parts.mark.startswith("LEAKY")
    assert f"{parts.leaked_share:.1%}" in parts.mark


def _write_lists(tmp_path: Path, *lists: list[str]) -> None:
    (tmp_path / "labels").mkdir()
    for file, names in zip(COMMUNITY_LISTS, lists, strict=True):
        (tmp_path / "labels" / file).write_text("".join(f"{name} 0 0 1\n" for name in names))


def test_the_communitys_lists_are_followed_and_their_labels_are_not_read(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    cut = [range(1, 11), range(11, 16), range(16, 21)]
    lists = [[picture_name(n, f) for n in part for f in (0, 1) if n < 18 or f == 0] for part in cut]
    lists[2].append("00099999_000.png")
    _write_lists(tmp_path, *lists)
    parts = choose_parts(layout, Data(split="community"), 0.1, 1)
    assert parts.training == tuple(lists[0])
    assert parts.validation == tuple(lists[1])
    assert parts.test == tuple(lists[2][:-1])  # the last one is not in the folder


def test_lists_that_are_missing_or_share_a_patient_are_refused(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    with pytest.raises(LayoutError, match=r"train_list\.txt is missing"):
        choose_parts(layout, Data(split="community"), 0.1, 1)
    _write_lists(tmp_path, [picture_name(1)], [picture_name(2)], [picture_name(1, 1)])
    with pytest.raises(LayoutError, match="cut the lists by patient"):
        choose_parts(layout, Data(split="community"), 0.1, 1)


def test_a_subset_is_drawn_and_ages_outside_the_range_are_left_out(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    data = Data(split="patient-random", subset=30)
    parts = choose_parts(layout, data, 0.1, 1)
    assert len(parts.training + parts.validation + parts.test) == 30
    with_findings = Data(split="image-random", subset=18, sampling="findings", sampling_base=1e-6)
    drawn = choose_parts(layout, with_findings, 0.1, 1)
    chosen = drawn.training + drawn.validation + drawn.test
    assert all(layout.entries[name].labels for name in chosen)  # half of the 37 have findings
    with pytest.raises(LayoutError, match="no pictures are left"):
        choose_parts(layout, Data(oldest_years=57), 0.1, 1)  # all are 58
    assert choose_parts(layout, Data(youngest_years=58, oldest_years=58), 0.1, 1).test == layout.test


def test_a_validation_part_of_drawn_films_alone_is_refused(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    whole = choose_parts(layout, Data(), 0.2, 1)
    with pytest.raises(LayoutError, match="no pictures are left for validation"):
        choose_parts(replace(layout, drawn=frozenset(whole.validation)), Data(), 0.2, 1)


def test_the_official_split_is_the_one_it_always_was(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    assert choose_parts(layout, Data(), 0.2, 1) == cut_parts(layout, 0.2, 1, frozenset())
