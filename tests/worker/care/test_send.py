from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from factories import chest_radiograph, write_dicom
from peers import StandInPacs, running_pacs
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from dicom_io.data_sets.file_meta import encode_file_meta
from worker.care.send import MissingPath, NothingToSend, by_study, find_dicom_files, parse_address, send_files
from worker.cli import app

run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two studies in subfolders, three objects, and a text file."""
    study = generate_uid()
    for name in ("a/1.dcm", "a/deep/2"):
        write_dicom(chest_radiograph(StudyInstanceUID=study), tmp_path / "in" / name)
    write_dicom(chest_radiograph(), tmp_path / "in" / "b" / "3.dcm")
    (tmp_path / "in" / "readme.txt").write_text("no DICOM")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:11112", "127.0.0.1", 11112), ("[::1]:104", "::1", 104), ("pacs:1", "pacs", 1)],
)
def test_addresses_are_host_and_port(text: str, host: str, port: int) -> None:
    peer = parse_address(text, "PACS")
    assert (peer.host, peer.port, peer.ae_title) == (host, port, "PACS")


@pytest.mark.parametrize("text", ["pacs", ":104", "pacs:", "pacs:0", "pacs:65536", "pacs:dicom"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="HOST:PORT"):
        parse_address(text, "PACS")


@pytest.mark.parametrize("host", ["pacs..ward", ".pacs", "p" * 64])
def test_a_host_that_no_resolver_can_be_asked_for_is_refused_in_words(folder: Path, host: str) -> None:
    """RFC 1035 2.3.4: a label has 1 to 63 octets."""
    result = run(app, ["send", str(folder), f"{host}:104"])
    assert result.exit_code == 2
    assert "neither a host name nor an IP address" in " ".join(result.output.split())


def test_folders_are_searched_for_dicom_files_only(folder: Path) -> None:
    assert [path.name for path in find_dicom_files([folder])] == ["1.dcm", "2", "3.dcm"]


def test_a_missing_path_is_named(folder: Path) -> None:
    with pytest.raises(MissingPath, match="nowhere"):
        list(find_dicom_files([folder, folder / "nowhere"]))


def test_a_folder_without_dicom_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pacs = StandInPacs()
    with pytest.raises(NothingToSend):
        send_files([tmp_path / "empty"], pacs.peer, "TEST", fresh=False, json_output=False)


def test_everything_arrives_unchanged_in_one_association_per_study(folder: Path) -> None:
    pacs = StandInPacs()
    pacs.start()
    try:
        assert send_files([folder], pacs.peer, "TEST", fresh=False, json_output=False)
    finally:
        pacs.stop()
    assert pacs.associations == 2
    assert {arrival.calling_ae_title for arrival in pacs.stored} == {"TEST"}
    sent = {str(uid) for uid in by_study(find_dicom_files([folder]))}
    assert {str(arrival.dataset.StudyInstanceUID) for arrival in pacs.stored} == sent


def test_fresh_sends_new_studies_of_the_same_shape_and_pixels(folder: Path) -> None:
    pacs = StandInPacs()
    pacs.start()
    try:
        assert send_files([folder], pacs.peer, "TEST", fresh=True, json_output=False)
    finally:
        pacs.stop()
    before = by_study(find_dicom_files([folder]))
    datasets = [arrival.dataset for arrival in pacs.stored]
    after = [str(dataset.StudyInstanceUID) for dataset in datasets]
    assert sorted(after.count(uid) for uid in set(after)) == [1, 2]
    assert set(after).isdisjoint(before)
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 3
    assert len({dataset.PixelData for dataset in datasets}) == 1


def test_the_command_exits_1_and_names_what_was_not_accepted(folder: Path) -> None:
    pacs = StandInPacs(status=lambda sop_class_uid, sop_instance_uid: 0xA700)
    pacs.start()
    try:
        result = run(app, ["send", str(folder), f"127.0.0.1:{pacs.port}", "--called", "PACS"])
    finally:
        pacs.stop()
    assert result.exit_code == 1
    assert "0xA700" in result.stderr
    assert "0 of 3 objects" in result.stdout


def test_with_fresh_copies_the_users_file_is_named(folder: Path) -> None:
    with running_pacs(status=lambda sop_class_uid, sop_instance_uid: 0xA700) as pacs:
        address = f"127.0.0.1:{pacs.port}"
        said = run(app, ["send", str(folder), address, "--called", "PACS", "--fresh"])
        listed = run(app, ["send", str(folder), address, "--called", "PACS", "--fresh", "--json"])
    files = {str(path) for path in find_dicom_files([folder])}
    assert {line.split()[2].rstrip(":") for line in said.stderr.splitlines() if "not accepted" in line} == files
    assert {item["path"] for item in json.loads(listed.stdout)} == files


def test_nobody_listening_is_told_and_no_stack_trace(folder: Path, unused_port: int) -> None:
    result = run(app, ["send", str(folder), f"127.0.0.1:{unused_port}"])
    assert result.exit_code == 1
    assert "not accepted" in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
def unused_port() -> int:
    from services import free_port

    return free_port()


def test_a_file_that_is_no_dicom_is_reported_and_the_others_are_sent(folder: Path) -> None:
    pacs = StandInPacs()
    pacs.start()
    try:
        accepted = send_files([folder / "readme.txt", folder], pacs.peer, "TEST", fresh=True, json_output=False)
    finally:
        pacs.stop()
    assert not accepted
    assert len(pacs.stored) == 3


NO_SUCH_REPRESENTATION = b"U\x1f"


def damaged(path: Path, element: bytes) -> None:
    """Give an element of a file a value representation that does not exist."""
    content = path.read_bytes()
    path.write_bytes(content.replace(element + b"UI", element + NO_SUCH_REPRESENTATION))
    assert path.read_bytes() != content


@pytest.mark.parametrize("element", [b"\x08\x00\x16\x00", b"\x20\x00\x0d\x00"])  # SOP Class, Study Instance UID
def test_of_a_damaged_file_no_fresh_copy_is_made_and_the_others_are_sent(folder: Path, element: bytes) -> None:
    damaged(path := folder / "a" / "1.dcm", element)
    with running_pacs() as pacs:
        result = run(app, ["send", str(folder), f"127.0.0.1:{pacs.port}", "--called", "PACS", "--fresh"])
    assert result.exit_code == 1
    assert f"not accepted {path}: no copy with new UIDs" in result.stderr
    assert "2 of 3 objects in" in result.stdout
    assert len(pacs.stored) == 2


def test_a_file_whose_study_cannot_be_read_is_sent_as_it_is(folder: Path) -> None:
    damaged(folder / "a" / "1.dcm", b"\x20\x00\x0d\x00")
    with running_pacs() as pacs:
        assert send_files([folder], pacs.peer, "TEST", fresh=False, json_output=False)
    assert len(pacs.stored) == 3


def test_a_file_that_names_no_study_is_sent_as_a_study_of_its_own(tmp_path: Path) -> None:
    old = [chest_radiograph(StudyInstanceUID=None) for _ in range(2)]
    files = [write_dicom(dataset, tmp_path / f"{number}.dcm") for number, dataset in enumerate(old)]
    with running_pacs() as pacs:
        assert send_files(files, pacs.peer, "TEST", fresh=True, json_output=False)
    assert len({arrival.dataset.StudyInstanceUID for arrival in pacs.stored}) == 2
    assert {arrival.sop_instance_uid for arrival in pacs.stored}.isdisjoint(str(each.SOPInstanceUID) for each in old)


FIRST_ELEMENT = b"\x08\x00\x05\x00CS"


def under_another_head(path: Path, dataset: Dataset, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Write a file whose file meta names another object than its data set; return the data set's bytes."""
    path.parent.mkdir(exist_ok=True)
    dataset.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)
    content = path.read_bytes()
    encoded = content[content.index(FIRST_ELEMENT) :]
    path.write_bytes(encode_file_meta(sop_class_uid, sop_instance_uid, ExplicitVRLittleEndian) + encoded)
    return encoded


@pytest.mark.parametrize("named", [("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"), ("", "")])
def test_an_object_is_announced_as_what_its_data_set_says_whatever_stands_in_the_file_meta(
    tmp_path: Path, named: tuple[str, str]
) -> None:
    """As storescu does: a receiver refuses an object that is not the one announced (PS3.4 B.2.3)."""
    dataset, path = chest_radiograph(), tmp_path / "in" / "copied.dcm"
    encoded = under_another_head(path, dataset, *named)
    before = path.read_bytes()
    with running_pacs() as pacs:
        assert send_files([path], pacs.peer, "TEST", fresh=False, json_output=False)
    (arrival,) = pacs.stored
    assert (arrival.sop_class_uid, arrival.sop_instance_uid) == (dataset.SOPClassUID, dataset.SOPInstanceUID)
    assert arrival.file_bytes[arrival.file_bytes.index(FIRST_ELEMENT) :] == encoded
    assert path.read_bytes() == before


def test_an_object_without_uids_is_named_and_costs_the_others_nothing(folder: Path) -> None:
    under_another_head(folder / "b" / "0.dcm", chest_radiograph(SOPInstanceUID=None, SOPClassUID=None), "", "")
    with running_pacs() as pacs:
        result = run(app, ["send", str(folder), f"127.0.0.1:{pacs.port}", "--called", "PACS"])
    assert result.exit_code == 1
    assert "0.dcm: no SOP class or instance is named" in result.stderr
    assert len(pacs.stored) == 3
