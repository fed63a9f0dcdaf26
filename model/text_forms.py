"""Texts of a configuration or a recipe that must have a form, and the words for what it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from model.plain_words import NO_PATH


def of_form(pattern: str, words: str) -> AfterValidator:
    """Return a check that all of a text fits a regular expression.

    Parameters
    ----------
    words
        What the text must be, after "must be"; whoever wrote it reads them and not the expression.
    """
    form = re.compile(pattern)

    def fitting(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"must be {words}")
        return text

    return AfterValidator(fitting)


def _named(path: Any) -> Any:
    if str(path) == "":
        raise ValueError(NO_PATH)
    if "\0" in str(path):
        raise ValueError("has a zero byte in it, as no name of a file has")
    return path


NamedPath = Annotated[Path, BeforeValidator(_named)]
"""A path of at least one letter: none at all would mean the folder that the process is started in."""
