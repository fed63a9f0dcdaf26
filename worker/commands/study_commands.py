"""Commands about studies: the worklist in the terminal, everything about one study, and analysing it again."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from dicom_io.storing.instance_store import InstanceStore
from worker.care.administration import UnknownStudy, requeue_study
from worker.care.release import release_study
from worker.care.resend import resend_study
from worker.care.whose_study import WhoseStudy
from worker.commands.at_hand import opened, print_json, resolve_study, say
from worker.commands.doorbell import ring
from worker.commands.options import MOST_ROWS, ConfigOption, JsonOption, StudyArgument, person
from worker.rows.database import database_now
from worker.rows.states import Priority, StudyState
from worker.settings.config import load_settings
from worker.views.rendering import csv_text, study_report, worklist_table
from worker.views.studies import StudyFilter, as_json, count_studies, list_studies
from worker.views.study_detail import study_detail


def studies(
    state: Annotated[
        list[StudyState] | None,
        typer.Option("--state", help="Only studies in this state; may be repeated. Default: all."),
    ] = None,
    priority: Annotated[
        list[Priority] | None, typer.Option("--priority", help="Only this priority; may be repeated. Default: all.")
    ] = None,
    unread: Annotated[bool, typer.Option("--unread", help="Only studies that nobody has marked read.")] = False,
    text: Annotated[
        str, typer.Option("--text", help="Part of a patient name, patient ID or accession number, or a whole UID.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST_ROWS, help="Studies at most.")] = 100,
    offset: Annotated[
        int, typer.Option("--offset", min=0, max=MOST_ROWS, help="Studies to skip, for the next page.")
    ] = 0,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV with a header to standard output.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The worklist in reading order: waiting too long, then STAT, URGENT, ROUTINE; what was not analysed follows."""
    if as_csv and json_output:
        raise typer.BadParameter("choose one of --csv and --json")
    settings = load_settings(config)
    wanted = StudyFilter(tuple(state or ()), tuple(priority or ()), unread, text, limit, offset)
    with opened(settings) as session:
        upper_wait = timedelta(minutes=settings.upper_wait_minutes)
        lines = list_studies(session, database_now(session), upper_wait, wanted)
        total = count_studies(session, wanted)
    if json_output:
        print_json({"total": total, "studies": as_json(lines)})
    elif as_csv:
        sys.stdout.write(csv_text(lines))
    else:
        Console().print(worklist_table(lines, total))


def show(study: StudyArgument, json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """Everything about one study: objects and why each was analysed or not, runs with times, results, deliveries."""
    settings = load_settings(config)
    with opened(settings) as session:
        uid = resolve_study(session, study)
        detail = study_detail(session, uid, database_now(session), timedelta(minutes=settings.upper_wait_minutes))
    if detail is None:
        raise UnknownStudy(uid)
    if json_output:
        print_json(as_json(detail))
    else:
        Console().print(study_report(detail))


def requeue(study: StudyArgument, json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """Analyse a study again as a new run, and send its stopped deliveries again; written to the audit trail.

    Its images are judged by the present rules first, so that a new site rule takes effect; an old study that was left
    alone is analysed.
    """
    from worker.care.rejudgement import rejudge  # it reads files; lists need not wait for what that takes

    settings = load_settings(config)
    with opened(settings, read_only=False) as session:
        uid = resolve_study(session, study)
        rejudge(session, InstanceStore(settings.instances_dir), settings, uid, person())
        requeued = requeue_study(session, uid, settings, person())
    ring(settings, requeued.study_instance_uid, requeued.queue, deliveries=requeued.deliveries > 0)
    if json_output:
        print_json(as_json(requeued))
        return
    again = f"; {requeued.deliveries} stopped deliveries are due again" if requeued.deliveries else ""
    say(f"study {requeued.study_instance_uid}: run {requeued.run_number} is queued ({requeued.queue}){again}")


def resend(
    study: StudyArgument,
    destination: Annotated[
        list[str] | None,
        typer.Option(
            "--destination",
            metavar="NAME",
            help="Only to this destination of the configuration; may be repeated. Default: all that results went to.",
        ),
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send a study's present results once more, byte for byte, as after an archive was restored from a backup.

    What still waits is tried at once. Nothing is analysed again; what was superseded or taken back stays so. Written to
    the audit trail.
    """
    settings = load_settings(config)
    with opened(settings, read_only=False) as session:
        uid = resolve_study(session, study)
        resent = resend_study(session, uid, destination or (), person(), settings)
    ring(settings, resent.study_instance_uid, "", deliveries=True)
    if json_output:
        print_json(as_json(resent))
        return
    due = ", ".join(f"{count} to {name}" for name, count in resent.deliveries.items())
    say(f"study {resent.study_instance_uid}: sending again {due}")


def release(
    study: StudyArgument,
    patient_id: Annotated[
        str | None,
        typer.Option("--patient-id", metavar="ID", help="Whose study it is, as received; needed where images differ."),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="NAME", help="Issuer of that Patient ID, where images differ.")
    ] = None,
    patient_name: Annotated[
        str | None,
        typer.Option("--patient-name", metavar="NAME", help="Name under that ID, as received, where images differ."),
    ] = None,
    birth_date: Annotated[
        str | None,
        typer.Option("--birth-date", metavar="DATE", help="Birth date under that ID (YYYYMMDD), where images differ."),
    ] = None,
    one_patient: Annotated[
        bool,
        typer.Option(
            "--one-patient",
            help="All images under that ID are this one patient's; results carry the name and birth date chosen.",
        ),
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a held study go on as one patient's; images of anybody else are left out. Written to the audit trail."""
    settings = load_settings(config)
    store = InstanceStore(settings.instances_dir)
    whose = WhoseStudy(patient_id, issuer, patient_name, birth_date, one_patient)
    with opened(settings, read_only=False) as session:
        uid = resolve_study(session, study)
        released = release_study(session, store, uid, whose, person(), settings=settings)
    ring(settings, released.study_instance_uid, released.queue, deliveries=released.taken_back.anybody)
    if json_output:
        print_json(as_json(released))
        return
    say(released.summary)
