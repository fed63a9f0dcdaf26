"""What the settings of pytest in pyproject.toml ask of a run."""

import getpass
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT_RUNS = 3  # the default of tmp_path_retention_count


@contextmanager
def written_into(folder: Path) -> Iterator[None]:
    """A process of an earlier run that was killed goes on: ``folder`` is never empty for long, wherever it is moved."""
    ended = threading.Event()
    handle = os.open(folder, os.O_RDONLY)

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            try:
                os.close(os.open(f"{number}", os.O_CREAT, dir_fd=handle))
            except FileNotFoundError:  # pytest met the folder empty after all
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        os.close(handle)


def test_files_of_an_earlier_run_that_cannot_be_removed_fail_no_test(tmp_path: Path) -> None:
    earlier = tmp_path / f"pytest-of-{getpass.getuser()}"
    earlier.mkdir(mode=0o700)
    for number in range(KEPT_RUNS + 1):
        (earlier / f"pytest-{number}" / "busy").mkdir(parents=True)
    (tmp_path / "test_one.py").write_text("def test_one(tmp_path):\n    assert tmp_path.is_dir()\n")
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path / "test_one.py"]
    with written_into(earlier / "pytest-0" / "busy"):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options],
            env=os.environ | {"PYTEST_DEBUG_TEMPROOT": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert "1 passed" in run.stdout
    assert not (earlier / "pytest-0").exists(), "it would have been removed"
    assert (run.returncode, run.stderr) == (0, "")
