"""Every option and argument of every command with values that nobody means: words and an exit code, never a stack.

Commands and their parameters are found, not listed: a new one is tried as well.
"""

from __future__ import annotations

import inspect
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from study_rows import add_triaged_study, now

from worker.commands.at_hand import opened
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

PACKAGES = ("worker", "training", "model", "worklist")
SLOW = dict.fromkeys(PACKAGES, ()) | dict.fromkeys(("training", "model"), pytest.mark.slow)
"""Loading PyTorch takes longer than all others together."""
LONGEST_SECONDS = 60
"""More than loading PyTorch takes on a busy machine; what is broken off there cannot be loaded again."""
ABSENT = "absent"
FILLED_IN = {
    "study": "A-1", "targets": "A-1", "reason": "a reason", "priority": "STAT", "since": "2026-01-01", "image": "1.2.3",
    "hosts": "pacs.example.org", "address": "127.0.0.1:1", "checkpoint": "file", "name": "studies",
}  # fmt: skip
"""What stands where a command needs a value and another one is tried."""
_PROCESSES = ("up", "listen", "work", "sweep", "hl7", "shadow", "worklist")
KEPT_FROM_BEGINNING = dict.fromkeys(_PROCESSES, (f"--config={ABSENT}",)) | {
    "demo": ("--deadline=1", "--folder=folder"),
    "passwd": ("--stdin",),
    "phantom": ("--images=1", "--on=absent"),
    "bench": ("--cache=absent", "--recipe=absent"),
}
"""Commands that go on for ever, or ask, and what keeps them from it; the first that is not tried itself is taken."""
TEXTS = ("x" * 5_000, "\x1b[2J\n", "[/]", "%s{}$HOME", "-", "../..", "1.2.03", "日本", os.fsdecode(b"M\xfcller"))
NUMBERS = ("0", "-1", "1.5", "nan", "inf", "-inf", "1e999", "9" * 30, "0x10", "\u0661")
MAY_BE_PATHS = ("init", "backbone")
"""Names of parameters that take a path or one of some names."""
DATES = ("2026-02-30", "0001-01-01", "9999-12-31", "2026-01-01T24:61")
PLACES = ("", "folder", "file", "pipe", "file/below", "dangling", "/dev/full", "/dev/null")
EVERYTHING = (*TEXTS, *NUMBERS, *DATES, *PLACES)
QUICK = ("", "x" * 5_000, os.fsdecode(b"M\xfcller"), "-1", "9" * 30, "9999-12-31", "pipe")
"""What each parameter is tried with by default; everything with ``-m slow``."""


@dataclass(frozen=True)
class Command:
    """A command that was found."""

    package: str
    words: tuple[str, ...]
    itself: Any

    @property
    def parameters(self) -> list[Any]:
        """Return its parameters that take a value."""
        return [each for each in self.itself.params if not getattr(each, "is_flag", False) and each.name != "help"]

    def line(self, tried: Any, value: str, *, as_json: bool = False) -> list[str]:
        """Return the command line with this value of one parameter, and what the command needs beside it.

        Parameters
        ----------
        as_json
            Ask for JSON, where the command has any.
        """
        name = self.words[0] if self.words else self.package
        kept = KEPT_FROM_BEGINNING.get(name, ())
        options = [text for text in kept if text.partition("=")[0] not in tried.opts][:1]
        rest = []
        for each in self.parameters:
            text = value if each is tried else FILLED_IN.get(each.name, ABSENT)
            if each is not tried and not each.required and each.name != "data":
                continue
            if name := next((name for name in each.opts if name.startswith("--")), ""):
                options.insert(0 if each is tried else len(options), f"{name}={text}")
            else:
                rest.append(text)
        if as_json and any("--json" in each.opts for each in self.itself.params):
            options.append("--json")
        return [*self.words, *options, *(["--", *rest] if rest else [])]


def found(package: str) -> Iterator[Command]:
    """Yield the commands of a package, those in groups and the package's own with options included."""
    group = typer.main.get_command(import_module(f"{package}.cli").app)
    yield from _below(package, (), group)


def _below(package: str, words: tuple[str, ...], command: Any) -> Iterator[Command]:
    if command.params:
        yield Command(package, words, command)
    for name, each in getattr(command, "commands", {}).items():
        loaded = each.make_context(name, [], resilient_parsing=True).command
        yield from _below(package, (*words, name), loaded)


COMMANDS = [
    pytest.param(command, id=" ".join((command.package, *command.words)), marks=SLOW[package])
    for package in PACKAGES
    for command in found(package)
]


@pytest.fixture
def here(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder to be in, with places that are not what they should be; beside it a database with a study."""
    settings = make_settings(database_url=sqlite_url)
    with opened(settings, read_only=False) as session:
        add_triaged_study(session, {"Mass": 0.9}, now=now(), accession_number="A-1")
    for name, value in settings_environment(settings).items():
        if name.startswith("CXR_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "9000")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    folder = tmp_path / "here"
    (folder / "folder").mkdir(parents=True)
    for file in (folder / "file", folder / "folder" / "file"):
        file.write_text("neither = [ this nor that")
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def loaded(command: Command) -> None:
    """Load what cannot be loaded a second time where the first was broken off."""
    if command.package in ("training", "model"):
        import_module("torch")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise in what takes longer, such as reading from a pipe that nobody writes to."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it hangs: not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(package: str, line: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run a command as ``python -m`` does; return its exit code and what it wrote to standard output and error."""
    monkeypatch.setattr(sys, "argv", [package, *line])
    written, complained = (io.TextIOWrapper(io.BytesIO(), "utf-8", how) for how in ("strict", "backslashreplace"))
    code: Any = 0
    with redirect_stdout(written), redirect_stderr(complained), at_most(LONGEST_SECONDS):
        try:
            import_module(f"{package}.cli").main()
        except SystemExit as ending:
            code = ending.code
    told, said = (_text(stream) for stream in (written, complained))
    return int(code or 0), told, said


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def is_json(told: str) -> bool:
    """Whether a script can read it; NaN and infinities are no JSON."""
    try:
        json.loads(told, parse_constant=int)
    except ValueError:
        return False
    return True


def places_in(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder with their content; a lock that nobody holds says nothing."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def faults(command: Command, values: Iterable[str], here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield what is wrong with the answers to these values of each parameter."""
    before = places_in(here)
    for place, parameter in enumerate(command.parameters):
        for number, value in enumerate(values):
            line = command.line(parameter, value, as_json=(place + number) % 2 == 0)
            shown = f"{' '.join(line)[:300]!a}: "
            try:
                code, told, said = run(command.package, line, monkeypatch)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is the fault that is looked for)
                yield f"{shown}{type(error).__name__}: {error!s:.300} at {_place(error)}"
                continue
            names = [name for each in command.parameters for name in (*each.opts, each.metavar or each.name)]
            if code not in (0, 1, 2) or "Traceback" in said:
                yield f"{shown}{code}: {said}"
            if code == 2 and not any(name.lower() in said.lower() for name in names):
                yield f"{shown}the message names no option: {said}"
            if "--json" in line and told.strip() and not is_json(told):  # a question leaves a blank behind
                yield f"{shown}{code}, and what it wrote is no JSON: {told[:300]}"
            after = places_in(here)
            if code and after != before:
                yield f"{shown}{code}, and left {sorted(set(after) - set(before)) or 'another file'}"
            if after != before:
                put_back(here, before, after)


def put_back(here: Path, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Take away what a command made."""
    for name in set(after) - set(before):
        top = here / Path(name).parts[0]
        shutil.rmtree(top) if top.is_dir() and top.name != "folder" else (here / name).unlink(missing_ok=True)
    for name, content in before.items():
        if after.get(name) != content:
            (here / name).write_bytes(content)


def _place(error: BaseException) -> str:
    stack = error.__traceback__
    while stack is not None and stack.tb_next is not None:
        stack = stack.tb_next
    return f"{stack.tb_frame.f_code.co_filename}:{stack.tb_lineno}" if stack else ""


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_is_typed_ends_in_a_stack(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(faults(command, QUICK, here, monkeypatch)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_at_all_that_is_typed_ends_in_a_stack(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(faults(command, EVERYTHING, here, monkeypatch)) == []


def takes_path(command: Command, parameter: Any) -> bool:
    hint = get_type_hints(inspect.unwrap(command.itself.callback)).get(parameter.name)
    return hint is Path or Path in get_args(hint) or parameter.name in MAY_BE_PATHS


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_path_does_not_mean_this_folder(command: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.is_dir()
    for parameter in command.parameters:
        if takes_path(command, parameter):
            code, _, said = run(command.package, command.line(parameter, ""), monkeypatch)
            assert (code, "names no file or folder" in said) == (2, True), (parameter.name, said)


def test_commands_of_all_packages_are_found() -> None:
    """What is found by itself may also not be found."""
    names = {param.id for param in COMMANDS}
    assert names >= {"worker export", "worker token create", "training", "training phantom", "model show", "worklist"}
    assert len(names) > 50
