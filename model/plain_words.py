"""What pydantic says of a value, in words for whoever typed it: for options of commands and keys of files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every command line loads this to list its commands, and most need no pydantic
    from pydantic import ValidationError

NO_PATH = 'names no file or folder; "." is the folder this command is given in'

_WORDS = (
    (r"^Value error, ", ""),
    (r"unable to parse .*|got a number with a fractional part", ""),
    (r"unable to interpret input$", ""),
    (r"[;,] *$", ""),
    (r"^Field required$", "is needed"),
    (r"^Input should be a valid integer$", "must be a whole number"),
    (r"^Input should be a valid number$", "must be a number"),
    (r"^Input should be a valid boolean$", "must be true or false"),
    (r"^Input should be a valid string$", "must be text, in quotes"),
    (r"^Input should be a valid (?:tuple|list)$", "must be a list, in [ ]"),
    (r"^Input should be (?:a valid dictionary|an object).*", "must be a table of keys and values"),
    (r"^Input is not a valid path\b.*", "must be a path, in quotes"),
    (r"^(?:Input|String|Value|List|Tuple) should ", "must "),
    (r"\bgreater than or equal to ([-.\d]+)", r"\1 or more"),
    (r"\bless than or equal to ([-.\d]+)", r"\1 or less"),
    (r"\bgreater than ([-.\d]+)", r"more than \1"),
    (r"after validation, not 0", "in it"),
    (r"does not match the formats?", "is of none of the forms"),
    (r"'%Y-%m-%d'", "YYYY-MM-DD"),
    (r"'%Y-%m-%dT%H:%M'", "YYYY-MM-DDThh:mm"),
    (r"'%Y-%m-%d %H:%M'", "YYYY-MM-DD hh:mm"),
    (r"'%Y-%m-%dT%H:%M:%S'", "YYYY-MM-DDThh:mm:ss"),
)


def in_plain_words(message: str) -> str:
    """Return a message of pydantic, or of Typer, which asks it, without the names of its types and methods."""
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message


def causes(error: ValidationError) -> list[Any]:
    """Return what pydantic found, without lists that are too short because what stands in them is mistaken."""
    found = error.errors(include_url=False, include_input=False)
    return [
        item
        for item in found
        if item["type"] != "too_short"
        or not any(other["loc"][: len(item["loc"])] == item["loc"] for other in found if other is not item)
    ]
