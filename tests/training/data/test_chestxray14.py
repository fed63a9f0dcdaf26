from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
from layouts import BOX_HEADER, HEADER_2017, HEADER_V2020, picture_name, write_layout
from published_lists import published_radiographs

from model.labels import LABELS
from training.cli import main
from training.data.chestxray14 import DRAWN_FILE, Box, LayoutError, list_hash, read_layout


@pytest.mark.parametrize("header", [HEADER_V2020, HEADER_2017])
def test_both_releases_of_the_data_entry_file_are_read(tmp_path: Path, header: str) -> None:
    names = write_layout(tmp_path, header=header)
    layout = read_layout(tmp_path)
    entry = layout.entries[names[0]]
    assert (entry.patient_id, entry.age_years, entry.sex, entry.view) == ("1", 58, "M", "PA")
    assert entry.labels == {"Effusion", "Mass"}
    assert layout.entries[names[1]].labels == frozenset()
    assert layout.train_val == tuple(names[:7])
    assert layout.test == tuple(names[7:])
    assert layout.targets((names[0],)).sum() == 2
    assert layout.targets((names[0],))[0, LABELS.index("Mass")] == 1


def test_box_columns_are_read_by_position_and_infiltrate_is_infiltration(tmp_path: Path) -> None:
    names = write_layout(tmp_path)
    (tmp_path / "BBox_List_2017.csv").write_text(f"{BOX_HEADER}\n{names[0]},Infiltrate,1.5,2,30,4,,,\n")
    assert read_layout(tmp_path).boxes == {names[0]: (Box("Infiltration", 1.5, 2, 30, 4),)}


def test_ages_of_the_first_release_in_months_and_days_become_whole_years(tmp_path: Path) -> None:
    names = write_layout(tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace(",1,58,", ",1,030M,").replace(",2,58,", ",2,005D,"))
    entries = read_layout(tmp_path).entries
    assert [entries[name].age_years for name in names[:3]] == [2, 0, 58]


def test_a_row_without_labels_is_refused_and_never_taken_for_a_normal_picture(tmp_path: Path) -> None:
    write_layout(tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace(",No Finding,", ",,"))
    with pytest.raises(LayoutError, match=r"Data_Entry_2017\.csv, line 3: no labels; write 'No Finding'.*4 more"):
        read_layout(tmp_path)


def test_a_row_without_a_patient_is_refused_for_parts_are_cut_by_patient(tmp_path: Path) -> None:
    write_layout(tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace(",0,1,58,", ",0,,58,"))
    with pytest.raises(LayoutError, match=r"Data_Entry_2017\.csv, line 2: no patient"):
        read_layout(tmp_path)


@pytest.mark.parametrize("cell", ["No Finding|Mass", "Mass| No Finding"])
def test_no_finding_beside_a_finding_is_refused(tmp_path: Path, cell: str) -> None:
    write_layout(tmp_path, labels=cell)
    with pytest.raises(LayoutError, match=r"Data_Entry_2017\.csv, line 2: 'No Finding' stands beside a finding"):
        read_layout(tmp_path)


def test_a_file_that_is_no_table_is_not_poured_out(tmp_path: Path) -> None:
    write_layout(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_bytes(bytes(100_000))
    with pytest.raises(LayoutError) as caught:
        read_layout(tmp_path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "BBox_List_2017.csv", "train_val_list.txt", "test_list.txt"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_a_list_that_is_not_utf_8_is_named_with_the_byte_and_what_to_do(tmp_path: Path, name: str, mark: bytes) -> None:
    write_layout(tmp_path)
    table = tmp_path / name
    good = mark + table.read_bytes()
    table.write_bytes(good + "M\u00fcller\n".encode("latin-1"))
    with pytest.raises(
        LayoutError, match=rf"{name}: not text in UTF-8, from byte {len(good) + 2} on; save it in UTF-8"
    ):
        read_layout(tmp_path)


def test_pictures_in_numbered_folders_are_found(tmp_path: Path) -> None:
    names = write_layout(tmp_path)
    (tmp_path / "images_002" / "images").mkdir(parents=True)
    (tmp_path / "images" / names[3]).rename(tmp_path / "images_002" / "images" / names[3])
    (tmp_path / "images" / names[4]).unlink()
    layout = read_layout(tmp_path)
    assert layout.paths[names[3]].parent.parent.name == "images_002"
    assert layout.missing() == (names[4],)


def test_a_resized_copy_behind_links_is_matched_by_stem_and_the_listed_name_wins(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "download")
    copy, pictures = tmp_path / "copy", tmp_path / "elsewhere"
    pictures.mkdir()
    copy.mkdir()
    for name in names[:4]:
        (pictures / name).with_suffix(".jpg").write_bytes((tmp_path / "download" / "images" / name).read_bytes())
    (pictures / names[0]).write_bytes((tmp_path / "download" / "images" / names[0]).read_bytes())
    (pictures / "notes.jpg").write_bytes(b"")
    (pictures / "round").symlink_to(pictures)
    (copy / "images").symlink_to(pictures)
    for table in ("Data_Entry_2017.csv", "BBox_List_2017.csv"):
        (copy / f"{table}.gz").write_bytes(gzip.compress((tmp_path / "download" / table).read_bytes()))
    for part in ("train_val_list.txt", "test_list.txt"):
        (copy / part).symlink_to(tmp_path / "download" / part)
    layout = read_layout(copy)
    assert {name: path.name for name, path in layout.paths.items()} == {
        names[0]: names[0],
        **{name: Path(name).stem + ".jpg" for name in names[1:4]},
    }
    assert layout.missing() == tuple(names[4:])
    assert list(layout.boxes) == [names[0]]


def test_lists_are_cut_to_the_pictures_at_hand(tmp_path: Path) -> None:
    names = write_layout(tmp_path, patients=6, test_patients=2)
    for name in (names[0], names[5]):
        (tmp_path / "images" / name).unlink()
    layout = read_layout(tmp_path)
    assert (layout.train_val, layout.test) == (tuple(names[:4]), tuple(names[4:]))
    cut = layout.at_hand()
    assert (cut.train_val, cut.test) == (tuple(names[1:4]), (names[4],))
    assert list(cut.entries) == names[1:5]
    assert cut.boxes == {}  # the one box was on the first picture
    assert cut.missing() == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("Data_Entry_2017.csv", "Effusion|Mass", "Effusions", "unknown finding 'Effusions'"),
        ("Data_Entry_2017.csv", "Finding Labels", "Labels", "no column 'Finding Labels'"),
        ("Data_Entry_2017.csv", picture_name(2), picture_name(1), "listed a second time"),
        ("test_list.txt", picture_name(9), picture_name(99), "no row in the data entry file"),
        ("test_list.txt", picture_name(9), picture_name(1), "patient 1: is in train_val_list.txt and in test_list.txt"),
        ("test_list.txt", picture_name(9), picture_name(8), "listed twice"),
        ("BBox_List_2017.csv", "Mass", "Shadow", "BBox_List_2017.csv, line 2: expected picture"),
    ],
)
def test_a_list_that_does_not_fit_is_named(tmp_path: Path, file: str, old: str, new: str, expected: str) -> None:
    write_layout(tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(LayoutError, match=expected):
        read_layout(tmp_path)


def test_a_folder_that_is_no_download_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"Data_Entry_2017_v2020\.csv or Data_Entry_2017\.csv"):
        read_layout(tmp_path)


@pytest.mark.parametrize("file", ["PHANTOM.json", "DRAWN_ON_FILMS.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pictures": 3, "drawn_findings": [4]}'])
def test_drawings_whose_note_is_damaged_never_pass_for_radiographs(tmp_path: Path, file: str, content: str) -> None:
    write_layout(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(LayoutError, match=rf"{file}: damaged, no list .*draw the folder again"):
        read_layout(tmp_path)


def test_the_list_hash_does_not_depend_on_order() -> None:
    assert list_hash(("a.png", "b.png")) == list_hash(("b.png", "a.png"))
    assert list_hash(("a.png", "b.png")) != list_hash(("a.png",))


def test_the_real_lists_of_all_112120_pictures_are_read_with_their_published_counts() -> None:
    layout = published_radiographs()
    # Counts: Wang et al., CVPR 2017, and the NIH's own README of the v2020 lists.
    assert len(layout.entries) == 112_120
    assert (len(layout.train_val), len(layout.test)) == (86_524, 25_596)
    assert sum(len(boxes) for boxes in layout.boxes.values()) == 984
    assert len({entry.patient_id for entry in layout.entries.values()}) == 30_805
    counts = dict(zip(LABELS, layout.targets(tuple(layout.entries)).sum(0).astype(int).tolist(), strict=True))
    assert (counts["Hernia"], counts["Infiltration"], counts["Pneumothorax"]) == (227, 19_894, 5_302)
    assert set(layout.boxes) <= set(layout.test)


def test_the_resized_real_part_is_a_data_set_of_its_own(tmp_path: Path, shared: Path) -> None:
    metadata = shared / "data" / "nih_metadata"
    (tmp_path / "images").symlink_to(shared / "data" / "nih256" / "images")
    for file in metadata.iterdir():
        (tmp_path / file.name).symlink_to(file)
    layout = read_layout(tmp_path).at_hand()
    # Counts: the description of that copy, made when it was cut out of the download.
    assert (len(layout.train_val), len(layout.test)) == (2_605, 1_366)
    assert len(layout.boxes) == 832
    assert set(layout.boxes) <= set(layout.test)


def test_a_file_that_the_system_does_not_give_is_named_without_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As another user's file; a folder in its place is refused to root as well."""
    write_layout(tmp_path / "data", patients=5, test_patients=2)
    (tmp_path / "data" / DRAWN_FILE).mkdir()
    monkeypatch.setattr(sys, "argv", ["training", "prepare", "--data", str(tmp_path / "data"), "--lists-only"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert str(tmp_path / "data" / DRAWN_FILE) in "".join(capsys.readouterr().err.split())
