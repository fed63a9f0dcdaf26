"""``token``: who may read over HTTP without a person's login."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker.care.tokens import create_token, list_tokens, revoke_token
from worker.commands.at_hand import opened, print_json, say
from worker.commands.options import MOST_DAYS, ConfigOption, JsonOption, person
from worker.settings.config import load_settings
from worker.views.rendering import escape, local_time
from worker.views.studies import as_json

tokens = typer.Typer(no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who uses it, such as grafana.")]


@tokens.command()
def create(
    name: NameArgument,
    days: Annotated[
        float | None,
        typer.Option(min=0.01, max=MOST_DAYS, help="Days until it expires. Default: valid until it is revoked."),
    ] = None,
    patients: Annotated[
        bool, typer.Option("--patients/--without-patients", help="Whether it shows columns that identify a patient.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Make a token and print it, once: only its hash is kept. Written to the audit trail."""
    with opened(load_settings(config), read_only=False) as session:
        token = create_token(session, name, person(), days=days, patients=patients)
        sys.stdout.write(f"{token}\n")
        sys.stdout.flush()  # one that could not be written down is not made either
    say("keep it now; it cannot be shown again", aside=True)


@tokens.command()
def revoke(name: NameArgument, config: ConfigOption = None) -> None:
    """Make a token worthless at once. Written to the audit trail."""
    with opened(load_settings(config), read_only=False) as session:
        revoke_token(session, name, person())
    say(f"token {name} is revoked")


@tokens.command("list")
def list_all(json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """Every token that was ever made, and when it was last used."""
    with opened(load_settings(config)) as session:
        lines = list_tokens(session)
    if json_output:
        print_json(as_json(lines))
        return
    table = Table(title="Tokens", header_style="bold")
    for title in ("Name", "Shows patients", "Made", "By", "Expires", "Revoked", "Last used"):
        table.add_column(title, overflow="fold")
    for line in lines:
        moments = [local_time(moment) for moment in (line.expires_at, line.revoked_at, line.last_used_at)]
        made = (local_time(line.created_at), escape(line.created_by))
        table.add_row(escape(line.name), "yes" if line.patients else "no", *made, *moments)
    Console().print(table)
