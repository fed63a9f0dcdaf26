"""Serving the worklist page, and the password for serving it to other machines."""

from __future__ import annotations

import getpass
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.text import Text

from model.deferred_commands import FlowingGroup
from model.standard_streams import written_whole
from worker.foundation.errors import StartError, refusal_of_the_system
from worker.foundation.logs import configure_logging
from worker.foundation.watchdog import Watchdog
from worker.rows.database import require_current_schema
from worker.settings.config import ConfigurationError, Settings, load_settings
from worklist.accounts import ADMINISTRATOR, Role, remove_account, write_password_file
from worklist.app import create_app

logger = logging.getLogger(__name__)

app = typer.Typer(
    cls=FlowingGroup,
    help="The radiologist's worklist as a web page. Without a command: serve it until Ctrl-C.\n\n"
    "NOT A MEDICAL DEVICE. NOT FOR DIAGNOSTIC USE.\n\n"
    "It answers on loopback only, unless worklist_host names another address and worklist_password_hash_file a "
    "password (`python -m worklist passwd FILE`). Put a TLS proxy in front of it outside one machine.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class PageAddressInUse(StartError):
    """The page's address cannot be bound."""

    def __init__(self, host: str, port: int, cause: str) -> None:
        super().__init__(
            f"the worklist cannot listen on {host}:{port}: {cause};"
            " stop the program that uses it or change worklist_port"
        )


@app.callback(invoke_without_command=True)
def serve_command(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML configuration file. Default: CXR_CONFIG, else built-in values."),
    ] = None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    if context.invoked_subcommand is None:
        configure_logging()
        serve(load_settings(config))


@app.command()
def passwd(
    file: Annotated[Path, typer.Argument(help="File to write the password's hash into (mode 0600).")],
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input, for scripts.")] = False,
    user: Annotated[str, typer.Option("--user", help="Name to log in with, and in the trail.")] = ADMINISTRATOR,
    role: Annotated[
        Role | None,
        typer.Option("--role", help="What they may do. Default: administrator for that name, else radiologist."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the person out; logs them out at once.")] = False,
) -> None:
    """Set a person's password: writes its Argon2 hash beside those that are there, never the password itself.

    A radiologist reads, reviews and overrules studies; an administrator also sees the operations pages.
    """
    if remove:
        remove_account(file, user)
        Console(stderr=True).print(f"{user} is no longer in {file}", highlight=False)
        return
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("New password: ")
        if getpass.getpass("Once more: ") != password:
            raise ValueError("the two passwords differ; nothing was written")
    chosen = role or (Role.ADMINISTRATOR if user == ADMINISTRATOR else Role.RADIOLOGIST)
    write_password_file(file, password, user, chosen)
    Console(stderr=True).print(
        f"wrote {user}, {chosen}, to {file}; worklist_password_hash_file names it", highlight=False
    )


def serve(settings: Settings) -> None:
    """Serve the page; returns after SIGTERM or Ctrl-C.

    Raises
    ------
    StartError
        The database is not migrated or does not answer, the password file is missing, or the address is taken.
    """
    application = create_app(settings)
    require_current_schema(application.state.site.engine)
    with bound_socket(settings.worklist_host, settings.worklist_port) as listening, Watchdog(settings.lease_seconds):
        logger.info("worklist page at http://%s:%s/", settings.worklist_host, settings.worklist_port)
        page_server(application).run(sockets=[listening])


class PageServer(uvicorn.Server):
    """Ends the streams of open pages when it stops, else it would wait for readers to close them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and serve what is under way to its end."""
        application: Any = self.config.app
        application.state.live.close()
        await super().shutdown(sockets)


def page_server(application: FastAPI) -> PageServer:
    """Return the server of the page; it answers on the sockets it is run with."""
    return PageServer(
        uvicorn.Config(application, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=5)
    )


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to this address.

    Raises
    ------
    PageAddressInUse
        It is taken, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PageAddressInUse(host, port, error.strerror or str(error)) from error
    return listening


def main() -> None:
    """Run the command line; errors are one message and exit code 1."""
    try:
        with written_whole():
            app()
    except (ConfigurationError, StartError, ValueError, OSError) as error:
        words = refusal_of_the_system(error) if isinstance(error, OSError) else str(error)
        Console(stderr=True).print(Text.assemble(("error: ", "bold red"), words), soft_wrap=True)
        raise SystemExit(1) from error
