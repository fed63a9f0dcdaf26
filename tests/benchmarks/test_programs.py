"""dcmtk's programs are meant where dcmtk is: an activated environment has others of the same names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.programs import program_of_machine


@pytest.mark.parametrize("installed", [True, False])
def test_a_script_of_the_environment_is_not_taken_for_a_program_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    own = Path(sys.executable).parent
    assert (own / "qrscp").is_file(), "pynetdicom brings it, and no Debian package has one of this name"
    monkeypatch.setenv("PATH", os.pathsep.join([str(own), str(tmp_path), "/usr/bin"]))
    if installed:
        (tmp_path / "qrscp").write_text("#!/bin/sh\n")
        (tmp_path / "qrscp").chmod(0o755)
    assert program_of_machine("qrscp") == (str(tmp_path / "qrscp") if installed else None)
