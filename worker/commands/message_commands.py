"""The command about HL7 messages that came in: what became of each, without the patient's data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.commands.at_hand import opened, print_json
from worker.commands.options import MOST_ROWS, ConfigOption, JsonOption
from worker.rows.site_tables import InboundMessage
from worker.rows.states import InboundState
from worker.settings.config import load_settings
from worker.views.rendering import escape
from worker.views.studies import as_json


@dataclass(frozen=True)
class MessageLine:
    """One received message."""

    id: int
    received_at: datetime
    peer_address: str
    sender: str
    message_type: str
    control_id: str
    state: str
    reason: str | None
    attempts: int


def list_messages(session: Session, states: tuple[InboundState, ...], limit: int) -> list[MessageLine]:
    """Return the newest messages first; no states means all."""
    query = select(InboundMessage).order_by(InboundMessage.id.desc()).limit(limit)
    if states:
        query = query.where(InboundMessage.state.in_(states))
    return [
        MessageLine(
            row.id, row.received_at, row.peer_address, row.sender, row.message_type, row.control_id, row.state,
            row.reason, row.attempts,
        )
        for row in session.scalars(query)
    ]  # fmt: skip


def messages(
    state: Annotated[
        list[InboundState] | None,
        typer.Option("--state", help="Only messages in this state; may be repeated. Default: all."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MOST_ROWS, help="Messages at most, the newest first.")
    ] = 50,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """HL7 messages received and what became of each; a person should look at `unmatched` ones."""
    with opened(load_settings(config)) as session:
        lines = list_messages(session, tuple(state or ()), limit)
    if json_output:
        print_json(as_json(lines))
        return
    table = Table(title="HL7 messages received", header_style="bold")
    for title in ("Received (UTC)", "From", "Type", "Control id", "State", "What became of it"):
        table.add_column(title, overflow="fold")
    for line in lines:
        sender = f"{line.sender} ({line.peer_address})" if line.sender else line.peer_address
        cells = (sender, line.message_type, line.control_id, line.state, line.reason or "")
        table.add_row(f"{line.received_at:%Y-%m-%d %H:%M:%S}", *(escape(cell) for cell in cells))
    Console().print(table)
