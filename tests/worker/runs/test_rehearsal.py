"""The rehearsal at process start: everything a first study would wait for is done, and nobody ever sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from sqlalchemy import func, select

from dicom_io.results.reporting import InvalidReportError
from worker.rows.base import Base
from worker.rows.database import SessionFactory
from worker.runs import rehearsal
from worker.runs.rehearsal import rehearse
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).resolve().parents[3]
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.fixture
def make_bench(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> Callable[..., Bench]:
    def make(**destination: object) -> Bench:
        bundle = write_test_bundle(tmp_path / "bundle")
        return Bench(make_settings(bundles={"default": bundle.folder}, destinations=[PACS | destination]), sessions)

    return make


def test_every_kind_of_result_a_site_wants_is_rehearsed(make_bench: Callable[..., Bench]) -> None:
    assert rehearse(make_bench().workplace) == 2  # report and capture
    assert rehearse(make_bench(pictures="sc+gsps", summary_capture=True).workplace) == 4


def test_a_rehearsal_leaves_no_row_and_no_file(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(pictures="sc+gsps", summary_capture=True)
    rehearse(bench.workplace)
    with bench.sessions() as session:
        counts = {
            table.name: session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
        }
    assert not any(counts.values())
    for folder in (bench.settings.instances_dir, bench.settings.results_dir):
        assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_program_that_cannot_build_results_says_so_at_its_start(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    monkeypatch.setattr(rehearsal, "write_result", lambda dataset: b"\0" * 128 + b"DICM")
    with pytest.raises(InvalidReportError, match="PatientID"):
        rehearse(bench.workplace)


AFTER_A_REHEARSAL = """
import sys, tempfile
from pathlib import Path
sys.path[:0] = ["tests/support", "."]
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from worker.settings.config import load_settings
from worker.rows.database import open_engine, session_factory
from worker.rows.migrate import upgrade
from worker.runs.rehearsal import rehearse

folder = Path(tempfile.mkdtemp())
url = f"sqlite:///{folder / 'triage.db'}"
upgrade(url)
bundle = write_test_bundle(folder / "bundle")
settings = load_settings(data_dir=folder, minimum_free_bytes=0, bundles={"default": bundle.folder})
bench = Bench(settings, session_factory(open_engine(url)))
bench.receive(chest_radiograph())
before = set(sys.modules)
if sys.argv[1] == "rehearsed":
    rehearse(bench.workplace)
    before = set(sys.modules)
bench.triage(chest_radiograph())
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(("start", "loads_more"), [("rehearsed", False), ("unprepared", True)])
def test_after_a_rehearsal_the_first_study_loads_nothing_more(start: str, loads_more: bool) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AFTER_A_REHEARSAL, start],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert (finished.stdout.splitlines()[-1] != "[]") is loads_more
