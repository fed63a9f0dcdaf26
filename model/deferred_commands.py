"""Commands of a command line that are loaded only when they are chosen, and help that fits the terminal.

Their modules import what they work with: PyTorch, the database, the plots. A list of all commands needs one sentence of
each, which is the first of its docstring and is read there without loading anything.
Here because the command lines of ``worker`` and ``training``, which know nothing of each other, both know ``model``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from inspect import cleandoc, unwrap
from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from model.loading import no_garbage_looked_for
from model.plain_words import NO_PATH, in_plain_words


@dataclass(frozen=True)
class Place:
    """Where a command is written down."""

    module: str
    name: str
    """Of the function, or of the ``typer.Typer`` where it is a group of commands."""
    panel: str | None = None
    """Under which heading the list of all commands names it."""
    help: str | None = None
    """What it does, for a group; a function says so itself."""


class FlowingGroup(TyperGroup):
    """A command line whose help flows into whatever width the terminal has, whatever the lines of its source are."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in (self, *self.commands.values()):
            command.help = _flowing(command.help)
            _have_paths_named(command)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read this group's own options; says in plain words which one has a value that it cannot have."""
        with _in_plain_words():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Read the options of the chosen command, likewise, and run it."""
        with _in_plain_words():
            return super().invoke(ctx)


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """Reword what is said of an option's value while the block runs."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = in_plain_words(error.message)
        raise


def _have_paths_named(command: Any) -> None:
    """Have a path of no letters refused under its option's name: it would mean the folder the command is given in."""
    hints = get_type_hints(unwrap(command.callback)) if command.callback else {}
    for parameter in command.params:
        if (hint := hints.get(parameter.name)) is Path or Path in get_args(hint):
            parameter.process_value = partial(_named_path, parameter.process_value)


def _named_path(process: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    if "" in (value if isinstance(value, list | tuple) else (value,)):
        raise typer.BadParameter(NO_PATH)
    return process(context, value)


def _flowing(text: str | None) -> str | None:
    """Return a text with blank lines between paragraphs and no line ends within them."""
    return text and "\n\n".join(" ".join(part.split()) for part in cleandoc(text).split("\n\n"))


class DeferredGroup(FlowingGroup):
    """A command line with some commands of its own, and others that are loaded when they are chosen."""

    places: ClassVar[Mapping[str, Place]]
    """Of the others, by command, in the order of the help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        own = dict(self.commands)
        self.commands = {name: _DeferredCommand(name, place) for name, place in self.places.items()} | own

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of all commands, for which each must say what it does."""
        for command in self.commands.values():
            if isinstance(command, _DeferredCommand):
                command.read_help()
        super().format_help(ctx, formatter)


class _DeferredCommand(TyperCommand):
    """A command by its name; it is loaded where its options are asked for."""

    def __init__(self, name: str, place: Place) -> None:
        super().__init__(name, rich_help_panel=place.panel)
        self._place = place

    def read_help(self) -> None:
        """Find out what it does, without loading it."""
        self.help = _flowing(self._place.help or _docstring(self._place))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command itself, which is what runs then."""
        return _loaded(str(self.name), self._place).make_context(info_name, args, parent, **extra)


def _loaded(name: str, place: Place) -> Any:
    with no_garbage_looked_for():
        found = getattr(import_module(place.module), place.name)
    app = typer.Typer(cls=FlowingGroup)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name, help=place.help, cls=FlowingGroup)
    else:
        app.command(name)(found)
    return typer.main.get_group(app).commands[name]


def _docstring(place: Place) -> str | None:
    functions = (node for node in _source(place.module).body if isinstance(node, ast.FunctionDef))
    return next(ast.get_docstring(node) for node in functions if node.name == place.name)


@cache
def _source(module: str) -> ast.Module:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} has no file to read", name=module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
