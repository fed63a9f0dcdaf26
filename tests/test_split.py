from __future__ import annotations

from pathlib import Path

import pytest
from layouts import picture_name, write_layout

from training.data.chestxray14 import LayoutError, read_layout
from training.data.split import cut_parts


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
