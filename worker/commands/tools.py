"""The administrator's commands, loaded only when one of them, or the list of all, is asked for.

They import most of the worker. A listener that was killed must be back within seconds and needs none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import typer
from typer.core import TyperGroup


class ToolGroup(TyperGroup):
    """The command line's own commands first, then these."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, None when there is none."""
        return super().get_command(ctx, cmd_name) or tools().get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands in the order of the help."""
        return [*super().list_commands(ctx), *tools()]


@cache
def tools() -> Mapping[str, Any]:
    """Return the administrator's commands by name."""
    from worker.commands import (
        backup_commands,
        certificate_command,
        correction_commands,
        explain_command,
        export_command,
        list_command,
        message_commands,
        promotion_commands,
        reconcile_command,
        reprocess_command,
        status_command,
        study_commands,
        token_commands,
    )

    app = typer.Typer()
    for module in (
        study_commands,
        correction_commands,
        explain_command,
        export_command,
        message_commands,
        reconcile_command,
        reprocess_command,
        list_command,
        status_command,
        token_commands,
        certificate_command,
        backup_commands,
        promotion_commands,
    ):
        module.register(app)
    commands: Mapping[str, Any] = typer.main.get_group(app).commands
    return commands
