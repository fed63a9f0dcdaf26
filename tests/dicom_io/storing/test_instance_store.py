from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from dicom_io.storing import quarantine
from dicom_io.storing.instance_store import (
    InstanceStore,
    StorageFull,
    StoreAway,
    StoredMissing,
    StoreError,
    UnsafePath,
    all_stored_files,
)
from dicom_io.storing.spool import SpooledDataSet
from dicom_io.storing.write_behind import RESERVED_BYTES, begin_writing, reserve, wait_written


@pytest.fixture
def store(tmp_path):
    return InstanceStore(tmp_path / "instances")


def test_a_written_instance_is_where_it_says(store):
    stored = store.write("1.2", "1.2.3", [b"head", memoryview(b"tail")])
    sha256 = hashlib.sha256(b"headtail").hexdigest()
    assert stored.path == f"1.2/1.2.3.{sha256[:16]}.dcm"
    assert (stored.bytes, stored.sha256) == (8, sha256)
    assert store.open_path(stored.path).read_bytes() == b"headtail"


def test_the_same_bytes_are_one_file_and_other_bytes_another(store):
    first, again, other = (store.write("1.2", "1.2.3", [data]) for data in (b"a", b"a", b"b"))
    assert first == again
    assert other.path != first.path
    assert store.open_path(first.path).read_bytes() == b"a"


def test_nothing_partial_is_left_when_the_source_fails(store):
    def chunks():
        yield b"half"
        raise ConnectionError

    with pytest.raises(StoreError):
        store.write("1.2", "1.2.3", chunks())
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("uid", ["..", "../1", "/etc", "1/2", ""])
def test_a_uid_that_is_a_path_is_refused(store, uid):
    with pytest.raises(UnsafePath):
        store.write(uid, "1.2", [b"x"])
    with pytest.raises(UnsafePath):
        store.write("1.2", uid, [b"x"])


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "1.2/../../secret"])
def test_paths_out_of_the_store_are_refused(store, path, tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(UnsafePath):
        store.open_path(path)


def test_a_missing_file_is_named(store):
    store.write("1.2", "1.2.3", [b"there"])
    with pytest.raises(StoredMissing, match=r"gone\.dcm"):
        store.open_path("1.2/1.3/gone.dcm")


def test_nothing_is_missing_where_there_is_no_store(store):
    for _there_is_a_folder in (False, True):
        with pytest.raises(StoreAway, match="mount its disk"):
            store.open_path("1.2/1.3/gone.dcm")
        store.root.mkdir(exist_ok=True)


def test_too_little_free_space_is_storage_full(tmp_path):
    store = InstanceStore(tmp_path, minimum_free_bytes=1 << 62)
    with pytest.raises(StorageFull, match="minimum_free_bytes"):
        store.write("1.2", "1.2.3", [b"x"])


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="repair the disk"):
        InstanceStore(tmp_path / "file" / "instances").write("1.2", "1.2.3", [b"x"])


def test_only_old_partial_files_are_removed(store):
    store.require_free_space()
    old, young = (store.root / ".incoming" / name for name in ("old.part", "young.part"))
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 3600,) * 2)
    assert store.remove_partial_files() == 1
    assert young.exists()
    assert store.remove_partial_files(older_than_seconds=0) == 1


def test_quarantined_objects_carry_their_reason(store):
    path = store.quarantine([b"gar", b"bage"], "not a data set")
    assert path.read_bytes() == b"garbage"
    assert path.with_suffix(".txt").read_text() == "not a data set\n"


def test_what_a_power_cut_left_under_the_name_is_replaced(store):
    stored = store.write("1.2", "1.2.3", [b"whole"])
    (store.root / stored.path).write_bytes(b"")  # named, but its bytes never reached the disk
    assert store.write("1.2", "1.2.3", [b"whole"]) == stored
    assert store.open_path(stored.path).read_bytes() == b"whole"


def test_a_file_that_somebody_was_promised_is_replaced_only_by_one_on_disk(store, monkeypatch):
    """Else a power cut right after the second sender's bytes came would take the first sender's."""
    promised = store.root / store.write("1.2", "1.2.3", [b"whole"]).path
    inode = promised.stat().st_ino
    synced_while = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced_while.append((descriptor, promised.stat().st_ino)))
    store.write("1.2", "1.2.3", [b"whole"])
    assert synced_while[0][1] == inode
    assert promised.stat().st_ino != inode


def test_a_file_system_without_hard_links_does(store, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    stored = store.write("1.2", "1.2.3", [b"whole"])
    assert store.open_path(stored.path).read_bytes() == b"whole"
    assert [path for path in store.root.rglob("*") if path.is_file()] == [store.root / stored.path]


def test_a_folder_left_by_a_killed_process_is_brought_to_disk_with_the_image(tmp_path, monkeypatch):
    """A power cut takes a folder whose name nobody has fsynced, and what lies in it; a soak lost an image so."""
    store = InstanceStore(tmp_path / "instances")
    left = store.root / "1.2.3"
    left.mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    stored = store.write("1.2.3", "1.2.3.4", [b"image"])
    assert {store.root, left} <= set(synced)
    assert stored.sha256 == hashlib.sha256(b"image").hexdigest()
    synced.clear()
    store.write("1.2.3", "1.2.3.5", [b"another"])
    assert left in synced
    assert store.root not in synced, "the folder of the study is known to be on disk"


def test_a_folder_that_was_deleted_and_made_again_is_brought_to_disk_anew(store, monkeypatch):
    """Its inode's number is free again and tells nothing: a patient was forgotten, and the study was sent once more."""
    stored = store.write("1.2.3", "1.2.3.4", [b"image"])
    folder, deleted = store.root / "1.2.3", store.root.parent / "deleted"
    (store.root / stored.path).unlink()
    folder.rename(deleted)
    monkeypatch.setattr(Path, "mkdir", lambda path, **_how: deleted.rename(path))  # the same number again, as on ext4
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    store.write("1.2.3", "1.2.3.4", [b"image"])
    assert {store.root, folder} <= set(synced)


def test_what_earlier_versions_stored_is_found_beside_what_this_one_stores(store):
    stored = store.write("1.2", "1.2.3", [b"new"])
    earlier = store.root / "1.2" / "1.2.4" / "0123456789abcdef.dcm"
    earlier.parent.mkdir()
    earlier.write_bytes(b"old")
    store.quarantine([b"refused"], "not a data set")
    assert set(all_stored_files(store.root)) == {store.root / stored.path, earlier}
    assert store.open_path("1.2/1.2.4/0123456789abcdef.dcm").read_bytes() == b"old"
    assert list(all_stored_files(store.root / "nothing here")) == []


def test_writing_begun_early_is_only_a_hint_and_the_fsync_comes_all_the_same(store, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    store.require_free_space()
    spooled = SpooledDataSet(store.root, b"head")
    begin_writing(-1, 0, 4)  # no such file: nobody is told
    assert reserve(-1, 0) == RESERVED_BYTES
    with pytest.raises(OSError, match="Bad file descriptor"):  # an error that the fsync would not be told again
        wait_written(-1)
    pieces = [bytes([number]) * 900_000 for number in range(4)]
    for piece in pieces:
        spooled.write(piece)
    spooled.end()
    stored = store.write("1.2", "1.2.3", spooled)
    spooled.discard()
    whole = b"head" + b"".join(pieces)
    assert stored.sha256 == hashlib.sha256(whole).hexdigest()
    assert store.open_path(stored.path).read_bytes() == whole
    assert len(whole) in synced
    kept = store.open_path(stored.path).stat()
    assert kept.st_blocks * 512 < len(whole) + RESERVED_BYTES // 4, "room that was reserved and not used is given back"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read: Linux has one")
def test_a_file_that_the_disk_does_not_give_back_is_not_intact():
    """Its first page belongs to nobody: reading it ends in EIO, as a lost sector does."""
    store = InstanceStore(Path("/proc/self"))
    with pytest.raises(StoreError, match="cannot be read"):
        store.open_intact("mem", hashlib.sha256(b"").hexdigest())
    assert not store.is_intact("mem", hashlib.sha256(b"").hexdigest())


def test_a_file_that_cannot_be_reached_is_a_store_error(store):
    store.write("1.2", "1.2.3", [b"x"])
    with pytest.raises(StoreError, match="cannot be read"):
        store.open_path(f"1.2/{'1' * 300}.dcm")  # longer than any file system's names


def test_only_what_was_written_is_intact(store):
    stored = store.write("1.2", "1.2.3", [b"as it was"])
    assert store.is_intact(stored.path, stored.sha256)
    (store.root / stored.path).write_bytes(b"as it w\0s")
    assert not store.is_intact(stored.path, stored.sha256)
    (store.root / stored.path).unlink()
    assert not store.is_intact(stored.path, stored.sha256)


def test_what_another_listener_takes_away_meanwhile_is_passed_over(store, monkeypatch):
    """A link that leads nowhere stands for a file that was there a moment ago."""
    store.quarantine([b"x" * 100], "first")
    store.require_free_space()
    (store.root / ".incoming" / "gone.part").symlink_to(store.root / "nowhere")
    (store.root / "quarantine" / "00000000T000000.000000000Z-00000000.bin").symlink_to(store.root / "nowhere")
    assert store.remove_partial_files(0) == 0
    monkeypatch.setattr(quarantine, "LIMIT_BYTES", 0)
    assert store.quarantine([b"y"], "second").read_bytes() == b"y"
