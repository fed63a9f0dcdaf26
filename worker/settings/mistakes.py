"""What is wrong with a configuration, in words for whoever wrote it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from model.labels import LABELS
from model.plain_words import causes, in_plain_words

_ADDRESSES = {
    "database_url": ("sqlite:///", "postgresql+psycopg://"),
    "broker_url": ("filesystem://", "redis://", "rediss://"),
}
"""What each address may begin with."""
_IN_MEMORY = ("sqlite:///", "sqlite:///:memory:")
PREFIX = "CXR_"
"""Of variables that stand for keys."""
_NO_KEYS = {"CXR_CONFIG", "CXR_DATABASE_URL_FILE", "CXR_BROKER_URL_FILE", "CXR_FAILPOINT"}
_FOR_TESTS = ("CXR_TEST_", "CXR_REQUIRE_SERVICES")


def mistakes_of(error: ValidationError, settings: type[BaseModel]) -> list[str]:
    """Return one line for each mistake: where it stands, what is wrong, and for unknown keys what may be meant.

    Values are not repeated: one may be a password.
    """
    return [
        f"{'.'.join(str(part) for part in item['loc']) or 'configuration'}: {_words(item, settings)}{_set_by(item)}"
        for item in causes(error)
    ]


def unknown_variables(settings: type[BaseModel]) -> list[str]:
    """Return a sentence for each ``CXR_*`` variable of the environment that names no key, which nobody else notices."""
    known = [f"{PREFIX}{name.upper()}" for name in settings.model_fields]
    return [
        f"{name} names no key"
        + "".join(f"; did you mean {close}?" for close in get_close_matches(name.upper(), known, 1))
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX)
        and not name.upper().startswith(_FOR_TESTS)
        and name.upper().partition("__")[0] not in {*known, *_NO_KEYS}
    ]


def _set_by(item: Any) -> str:
    """Return which variable of the environment the mistake stands in, if it is one's."""
    if not item["loc"]:
        return ""
    names = ("__".join(str(part) for part in item["loc"][:length]) for length in range(len(item["loc"]), 0, -1))
    given = {name.upper(): name for name in os.environ}
    found = next((given[key] for name in names if (key := f"{PREFIX}{name.upper()}") in given), None)
    if found:
        return f" (the variable {found})"
    beside = [name for key, name in sorted(given.items()) if key.startswith(f"{PREFIX}{item['loc'][0]}__".upper())]
    return f" (the table is made or changed by {', '.join(beside)})" if item["type"] == "missing" and beside else ""


def require_known_kind(field: str, address: str) -> str:
    """Return the address of a database or queue as it is.

    Raises
    ------
    ValueError
        It is of a kind that the worker has no driver for, or no address at all.
    """
    if address in _IN_MEMORY:
        raise ValueError("must name a file: a database in memory is another one for each process, and gone with it")
    if not address.startswith(_ADDRESSES[field]):
        raise ValueError(f"must begin with {' or '.join(_ADDRESSES[field])}")
    return address


def require_findings(names: Iterable[str]) -> None:
    """Let pass what names findings.

    Raises
    ------
    ValueError
        One of them is no finding.
    """
    for name in sorted(set(names) - set(LABELS)):
        close = get_close_matches(name, LABELS, n=1)
        raise ValueError(
            f"{name} is no finding; " + (f"did you mean {close[0]}?" if close else f"there are {', '.join(LABELS)}")
        )


def _words(item: Any, settings: type[BaseModel]) -> str:
    *outer, name = item["loc"] or ("",)
    if item["type"] in ("list_type", "tuple_type") and _model_at(item["loc"], settings) is not _model_at(
        outer, settings
    ):
        return f"must be a list of tables: write each as [[{name}]]"
    if item["type"] != "extra_forbidden":
        return in_plain_words(str(item["msg"]))
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
