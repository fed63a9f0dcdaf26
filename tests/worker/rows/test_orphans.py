"""Files without a row are removed, once two cleanings have met them; what is being stored or sent again never."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from arrivals import received
from factories import chest_radiograph
from sqlalchemy import select

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.intake import Intake
from worker.rows.database import SessionFactory
from worker.rows.orphans import ORPHAN_AFTER_SECONDS, Orphans, remove_deleted
from worker.rows.study_tables import Instance
from worker.settings.config import Settings


@pytest.fixture
def store(settings: Settings) -> InstanceStore:
    return InstanceStore(settings.instances_dir)


@pytest.fixture
def study_instance_uid(settings: Settings, sessions: SessionFactory, store: InstanceStore) -> str:
    """A study with one image."""
    dataset = chest_radiograph()
    Intake(settings, sessions, store, lambda *_: None).receive(received(dataset))
    return str(dataset.StudyInstanceUID)


def make_old(path: Path) -> None:
    before = time.time() - 2 * ORPHAN_AFTER_SECONDS
    os.utime(path, (before, before))


def removed_in_two_cleanings(store: InstanceStore, sessions: SessionFactory) -> int:
    orphans = Orphans(store, sessions, Instance)
    return orphans.remove() + orphans.remove()


def test_old_files_without_a_row_are_removed_and_no_others(
    sessions: SessionFactory, store: InstanceStore, study_instance_uid: str
) -> None:
    with sessions() as session:
        known = store.open_path(session.scalars(select(Instance.path)).one())
    orphan = store.open_path(store.write("1.2.3", "1.2.3.4", [b"left behind"]).path)
    young = store.open_path(store.write("1.2.3", "1.2.3.5", [b"on its way"]).path)
    beside = store.open_path(store.write(study_instance_uid, "1.2.3.6", [b"left behind"]).path)
    for path in (known, orphan, beside):
        make_old(path)
    assert removed_in_two_cleanings(store, sessions) == 2
    assert [path.exists() for path in (known, orphan, young, beside)] == [True, False, True, False]


def test_files_are_as_old_as_the_clock_that_stamped_them_says(
    sessions: SessionFactory, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share's server may be hours behind; what is being stored now would go before its row is there."""
    young = store.open_path(store.write("1.2.3", "1.2.3.4", [b"on its way"]).path)
    partial = store.root / ".incoming" / "x.part"
    partial.write_bytes(b"on its way")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 2 * ORPHAN_AFTER_SECONDS)
    assert removed_in_two_cleanings(store, sessions) == 0
    assert store.remove_partial_files() == 0
    assert (young.exists(), partial.exists()) == (True, True)


def test_a_file_stored_just_before_the_clock_was_stepped_forward_is_kept(
    settings: Settings, sessions: SessionFactory, store: InstanceStore
) -> None:
    """It seems hours old while its row is under way; by the next cleaning it has its row."""
    arrived = received(chest_radiograph())
    path = store.open_path(store.write(arrived.study_instance_uid, arrived.sop_instance_uid, arrived.chunks).path)
    make_old(path)  # as it looks by a clock that was stepped since
    orphans = Orphans(store, sessions, Instance)
    assert orphans.remove() == 0
    Intake(settings, sessions, store, lambda *_: None).receive(arrived)
    make_old(path)
    assert orphans.remove() == 0
    assert path.exists()


def test_a_file_written_again_since_the_last_cleaning_is_met_anew(
    sessions: SessionFactory, store: InstanceStore
) -> None:
    left = (store.write("1.2.3", "1.2.3.4", [b"left behind"]), store.write("1.2.3", "1.2.3.5", [b"sent again"]))
    orphan, again = (store.open_path(stored.path) for stored in left)
    make_old(orphan)
    make_old(again)
    orphans = Orphans(store, sessions, Instance)
    assert orphans.remove() == 0
    store.write("1.2.3", "1.2.3.5", [b"sent again"])
    make_old(again)
    assert orphans.remove() == 1
    assert [path.exists() for path in (orphan, again)] == [False, True]


def forget_as_it_is_moved_aside(forgotten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the folder of a stored file deleted at the moment the sweeper begins to remove that file."""
    rename = Path.rename

    def rename_after_it_was_forgotten(self: Path, target: Path) -> Path:
        if self == forgotten:
            shutil.rmtree(forgotten.parent)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_after_it_was_forgotten)


def test_a_study_that_is_forgotten_meanwhile_does_not_end_the_cleaning(
    sessions: SessionFactory, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten, other = (
        store.open_path(store.write(study, f"{study}.1", [b"left behind"]).path) for study in ("1.2.3", "1.2.4")
    )
    make_old(forgotten)
    make_old(other)
    forget_as_it_is_moved_aside(forgotten, monkeypatch)
    assert removed_in_two_cleanings(store, sessions) == 1
    assert not other.exists()


def test_a_study_whose_deletion_meets_its_forgetting_leaves_the_others_to_it(
    sessions: SessionFactory, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    relative = [store.write(study, f"{study}.1", [b"kept long enough"]).path for study in ("1.2.3", "1.2.4")]
    forgotten, other = (store.open_path(one) for one in relative)
    make_old(forgotten)
    make_old(other)
    forget_as_it_is_moved_aside(forgotten, monkeypatch)
    assert remove_deleted(store, sessions, relative) == 1
    assert not other.exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_a_killed_sweeper_had_set_aside_is_put_back_and_judged_again(
    sessions: SessionFactory,
    store: InstanceStore,
    study_instance_uid: str,
    links: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether or not the file system has second names for files (exFAT has none, nor have some shares)."""

    def refuse(*_paths: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with sessions() as session:
        known = store.open_path(session.scalars(select(Instance.path)).one())
    known.rename(known.with_name(f"{known.name}.orphan"))
    assert removed_in_two_cleanings(store, sessions) == 0
    assert known.exists()


def test_a_file_renewed_while_it_was_judged_is_kept(
    sessions: SessionFactory, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = received(chest_radiograph())
    chunks = arrived.chunks
    path = store.open_path(store.write(arrived.study_instance_uid, arrived.sop_instance_uid, chunks).path)
    make_old(path)
    rename = Path.rename

    def rename_after_a_repeated_send(self: Path, target: Path) -> Path:
        if self == path:
            store.write(arrived.study_instance_uid, arrived.sop_instance_uid, chunks)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_after_a_repeated_send)
    assert removed_in_two_cleanings(store, sessions) == 0
    assert path.read_bytes() == b"".join(chunks)
