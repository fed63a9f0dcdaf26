"""Texts of the configuration that must have a form, and the words for what it is."""

from __future__ import annotations

import re

from pydantic import AfterValidator


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
