"""What recipes there are and what every key of one means, from the definitions themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from training.recipe import RECIPES_DIRECTORY, Recipe
from training.recipe_tables import Table


def shipped_recipes() -> dict[str, str]:
    """Return the recipes that come with the package, by name, each with its first line of comment."""
    paths = sorted(RECIPES_DIRECTORY.glob("*.toml"), key=lambda path: path.stem)
    return {path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for path in paths}


def keys(table: type[Table] = Recipe, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key by its full name (``loss.kind``) with its definition; tables come before their keys."""
    for name, field in table.model_fields.items():
        yield f"{prefix}{name}", field
        inner = inner_table(field)
        if inner is not None:
            yield from keys(inner, f"{prefix}{name}.")


def inner_table(field: FieldInfo) -> type[Table] | None:
    """Return the table that a key holds, or an array of which it holds; None for a plain value."""
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Table)), None)


def key_table() -> str:
    """Return the reference of every key as a Markdown table."""
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in keys():
        meaning = " ".join((field.description or "").split()).replace("``", "`").replace("|", "\\|")
        if inner_table(field) is not None:
            lines.append(f"| **`[{name}]`** | | | {meaning} |")
        else:
            lines.append(f"| `{name}` | {_values(field)} | {_default(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _values(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    many = get_origin(annotation) is tuple
    inner = get_args(annotation)[0] if many else annotation
    if get_origin(inner) is Literal:
        kind = ", ".join(f"`{value}`" for value in get_args(inner))
    else:
        kind = {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(inner, "see text")
    limits = ", ".join(_limits(field))
    return f"{'list of ' if many else ''}{kind}{f' {limits}' if limits else ''}"


def _limits(field: FieldInfo) -> Iterator[str]:
    for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"), ("multiple_of", "multiple of")):
        for fact in field.metadata:
            if getattr(fact, attribute, None) is not None:
                yield f"{sign} {getattr(fact, attribute)}"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "must be given"
    if isinstance(field.default, float):
        return f"{field.default:.4g}"
    if isinstance(field.default, tuple):
        return str(list(field.default))
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default) or '""'
