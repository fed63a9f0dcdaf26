"""The command line: processes to run, checks before going live, and the administrator's tools.

Exit codes: 0 done, 1 it could not be done (one message on standard error says why), 2 the command was not understood.
"""

from __future__ import annotations

import io
import sys

import typer
from rich.console import Console
from rich.text import Text

from model.standard_streams import written_whole
from worker.commands.table import CommandTable

app = typer.Typer(
    cls=CommandTable,
    help="Chest X-ray triage beside a PACS: DICOM in; a priority with its reason, a structured report, heat maps out."
    "\n\n"
    "NOT A MEDICAL DEVICE. NOT FOR DIAGNOSTIC USE.\n\n"
    "Start here: [bold]demo[/bold] shows everything on this machine; [bold]check[/bold] proves a configuration against "
    "the real peers; [bold]migrate[/bold] then [bold]up[/bold] run it.\n\n"
    "Exit codes: 0 done, 1 could not be done, 2 command not understood.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _no_options() -> None:
    """Say to Typer that commands follow, though none of them is here."""


def complain(message: str) -> None:
    """Write one error message to standard error, whole, without markup and without what could steer the terminal."""
    from worker.views.rendering import plain

    words = "\n".join(plain(line) for line in message.splitlines())
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), words), soft_wrap=True)


def main() -> None:
    """Run the command line; an expected error is one message and exit code 1, never a stack trace."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names in letters that a terminal of another character set lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with written_whole():
            app()
    except SystemExit:
        raise  # before Python asks what the refusals are, for which the settings and the database are loaded
    except _refusals() as error:
        complain(str(error))
        sys.exit(1)
    except _outage() as error:
        from worker.rows.database import outage_words

        complain(f"{outage_words(error)}; run `python -m worker check`")
        sys.exit(1)
    except UnicodeEncodeError as error:
        if not _holds_no_text(error):
            raise
        complain(f"no text in the character set of this terminal (LANG, LC_ALL): {error.object!a}")
        sys.exit(1)
    except OSError as error:
        from worker.foundation.errors import refusal_of_the_system

        complain(refusal_of_the_system(error))
        sys.exit(1)


def _holds_no_text(error: UnicodeEncodeError) -> bool:
    """Return whether bytes of the command line are the cause, which Python keeps as half of a surrogate pair."""
    return all("\ud800" <= character <= "\udfff" for character in error.object[error.start : error.end])


def _refusals() -> tuple[type[Exception], ...]:
    from dicom_io.storing.instance_store import StoreError
    from worker.foundation.errors import WorkerError
    from worker.settings.config import ConfigurationError

    return ConfigurationError, WorkerError, StoreError


def _outage() -> tuple[type[Exception], ...]:
    from worker.rows.database import DATABASE_GONE

    return DATABASE_GONE
