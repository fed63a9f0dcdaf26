from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from forks import run_command
from sqlalchemy import select
from study_rows import add_instance, add_study, add_triaged_study, now
from typer.testing import CliRunner

from worker.cli import app, main
from worker.rows.database import open_engine, session_factory
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.run_tables import Run
from worker.rows.states import DeliveryState, StudyState

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    "up",
    "listen",
    "work",
    "sweep",
    "migrate",
    "check",
    "send",
    "studies",
    "show",
    "requeue",
    "resend",
    "demo",
    "export",
    "explain",
    "list",
    "status",
)
run = CliRunner().invoke


def worker(*arguments: str, forked: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"} | environment
    if forked:
        return run_command("worker", arguments, variables, ROOT)
    command = [sys.executable, "-m", "worker", *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=100, check=False)


def test_a_process_of_the_worker_calculates_with_one_thread() -> None:
    """Threads of NumPy's that wait for each other cost a busy machine more than the calculation."""
    script = "import worker.__main__, numpy, threadpoolctl\n"
    script += "print({pool['num_threads'] for pool in threadpoolctl.threadpool_info()})"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "{1}", done.stderr


@pytest.fixture
def database(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the commands find through the environment."""
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("CXR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "220")
    return sqlite_url


@pytest.fixture
def seeded(database: str) -> dict[str, str]:
    """A STAT study with refused results, one not analysed, one ignored object."""
    engine = open_engine(database)
    with session_factory(engine).begin() as session:
        stat = add_triaged_study(
            session,
            {"Pneumothorax": 0.91},
            now=now(),
            delivery_state=DeliveryState.REFUSED,
            patient_name="DOE^JANE",
            accession_number="A-1",
        )
        add_instance(
            session, stat, disposition="ignored", reason_code="sop_class", reason="This kind of object is not analysed."
        )
        add_study(session, now=now(), state=StudyState.NOT_ANALYSED, reason_code="age", reason="Too young.")
        uid = stat.study_instance_uid
    engine.dispose()
    return {"stat": uid}


def test_show_names_object_and_destination_of_a_delivery(database: str, seeded: dict[str, str]) -> None:
    engine = open_engine(database)
    with session_factory(engine).begin() as session:
        for delivery in session.scalars(select(Delivery)):
            facts = {"destination": delivery.destination, "delivery_id": delivery.id, "attempts": 1}
            uid = seeded["stat"]
            record(session, "delivery_refused", actor="w", study_instance_uid=uid, reason="0xA700", details=facts)
    engine.dispose()
    shown = run(app, ["show", seeded["stat"]]).stdout
    assert "delivery refused by w: structured report to pacs: 0xA700" in shown
    assert "delivery refused by w: secondary capture of Pneumothorax to pacs: 0xA700" in shown


def test_without_a_command_help_is_printed_and_the_exit_code_is_2() -> None:
    result = worker(forked=False)
    assert result.returncode == 2
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", result.stdout + result.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout) > 200


@pytest.mark.parametrize("command", ["list", "reconcile", "reprocess", "export"])
def test_the_help_shows_how_a_time_is_written_and_no_codes_of_strptime(command: str) -> None:
    shown = run(app, [command, "--help"], env={"COLUMNS": "120"}).stdout
    assert "YYYY-MM-DD" in shown
    assert "%Y" not in shown


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    group: Any = typer.main.get_command(app)
    chosen = {name: group.get_command(None, name) for name in group.list_commands(None)}
    texts = {name: each.make_context(name, [], resilient_parsing=True).command.help for name, each in chosen.items()}
    assert len(texts) > 30
    assert {name: words for name, text in texts.items() if (words := re.findall(r"\[\w+\]", text))} == {}


@pytest.mark.parametrize(
    "arguments",
    [["studies", "--state", "nonsense"], ["studies", "--csv", "--json"], ["show"], ["nothing"], ["send", "x"]],
)
def test_a_command_that_is_not_understood_exits_with_2(database: str, arguments: list[str]) -> None:
    assert run(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--where", "nope", "write a filter as name=value"),
        ("--where", "nope=1", "cannot be narrowed by nope"),
        ("--where", "unread=perhaps", "unread is true or false"),
        ("--after", "nope", "of an earlier page"),
    ],
)
def test_what_no_list_can_be_asked_exits_with_2_and_names_the_option(
    database: str, option: str, value: str, told: str
) -> None:
    done = run(app, ["list", "studies", option, value], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert f"Invalid value for {option}: " in done.stderr
    assert told in done.stderr and "Usage: " in done.stderr


def test_a_folder_of_another_user_is_named_with_what_to_do(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written as the kernel says it, for tests may run as root, whom it refuses nothing."""
    there = tmp_path / "data" / "up.lock"

    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(there))

    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    monkeypatch.setattr("worker.commands.study_commands.load_settings", refuse)
    monkeypatch.setattr(sys, "argv", ["worker", "studies"])
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with pytest.raises(SystemExit):
        main()
    assert said.getvalue().startswith(f"error: Permission denied: {there}; give it to the user that runs the worker")


def test_a_database_file_that_cannot_be_opened_speaks_of_the_file_and_not_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "triage.db").mkdir()
    result = worker("studies", CXR_DATA_DIR=str(tmp_path))
    assert result.returncode == 1
    assert "that this user may read and write the file and its folder" in result.stderr
    assert "server" not in result.stderr


def test_an_expected_error_is_one_message_and_no_stack_trace(tmp_path: Path) -> None:
    result = worker("studies", forked=False, CXR_DATA_DIR=str(tmp_path / "empty"))
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "python -m worker migrate" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_every_mistake_in_the_configuration_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text("listen_port = 0\nquiet_time_seconds = -1\n")
    result = worker("check", "--config", str(file))
    assert result.returncode == 1
    assert "listen_port" in result.stderr
    assert "quiet_time_seconds" in result.stderr


def test_migrate_twice_ends_at_the_same_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DATA_DIR", str(tmp_path / "fresh"))
    first, second = run(app, ["migrate"]), run(app, ["migrate"])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "was empty; it is at revision" in first.stdout
    assert second.stdout == first.stdout.replace("was empty; it is", "is")
    assert (tmp_path / "fresh" / "triage.db").is_file()


def test_studies_shows_the_list_with_reasons_and_the_notice(seeded: dict[str, str]) -> None:
    result = run(app, ["studies"])
    assert result.exit_code == 0
    for text in ("STAT", "DOE, JANE", "Pneumothorax 91%", "not analysed", "Too young.", "NOT FOR DIAGNOSTIC USE"):
        assert text in result.stdout


def test_a_terminal_of_80_columns_cuts_no_word_and_no_uid(
    seeded: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = json.loads(run(app, ["show", seeded["stat"], "--json"]).stdout)
    monkeypatch.setenv("COLUMNS", "80")
    listed, shown = run(app, ["studies"]).stdout, run(app, ["show", seeded["stat"]]).stdout
    for word in ("STAT", "DOE, JANE", "Pneumothorax", "not analysed", "0/2 failed"):
        assert word in listed
    objects = [*described["instances"], *described["runs"][0]["results"]]
    assert len(objects) > 3
    assert [each["sop_instance_uid"] for each in objects if each["sop_instance_uid"] not in shown] == []
    assert max(len(line) for line in (listed + shown).splitlines()) <= 80


def test_studies_as_json_and_csv_hold_the_same_lines(seeded: dict[str, str]) -> None:
    described = json.loads(run(app, ["studies", "--json"]).stdout)
    rows = list(csv.DictReader(io.StringIO(run(app, ["studies", "--csv"]).stdout)))
    assert described["total"] == len(rows) == 2
    assert [row["study_instance_uid"] for row in rows] == [
        study["study_instance_uid"] for study in described["studies"]
    ]
    assert rows[0]["findings"] == "Pneumothorax 0.910"
    narrowed = json.loads(run(app, ["studies", "--json", "--state", "not_analysed"]).stdout)
    assert [study["reason_code"] for study in narrowed["studies"]] == ["age"]


def test_an_empty_list_says_what_to_do(database: str) -> None:
    assert "python -m worker send" in run(app, ["studies"]).stdout


@pytest.mark.parametrize("by", ["uid", "accession"])
def test_show_tells_everything_about_a_study(seeded: dict[str, str], by: str) -> None:
    result = run(app, ["show", seeded["stat"] if by == "uid" else "A-1"])
    assert result.exit_code == 0
    for text in (
        "DOE, JANE", "sop_class: This kind of object is not analysed.", "Pneumothorax", "not in this model",
        "0xA700", "out of resources", "decode", "triaging",
    ):  # fmt: skip
        assert text in result.stdout


def test_show_as_json_holds_all_fourteen_predictions(seeded: dict[str, str]) -> None:
    described = json.loads(run(app, ["show", seeded["stat"], "--json"]).stdout)
    assert len(described["runs"][0]["predictions"]) == 14
    assert described["runs"][0]["results"][0]["deliveries"][0]["last_status"] == 0xA700


def test_a_study_that_was_never_received_is_an_error(database: str) -> None:
    result = worker("show", "1.2.3", CXR_DATABASE_URL=database)
    assert result.returncode == 1
    assert "no study 1.2.3 was received" in result.stderr


def test_requeue_queues_a_run_wakes_deliveries_and_refuses_a_second_time(seeded: dict[str, str], database: str) -> None:
    result = run(app, ["requeue", seeded["stat"]])
    assert result.exit_code == 0, result.output
    assert "run 2 is queued" in result.stdout
    assert "2 stopped deliveries are due again" in result.stdout
    engine = open_engine(database)
    with session_factory(engine)() as session:
        assert session.query(Run).filter_by(run_number=2, trigger="manual", state="queued").count() == 1
    engine.dispose()
    again = worker("requeue", seeded["stat"], CXR_DATABASE_URL=database)
    assert again.returncode == 1
    assert "already" in again.stderr


def test_escape_sequences_in_dicom_text_do_not_reach_the_terminal(database: str) -> None:
    engine = open_engine(database)
    with session_factory(engine).begin() as session:
        hostile = "\x1b]0;owned\x07[red]name"
        uid = add_study(
            session, now=now(), patient_name=hostile, accession_number=hostile, study_description=hostile
        ).study_instance_uid
    engine.dispose()
    for arguments in (["studies"], ["show", uid]):
        result = run(app, arguments)
        assert result.exit_code == 0
        assert "\x1b]0;" not in result.stdout
        assert "\x07" not in result.stdout
        assert "[red]name" in result.stdout
