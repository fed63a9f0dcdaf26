"""``promote``, ``rollback`` and ``compare``: which bundle analyses studies, and what another would have said."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from worker.care.promotion import Promoted, latest_to_undo, promote, proven_version, rollback
from worker.commands.at_hand import opened, print_json, say
from worker.commands.comparison_report import comparison_json, comparison_report
from worker.commands.correction_commands import ByOption, ReasonOption
from worker.commands.options import MOST_DAYS, ConfigOption, JsonOption, person
from worker.figures.comparison import compare_with_shadow
from worker.rows.database import database_now
from worker.settings.config import load_settings
from worker.views.studies import as_json

InsteadOption = Annotated[
    str, typer.Option("--instead-of", metavar="NAME", help="Whose place: `default`, or a bundle that sources name.")
]


def promote_bundle(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of a configured bundle.")],
    reason: ReasonOption,
    instead_of: InsteadOption = "default",
    by: ByOption = "",
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Have another bundle analyse studies from now on, without a restart; its golden images are proven first.

    Runs that wait take it when a worker claims them; what was analysed before keeps its model version. Every worker's
    configuration must know the bundle. Written to the audit trail.
    """
    settings = load_settings(config)
    version = proven_version(settings, bundle)
    with opened(settings, read_only=False) as session:
        done = promote(
            session, settings, bundle, model_version=version, instead_of=instead_of, reason=reason, by=by or person()
        )
    _say(done, json_output)


def roll_back(
    reason: ReasonOption,
    instead_of: InsteadOption = "default",
    by: ByOption = "",
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Undo the latest promotion: the bundle before it analyses studies again. Written to the audit trail."""
    settings = load_settings(config)
    with opened(settings) as session:
        undoing = latest_to_undo(session, instead_of)
    version = proven_version(settings, undoing.bundle)
    with opened(settings, read_only=False) as session:
        done = rollback(
            session, settings, undoing, model_version=version, instead_of=instead_of, reason=reason, by=by or person()
        )
    _say(done, json_output)


def compare(
    days: Annotated[
        int, typer.Option(min=1, max=MOST_DAYS, help="Studies that were analysed in the shadow in the last days.")
    ] = 30,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The bundle in the shadow beside the active one on the same studies: agreement, and AUROC against the reviews.

    Intervals (95 %) come from resampled patients. Exit code 1 when nothing was analysed in the shadow.
    """
    with opened(load_settings(config)) as session:
        found = compare_with_shadow(session, database_now(session) - timedelta(days=days))
    if json_output:
        print_json(comparison_json(found))
    elif found is None:
        say(f"no study was analysed in the shadow in the last {days} days; see docs/shadow.md")
    else:
        Console().print(comparison_report(found))
    raise typer.Exit(0 if found else 1)


def _say(done: Promoted, json_output: bool) -> None:
    if json_output:
        print_json(as_json(done))
        return
    say(done.summary)
