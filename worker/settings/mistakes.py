"""What is wrong with a configuration, in words for whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_ADDRESSES = {
    "database_url": ("sqlite:///", "postgresql+psycopg://"),
    "broker_url": ("filesystem://", "redis://", "rediss://"),
}
"""What each address may begin with."""


def mistakes_of(error: ValidationError, settings: type[BaseModel]) -> list[str]:
    """Return one line for each mistake: where it stands, what is wrong, and for unknown keys what may be meant.

    Values are not repeated: one may be a password.
    """
    return [
        f"{'.'.join(str(part) for part in item['loc']) or 'configuration'}: {_words(item, settings)}"
        for item in error.errors(include_url=False, include_input=False)
    ]


def require_known_kind(field: str, address: str) -> str:
    """Return the address of a database or queue as it is.

    Raises
    ------
    ValueError
        It is of a kind that the worker has no driver for, or no address at all.
    """
    if not address.startswith(_ADDRESSES[field]):
        raise ValueError(f"must begin with {' or '.join(_ADDRESSES[field])}")
    return address


def _words(item: Any, settings: type[BaseModel]) -> str:
    if item["type"] != "extra_forbidden":
        return str(item["msg"]).removeprefix("Value error, ")
    *place, key = item["loc"]
    table = _model_at(place, settings)
    if place and key in settings.model_fields:
        return f"there is no such key here; {key} has to stand above the first [table] of the file"
    close = get_close_matches(str(key), table.model_fields, n=1)
    return f"there is no such key; did you mean {close[0]}?" if close else "there is no such key"


def _model_at(place: Sequence[int | str], settings: type[BaseModel]) -> type[BaseModel]:
    """Return the model that describes this table of the configuration."""
    model = settings
    for name in place:
        if isinstance(name, str) and name in model.model_fields:
            model = next(_models_in(model.model_fields[name].annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
