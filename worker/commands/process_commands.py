"""The commands that run a process until it is told to end, each of which loads only what it needs."""

from __future__ import annotations

from typing import Annotated

import typer

from model.loading import no_garbage_looked_for
from worker.commands.options import ConfigOption
from worker.foundation.logs import configure_logging
from worker.settings.config import load_settings


def up(
    worklist: Annotated[bool, typer.Option(help="Serve the worklist page too.")] = True,
    config: ConfigOption = None,
) -> None:
    """Everything on one machine: listener, sweeper, triage and delivery workers, worklist page. Until Ctrl-C."""
    from worker.processes.up import run_up  # each process loads only what it needs

    configure_logging()
    raise typer.Exit(run_up(load_settings(config), worklist=worklist))


def listen(
    member: Annotated[int, typer.Option("--member", min=0, hidden=True)] = 0,
    config: ConfigOption = None,
) -> None:
    """Receive studies over DICOM (Storage SCP and C-ECHO) and make them durable. Until SIGTERM or Ctrl-C."""
    configure_logging()
    settings = load_settings(config)
    if settings.listener_processes > 1 and not member:
        from worker.processes.listener_group import run_listeners

        raise typer.Exit(run_listeners(settings))
    from worker.processes.listener import run_listener

    raise typer.Exit(run_listener(settings, member=member))


def work(
    queues: Annotated[
        str, typer.Option("--queues", metavar="NAMES", help="Comma-separated queues to serve: stat, routine, delivery.")
    ] = "stat,routine",
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            min=0,
            help="Processes; 0 = the configuration's, else one per core, and two for deliveries.",
        ),
    ] = 0,
    config: ConfigOption = None,
) -> None:
    """Analyse studies, or deliver results with `--queues delivery`. Until SIGTERM or Ctrl-C."""
    with no_garbage_looked_for():
        from worker.processes.work import run_worker

    configure_logging()
    names = [name.strip() for name in queues.split(",") if name.strip()]
    raise typer.Exit(run_worker(load_settings(config), names, concurrency))


def sweep(config: ConfigOption = None) -> None:
    """Find due studies, expired leases and due retries; one sweeper is active, others wait. Until SIGTERM or Ctrl-C."""
    from worker.processes.sweep import run_sweeper

    configure_logging()
    raise typer.Exit(run_sweeper(load_settings(config)))


def hl7(config: ConfigOption = None) -> None:
    """Receive HL7 messages (MLLP): patients that changed or were merged, final reports. Until SIGTERM or Ctrl-C.

    Needs hl7_listener in the configuration; `up` starts it by itself then.
    """
    from worker.hl7.listener import run_hl7_listener

    configure_logging()
    raise typer.Exit(run_hl7_listener(load_settings(config)))


def shadow(config: ConfigOption = None) -> None:
    """Analyse live studies once more with `shadow_bundle`, for comparison only. Until SIGTERM or Ctrl-C.

    Results stay in the database. It yields the processor to everything else; `up` starts it by itself.
    """
    from worker.processes.shadow import run_shadow_worker

    configure_logging()
    raise typer.Exit(run_shadow_worker(load_settings(config)))
