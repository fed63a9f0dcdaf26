"""``token``: who may read over HTTP without a person's login."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.padding import Padding
from rich.text import Text

from worker.care.tokens import TokenLine, create_token, list_tokens, revoke_token
from worker.commands.at_hand import opened, print_json, say
from worker.commands.options import MOST_DAYS, ConfigOption, JsonOption, person
from worker.settings.config import load_settings
from worker.views.rendering import local_time, plain
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
    Console().print(_told(lines))


def _told(lines: Iterable[TokenLine]) -> RenderableType:
    """Return each token by its name, with what is known of it below, for seven columns cut words in two."""
    parts: list[RenderableType] = []
    for line in lines:
        facts = Text(plain("; ".join(_facts(line))))
        parts += [Text(plain(line.name), style="bold"), Padding(facts, (0, 0, 0, 2), expand=False)]
    return Stack(Text("Tokens", style="italic"), *parts) if parts else Text("No token was ever made.")


def _facts(line: TokenLine) -> Iterator[str]:
    yield "shows patients" if line.patients else "without patients"
    yield f"made {local_time(line.created_at)} by {line.created_by}"
    if line.revoked_at:
        yield f"revoked {local_time(line.revoked_at)}"
    else:
        yield f"expires {local_time(line.expires_at)}" if line.expires_at else "never expires"
    yield f"last used {local_time(line.last_used_at)}" if line.last_used_at else "never used"
