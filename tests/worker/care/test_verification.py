"""Rows and files compared: a file that the disk does not give back is a changed one, and the others are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from factories import chest_radiograph, sha256_of, write_dicom
from others_files import give_to_another_user
from study_rows import add_instance, add_study

from worker.care.verification import verify
from worker.rows.database import SessionFactory
from worker.settings.config import Settings


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read: Linux has one")
@pytest.mark.parametrize("hashes", [False, True])
def test_one_lost_sector_hides_no_other_fault(
    make_settings: Callable[..., Settings], sessions: SessionFactory, hashes: bool
) -> None:
    settings = make_settings()
    folder = settings.instances_dir / "1.2"
    whole = write_dicom(chest_radiograph(), folder / "whole.dcm")
    (folder / "lost.dcm").symlink_to("/proc/self/mem")  # its first page belongs to nobody: reading it ends in EIO
    with sessions.begin() as session:
        study = add_study(session)
        add_instance(session, study, path="1.2/lost.dcm", bytes=0)
        add_instance(session, study, path="1.2/gone.dcm")
        add_instance(session, study, path="1.2/whole.dcm", bytes=whole.stat().st_size, sha256=sha256_of(whole))
    with sessions() as session:
        found = verify(session, settings, hashes=hashes)
    assert (found.rows, found.missing, found.stray) == (3, ["instances/1.2/gone.dcm"], [])
    assert found.changed == (["instances/1.2/lost.dcm"] if hashes else [])


def test_what_another_user_owns_is_not_called_changed(
    make_settings: Callable[..., Settings], sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    whole = write_dicom(chest_radiograph(), settings.instances_dir / "1.2" / "whole.dcm")
    with sessions.begin() as session:
        add_instance(session, add_study(session), path="1.2/whole.dcm", bytes=whole.stat().st_size)
    give_to_another_user(settings.instances_dir, monkeypatch)
    with sessions() as session, pytest.raises(PermissionError, match=r"whole\.dcm"):
        verify(session, settings)
