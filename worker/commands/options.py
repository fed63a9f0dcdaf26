"""Options and arguments that several commands share."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML configuration file. Default: the one named by CXR_CONFIG, else built-in values; "
        "CXR_* environment variables win over the file.",
    ),
]
TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
TIME_FORM, DAY_FORM = "YYYY-MM-DD[Thh:mm]", "YYYY-MM-DD"
"""What the help calls a time and a day; Typer itself would show the formats of `strptime`."""
MOST_ROWS = 1_000_000_000
"""Beyond what any table here holds; larger numbers are none that a database can look for."""
MOST_DAYS = 36_500
"""A hundred years; much more is beyond the dates that Python can tell."""
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, for scripts.")]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="Study Instance UID, or an accession number only one study has.")
]


def person() -> str:
    """Return who gives this command, for the audit trail: the name of the operating system's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a user without a name
        return "command line"
